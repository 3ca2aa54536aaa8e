// `graft leaks`: what a program can no longer reach, by where it was allocated. Of a running
// process it is asked for over the control socket; a program that is started here leaves a file per
// process at its end (GRAFT_LEAKS). Names and suppressions are this command's work, the process
// only counts.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "tools/command.h"
#include "tools/control_client.h"
#include "tools/leak_report.h"
#include "tools/starter.h"
#include "tools/watched_child.h"

namespace graft::tools {
namespace {

namespace fs = std::filesystem;

// A collection of a large heap takes its time before the first line comes.
constexpr int kPatienceSeconds = 300;

struct Wanted {
  std::vector<std::string> suppressions;
  std::string since, output;
  bool json = false;
  uint64_t most = 0;
  int exit_code = kExitLeaks;
  double interval = 0;
  uint64_t count = 0;
};

void addOptions(CLI::App& app, Wanted& w) {
  app.add_option("--suppressions", w.suppressions,
                 "a file of leaks that are known: lines leak:PATTERN, as LeakSanitizer's")
      ->allow_extra_args(false);
  app.add_flag("--json", w.json, "one line of JSON per report");
  app.add_option("--output", w.output, "write the report to this file")->type_name("FILE");
  app.add_option("--since", w.since, "show growth since this file, which --json wrote")
      ->type_name("FILE");
  app.add_option("--max-leaks", w.most, "show so many places of each kind [all]");
  app.add_option("--exit-code", w.exit_code,
                 "exit status when there are leaks; 0: the program's [23]")
      ->check(CLI::Range(0, 255));
  app.add_option("--interval", w.interval, "PID: report again every so many seconds, with growth")
      ->check(CLI::Range(0.01, 1e6));
  app.add_option("--count", w.count, "PID: stop after so many reports [when the process ends]");
}

class Printer {
 public:
  Printer(const Wanted& wanted, FILE* to) : wanted_(wanted), to_(to) {}
  ~Printer() {
    if (file_ != nullptr) fclose(file_);
  }
  Printer(const Printer&) = delete;
  Printer& operator=(const Printer&) = delete;

  // "" or why not.
  std::string open() {
    if (wanted_.output.empty()) return "";
    file_ = fopen(wanted_.output.c_str(), "we");
    to_ = file_;
    return file_ != nullptr ? "" : fmt::format("{}: {}", wanted_.output, std::strerror(errno));
  }
  void print(const std::vector<LeakReport>& reports, const Suppressions& suppressions) {
    std::string text;
    if (wanted_.json) {
      nlohmann::ordered_json j;
      j["processes"] = nlohmann::ordered_json::array();
      for (const LeakReport& r : reports) j["processes"].push_back(jsonOf(r));
      j["suppressions"] = jsonOf(suppressions);
      text = j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
    } else {
      for (const LeakReport& r : reports) text += textOf(r, wanted_.most);
      text += textOf(suppressions);
    }
    fputs(text.c_str(), to_);
    fflush(to_);
  }

 private:
  const Wanted& wanted_;
  FILE* to_;
  FILE* file_ = nullptr;
};

// What the reports are judged by.
struct Known {
  Suppressions suppressions;
  Earlier earlier;

  std::string read(const Wanted& wanted) {
    std::string problem;
    for (const std::string& file : wanted.suppressions) {
      if (problem.empty()) problem = suppressions.read(file);
    }
    if (problem.empty() && !wanted.since.empty()) problem = earlier.read(wanted.since);
    return problem;
  }
  void judge(LeakReport& report, const Symbols& symbols) {
    nameSites(report, symbols, suppressions);
    earlier.compare(report);
  }
};

// --- Of a running process

std::string reportOf(pid_t pid, Known& known, LeakReport& out) {
  std::error_code gone;
  out.pid = pid;
  out.program = fs::read_symlink(fmt::format("/proc/{}/exe", pid), gone).string();
  ControlClient client;
  std::vector<Answer> answers;
  Symbols symbols;
  std::string problem = client.connect(pid, kPatienceSeconds);
  if (problem.empty()) problem = client.ask("leaks", answers);
  if (problem.empty()) problem = readReport(answers, out);
  if (problem.empty()) problem = symbols.openProcess(pid);
  if (problem.empty()) known.judge(out, symbols);
  return problem;
}

int watch(pid_t pid, const Wanted& wanted, Known& known, Printer& printer) {
  int code = 0;
  for (uint64_t round = 1;; round++) {
    std::vector<LeakReport> reports(1);
    known.suppressions.forgetCounts();
    std::string problem = reportOf(pid, known, reports[0]);
    bool gone = !fs::exists(fmt::format("/proc/{}", pid));
    if (!problem.empty() && gone && round > 1) return code;
    if (!problem.empty()) return fail("leaks", problem);
    printer.print(reports, known.suppressions);
    if (reports[0].complete()) known.earlier.remember(reports[0]);
    code = reports[0].leaked().objects != 0 ? wanted.exit_code : 0;
    if (!reports[0].complete()) code = kExitOwnFailure;
    if (wanted.interval == 0 || round == wanted.count) return code;
    std::this_thread::sleep_for(std::chrono::duration<double>(wanted.interval));
  }
}

// --- Of a program that is started here

// A folder for the files of the processes, which goes with them.
class ReportFolder {
 public:
  ReportFolder() {
    const char* place = std::getenv("TMPDIR");
    // The runtime would expand a '%'.
    bool usable = place != nullptr && *place != '\0' && std::strchr(place, '%') == nullptr;
    path_ = fmt::format("{}/graft-leaks-XXXXXX", usable ? place : P_tmpdir);
    std::error_code error;
    if (usable) path_ = fs::absolute(path_, error).string();
    if (mkdtemp(path_.data()) == nullptr) path_.clear();
  }
  ~ReportFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  ReportFolder(const ReportFolder&) = delete;
  ReportFolder& operator=(const ReportFolder&) = delete;
  const std::string& path() const { return path_; }

