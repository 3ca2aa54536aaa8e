// The life of one run (run.h). Every way out passes through finish(), which ends what is left of
// the run's processes and turns their resource use and the samples into measures.
#include "tools/compare/run.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "tools/compare/temp_output.h"
#include "tools/compare/throughput.h"

namespace graft::tools::compare {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLeftoverGrace{2000};  // for what a program leaves running
constexpr milliseconds kStopBound{10'000};    // for a server to end after SIGTERM
constexpr milliseconds kPortInterval{20};
constexpr size_t kLongestLoadOutput = 1 << 20;

Clock::duration seconds(double s) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s));
}

int exitCodeOf(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::string describe(int code) {
  if (code > 128) return fmt::format("was ended by {}", strsignal(code - 128));
  return fmt::format("ended with {}", code);
}

// State of one run on its way.
struct Course {
  Course(Processes& p, const RunRequest& r)
      : processes(p), request(r), spec(r.load.value_or(Load{})) {}

  Processes& processes;
  const RunRequest& request;
  const Load spec;  // of use in server runs only
  Group program;
  Group load;
  TempOutput output;
  TempOutput errors;
  TempOutput load_output;
  std::optional<Sampler> sampler;
  RunRecord run;

  // With the last line that was printed for a reason, if there is one.
  void problem(const std::string& what, const TempOutput& said) {
    std::string line = said.lastLine();
    run.problem = line.empty() ? what : fmt::format("{}; it said: {}", what, line);
  }
  double at(Clock::time_point moment) const {
    return std::chrono::duration<double>(moment - program.started_at).count();
  }
  bool startProgram();
  bool waitForPort();
  bool runLoad();
  bool stayIdle();
  void stopServer();
  void takeSamples(bool last_look);
  void finish();
};

bool Course::startProgram() {
  int stdout_fd = request.keep_output ? output.fd() : -1;
  int error =
      processes.start({request.command, request.environment, stdout_fd, errors.fd()}, program);
  if (error != 0) {
    run.exec_error = error;
    run.problem = fmt::format("{}: {}", request.command[0], std::strerror(error));
    return false;
  }
  sampler.emplace([this] { return processes.members(); }, program.started_at);
  return true;
}

bool Course::waitForPort() {
  Clock::time_point until = Clock::now() + seconds(spec.start_bound_s);
  while (processes.interrupted() == 0) {
    if (program.ended) {
      problem(fmt::format("the program {} before port {} answered (it must stay in the foreground)",
                          describe(exitCodeOf(program.status)), spec.port),
              errors);
      return false;
    }
    if (portAnswers(spec.port)) return true;
    if (Clock::now() >= until) {
      problem(fmt::format("port {} does not answer after {:.0f} s", spec.port, spec.start_bound_s),
              errors);
      return false;
    }
    processes.wait(Clock::now() + kPortInterval);
  }
  return false;
}

bool Course::runLoad() {
  TempOutput load_errors;
  int error = processes.start({{"/bin/sh", "-c", spec.command},
                               request.load_environment,
                               load_output.fd(),
                               load_errors.fd()},
                              load);
  if (error != 0) {
    run.problem = fmt::format("/bin/sh: {}", std::strerror(error));
    return false;
  }
  bool limited = request.time_limit_s > 0;
  Clock::time_point limit = load.started_at + seconds(request.time_limit_s);
  while (!load.ended && !program.ended && processes.interrupted() == 0) {
    if (limited && Clock::now() >= limit) {
      run.problem = fmt::format("the load did not end within {} s", request.time_limit_s);
      return false;
    }
    processes.wait(limited ? limit : Clock::now() + milliseconds(1000));
  }
  if (program.ended) {
    problem(fmt::format("the program {} under load", describe(exitCodeOf(program.status))), errors);
    return false;
  }
  if (!load.ended) return false;
  run.load_began = at(load.started_at);
  run.load_ended = at(load.ended_at);
  if (int code = exitCodeOf(load.status); code != 0) {
    problem(fmt::format("the load {}", describe(code)), load_errors);
    return false;
  }
  run.measures[Measure::kWall] = *run.load_ended - *run.load_began;
  run.measures[Measure::kThroughput] =
      throughputIn(load_output.text(kLongestLoadOutput), spec.regex);
  return true;
}

bool Course::stayIdle() {
  Clock::time_point until = load.ended_at + seconds(spec.idle_s);
  while (Clock::now() < until && processes.interrupted() == 0) {
    processes.wait(until);
    if (program.ended) {
      problem(fmt::format("the program {} after the load", describe(exitCodeOf(program.status))),
              errors);
      return false;
    }
  }
  return processes.interrupted() == 0;
}

// The server's main process decides how its others end; what does not follow is killed in finish().
void Course::stopServer() {
  kill(program.root, SIGTERM);
  Clock::time_point until = Clock::now() + kStopBound;
  while (!program.ended && Clock::now() < until && processes.interrupted() == 0) {
    processes.wait(std::min(until, Clock::now() + milliseconds(1000)));
  }
  if (!program.ended && processes.interrupted() == 0) {
    run.problem = fmt::format("the program did not end within {} s after SIGTERM",
                              std::chrono::duration_cast<std::chrono::seconds>(kStopBound).count());
  }
}

void Course::takeSamples(bool last_look) {
  if (!sampler) return;
  run.series = sampler->stop(last_look);
  sampler.reset();
}

// Fewer samples than this are no picture of a run.
constexpr size_t kEnoughSamples = 3;

std::optional<double> lastOf(const std::vector<SamplePoint>& points) {
  if (points.empty()) return std::nullopt;
  return static_cast<double>(points.back().bytes);
}

void measureMemory(RunRecord& run, const Group& program) {
  double from = run.load_began.value_or(0);
  double to = run.load_ended.value_or(run.length);
  uint64_t peak = peakOf(run.series.rss);
  // Within what the fork held before the exec, the kernel's maximum is not the program's.
  if (program.usage.max_rss > program.rss_floor + program.rss_floor / 8 || peak == 0) {
    peak = std::max(peak, program.usage.max_rss);
  }
  Measures& m = run.measures;
  m[Measure::kPeakRss] = static_cast<double>(peak);
  bool server = run.load_ended.has_value();
  bool rss = run.series.rss.size() >= kEnoughSamples;
  bool pss = run.series.pss.size() >= kEnoughSamples;
  if (rss) m[Measure::kAverageRss] = meanOf(run.series.rss, from, to);
  if (pss) {
    m[Measure::kPeakPss] = static_cast<double>(peakOf(run.series.pss));
    m[Measure::kAveragePss] = meanOf(run.series.pss, from, to);
  }
  if (rss) m[server ? Measure::kIdleRss : Measure::kFinalRss] = lastOf(run.series.rss);
  if (pss) m[server ? Measure::kIdlePss : Measure::kFinalPss] = lastOf(run.series.pss);
}

void Course::finish() {
  takeSamples(false);
  run.left_running = processes.endAll(kLeftoverGrace);
  processes.forget();
  run.exit_code = exitCodeOf(program.status);
  if (!run.problem.empty()) {
    run.measures = {};
    return;
  }
  run.length = run.series.rss.empty() ? 0 : run.series.rss.back().at;
  run.length = std::max(run.length, at(request.load ? load.ended_at : program.ended_at));
  Measures& m = run.measures;
  const Usage& usage = program.usage;
  m[Measure::kUser] = usage.user_s;
  m[Measure::kSys] = usage.sys_s;
  m[Measure::kCpu] = usage.user_s + usage.sys_s;
  m[Measure::kMinorFaults] = static_cast<double>(usage.minor_faults);
  m[Measure::kMajorFaults] = static_cast<double>(usage.major_faults);
  measureMemory(run, program);
  if (request.keep_output) run.output = output.hashed();
}

void runToEnd(Course& c) {
  bool limited = c.request.time_limit_s > 0;
  Clock::time_point limit = c.program.started_at + seconds(c.request.time_limit_s);
  while (!c.program.ended && c.processes.interrupted() == 0) {
    if (limited && Clock::now() >= limit) {
      c.problem(fmt::format("the program did not end within {} s", c.request.time_limit_s),
                c.errors);
      return;
    }
    c.processes.wait(limited ? limit : Clock::now() + milliseconds(1000));
  }
  c.run.measures[Measure::kWall] = c.at(c.program.ended_at);
}

void runServer(Course& c) {
  if (portAnswers(c.spec.port)) {
    c.run.problem = fmt::format("port {} is in use by another program", c.spec.port);
    return;
  }
  if (!c.startProgram() || !c.waitForPort() || !c.runLoad() || !c.stayIdle()) return;
  c.takeSamples(true);
  c.stopServer();
}

}  // namespace

bool portAnswers(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  bool answers = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return answers;
}

RunRecord runOnce(Processes& processes, const RunRequest& request) {
  Course course(processes, request);
  if (request.load) {
    runServer(course);
  } else if (course.startProgram()) {
    runToEnd(course);
  }
  course.finish();
  return std::move(course.run);
}

}  // namespace graft::tools::compare