  // The processes that left a report, `first` before the others.
  std::vector<pid_t> processes(pid_t first) const {
    std::vector<pid_t> pids;
    std::error_code error;
    for (fs::directory_iterator at(path_, error), end; !error && at != end; at.increment(error)) {
      if (auto pid = processId(at->path().filename().string())) pids.push_back(*pid);
    }
    std::sort(pids.begin(), pids.end(), [first](pid_t a, pid_t b) {
      return a == first || b == first ? a == first && b != first : a < b;
    });
    return pids;
  }

 private:
  std::string path_;
};

// Reads and names what the processes left; says of which it cannot.
std::vector<LeakReport> collectReports(const ReportFolder& folder, pid_t first, Known& known) {
  std::vector<LeakReport> reports;
  for (pid_t pid : folder.processes(first)) {
    LeakReport report;
    Symbols symbols;
    report.pid = pid;
    std::string maps;
    std::string problem = readReportFile(fmt::format("{}/{}", folder.path(), pid), report, maps);
    if (problem.empty()) problem = symbols.openMaps(maps);
    if (!problem.empty()) {
      fail("leaks", fmt::format("process {}: {}", pid, problem));
      continue;
    }
    known.judge(report, symbols);
    reports.push_back(std::move(report));
  }
  return reports;
}

// The program's own status unless there is something to say about leaks.
int codeOf(const ChildEnd& end, const std::vector<LeakReport>& reports, const std::string& name,
           const Wanted& wanted) {
  if (end.signal != 0) {
    fail("leaks",
         fmt::format("{} was ended by signal {} ({}), which leaves no report; `graft leaks PID` "
                     "asks a running program",
                     name, end.signal, strsignal(end.signal)));
    return end.exit_code;
  }
  bool told = !reports.empty() && reports[0].pid == end.pid;
  if (!told) {
    fail("leaks",
         fmt::format("{} left no report: it ended by _exit() or does not run on graft", name));
  }
  for (const LeakReport& r : reports) {
    if (r.leaked().objects != 0 && wanted.exit_code != 0) return wanted.exit_code;
  }
  // A shell that ends by _exit() hides nothing of what it started.
  bool unknown = reports.empty() || !reports[0].complete();
  return unknown && end.exit_code == 0 ? kExitOwnFailure : end.exit_code;
}

int runWatched(const std::vector<std::string>& program, const Starter& starter,
               const Wanted& wanted, Known& known, Printer& printer) {
  ReportFolder folder;
  if (folder.path().empty()) {
    return fail("leaks", fmt::format("no temporary folder: {}", std::strerror(errno)));
  }
  setenv("GRAFT_LEAKS", (folder.path() + "/%p").c_str(), 1);
  ChildEnd end = runAndWait(program);
  if (end.error != 0) return starter.failed(program, end.error);
  std::vector<LeakReport> reports = collectReports(folder, end.pid, known);
  if (!reports.empty()) printer.print(reports, known.suppressions);
  return codeOf(end, reports, program[0], wanted);
}

}  // namespace

int leaksCommand(const std::vector<std::string>& args) {
  CLI::App app(
      "Shows what a program can no longer reach, by where it was allocated: of one that runs and "
      "was started with GRAFT_GC=detect GRAFT_CONTROL=on, or of one that is started now, at its "
      "end:\n"
      "graft leaks [OPTIONS] PID\n"
      "graft leaks [OPTIONS] -- PROGRAM [ARGUMENTS]",
      "graft leaks");
  Wanted wanted;
  Known known;
  Starter starter("leaks");
  addOptions(app, wanted);
  starter.addTo(app);
  if (auto code = parseArguments(app, args)) return *code;
  std::string unknown;
  std::vector<std::string> words = programOf(app, unknown);
  if (!unknown.empty()) return fail("leaks", fmt::format("unknown option {}", unknown));
  if (words.empty()) return fail("leaks", "neither a process id nor `-- PROGRAM` is given");

  std::string problem = known.read(wanted);
  bool starts = app.remaining()[0] == "--";
  Printer printer(wanted, starts ? stderr : stdout);
  if (problem.empty()) problem = printer.open();
  if (!problem.empty()) return fail("leaks", problem);
  if (starts) {
    if (app.count("--interval") + app.count("--count") != 0)
      return fail("leaks", "--interval and --count are for a process id");
    if (auto code = starter.prepare(app, words)) return *code;
    return runWatched(words, starter, wanted, known, printer);
  }
  std::optional<pid_t> pid = processId(words[0]);
  if (!pid)
    return fail("leaks",
                fmt::format("'{}' is no process id; a program stands behind --", words[0]));
  if (words.size() > 1) return fail("leaks", fmt::format("'{}' is one word too many", words[1]));
  return watch(*pid, wanted, known, printer);
}

}  // namespace graft::tools
