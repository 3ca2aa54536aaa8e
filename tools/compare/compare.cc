// `graft compare`: runs a program several times under graft and under other mallocs, in turns, and
// tells what differs. Within a round every runtime runs once; the order is rotated from round to
// round, so that neither a warming machine nor a noisy minute belongs to one of them.
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "tools/command.h"
#include "tools/compare/progress.h"
#include "tools/compare/report.h"
#include "tools/compare/run.h"
#include "tools/compare/runtimes.h"
#include "tools/compare/throughput.h"
#include "tools/find_lib.h"
#include "tools/option_flags.h"

namespace graft::tools {
namespace {

using namespace compare;

constexpr int kMostRounds = 10'000;

struct Settings {
  std::string against;
  std::string library;
  int rounds = 10;
  int warmup = 1;
  std::string json;
  std::string html;
  std::vector<std::string> environment;
  bool check_output = false;
  double time_limit = 0;
  Load load;
  OptionFlags flags;
};

void addLoadOptions(CLI::App& app, Settings& s) {
  app.add_option("--load", s.load.command,
                 "PROGRAM is a server: shell command that loads it; the load's time is measured")
      ->type_name("CMD");
  app.add_option("--port", s.load.port,
                 "the server's port on 127.0.0.1; --load starts once it answers")
      ->check(CLI::Range(1, 65535));
  app.add_option("--load-unit-regex", s.load.regex,
                 "finds the throughput in what the load prints, by one group around the number "
                 "[redis-benchmark, ab, wrk, sysbench, pgbench]")
      ->type_name("RE");
  app.add_option("--idle", s.load.idle_s, "seconds from the load's end to the idle memory [3]")
      ->check(CLI::Range(0.0, 3600.0));
  app.add_option("--start-limit", s.load.start_bound_s, "seconds for the port to answer [30]")
      ->check(CLI::Range(0.1, 3600.0));
}

void addOptions(CLI::App& app, Settings& s) {
  app.add_option("--against", s.against,
                 "comma list of own (the program as it is), glibc, jemalloc, tcmalloc, mimalloc, "
                 "NAME=LIBRARY [glibc,jemalloc; own too if the program links a malloc]")
      ->type_name("LIST");
  app.add_option("-n,--rounds", s.rounds, "rounds that are measured [10]")
      ->check(CLI::Range(1, kMostRounds));
  app.add_option("--warmup", s.warmup, "rounds before them that are not [1]")
      ->check(CLI::Range(0, kMostRounds));
  app.add_option("--json", s.json, "write everything to this file; - is stdout")->type_name("FILE");
  app.add_option("--html", s.html, "write a page that holds everything")->type_name("FILE");
  app.add_option("--env", s.environment, "NAME=VALUE for the program under every runtime")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);
  app.add_flag("--check-output", s.check_output,
               "tell whether stdout is the same under each runtime");
  app.add_option("--time-limit", s.time_limit,
                 "seconds that a run, or the load, may take; 0 no limit")
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--lib", s.library,
                 "libgraft.so to preload [GRAFT_LIB, or beside graft, ../lib/graft, ../lib]");
  addLoadOptions(app, s);
  for (CLI::Option* option : app.get_options()) {
    if (!option->check_lname("env")) option->take_last();
  }
  s.flags.addTo(app);
}

// Why the settings cannot be used, or "".
std::string problemOf(const CLI::App& app, const Settings& s) {
  bool load = app.count("--load") != 0;
  for (const char* option : {"--port", "--load-unit-regex", "--idle", "--start-limit"}) {
    if (!load && app.count(option) != 0) return fmt::format("{} needs --load", option);
  }
  if (load && app.count("--port") == 0) return "--load needs --port";
  if (!s.load.regex.empty()) {
    std::string problem = problemOfRegex(s.load.regex);
    if (!problem.empty()) return "--load-unit-regex: " + problem;
  }
  for (const std::string& item : s.environment) {
    size_t equals = item.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return fmt::format("--env: '{}' is not NAME=VALUE", item);
    }
  }
  for (const std::string& file : {s.json, s.html}) {
    if (file.empty() || file == "-") continue;
    int fd = open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0) return fmt::format("{}: {}", file, std::strerror(errno));
    close(fd);
  }
  return s.flags.problem(app);
}

// This environment with `changes` (NAME=VALUE) and LD_PRELOAD, which is left out when empty.
std::vector<std::string> environmentWith(const std::vector<std::string>& changes,
                                         const std::string& preload) {
  std::vector<std::string> all;
  auto put = [&all](const std::string& item) {
    std::string head = item.substr(0, item.find('=') + 1);
    for (std::string& there : all) {
      if (there.compare(0, head.size(), head) == 0) {
        there = item;
        return;
      }
    }
    all.push_back(item);
  };
  for (char** item = environ; *item != nullptr; item++) {
    if (std::strncmp(*item, "LD_PRELOAD=", 11) != 0) all.emplace_back(*item);
  }
  for (const std::string& item : changes) put(item);
  if (!preload.empty()) put("LD_PRELOAD=" + preload);
  return all;
}

// A request per runtime. Other mallocs in LD_PRELOAD would win or lose against ours; they are left
// out.
std::vector<RunRequest> requestsOf(const Settings& s, const Report& report) {
  const char* current = std::getenv("LD_PRELOAD");
  std::vector<std::string> dropped;
  std::string load_preload = preloadOf({}, current, dropped);
  for (const std::string& item : dropped) {
    fmt::print(stderr, "graft compare: {} is left out of LD_PRELOAD\n", item);
  }
  std::vector<RunRequest> requests;
  for (const Runtime& runtime : report.runtimes) {
    RunRequest request;
    request.command = report.command;
    std::vector<std::string> changes = s.environment;
    if (runtime.name == "graft") {
      changes.insert(changes.end(), report.graft_options.begin(), report.graft_options.end());
    }
    request.environment = environmentWith(changes, preloadOf(runtime, current, dropped));
    request.load_environment = environmentWith({}, load_preload);
    request.keep_output = s.check_output;
    request.time_limit_s = s.time_limit;
    request.load = report.load;
    requests.push_back(std::move(request));
  }
  return requests;
}

int exitCodeOfExec(int error) { return error == ENOENT ? kExitNotFound : kExitNotExecutable; }

// Runs everything into `report`. 0, or the exit code when there is nothing to report.
int measure(const Settings& s, Report& report) {
  std::vector<RunRequest> requests = requestsOf(s, report);
  size_t count = report.runtimes.size();
  Processes processes;
  Progress progress((s.warmup + s.rounds) * static_cast<int>(count), count);
  bool baseline_ran = false;
  for (int round = -s.warmup; round < s.rounds; round++) {
    if (round >= 0) report.order.emplace_back();
    for (size_t i = 0; i < count; i++) {
      size_t at = (i + static_cast<size_t>(round + s.warmup)) % count;
      const std::string& name = report.runtimes[at].name;
      progress.starts(at, name, round < 0);
      Clock::time_point began = Clock::now();
      RunRecord run = runOnce(processes, requests[at]);
      report.interrupted = processes.interrupted() != 0;
      if (report.interrupted) return 128 + processes.interrupted();
      if (run.exec_error != 0) {
        fail("compare", run.problem);
        return exitCodeOfExec(run.exec_error);
      }
      if (at == report.baseline && !baseline_ran && !run.problem.empty()) {
        return fail("compare", fmt::format("{}: {}", name, run.problem));
      }
      baseline_ran = baseline_ran || at == report.baseline;
      progress.ended(name, run, std::chrono::duration<double>(Clock::now() - began).count());
      if (round < 0) continue;
      run.runtime = static_cast<int>(at);
      run.round = round;
      report.order.back().push_back(run.runtime);
      report.runs.push_back(std::move(run));
    }
  }
  return 0;
}

bool writeFile(const std::string& path, const std::string& text) {
  FILE* file = path == "-" ? stdout : std::fopen(path.c_str(), "we");
  bool good = file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (file != nullptr && std::fflush(file) != 0) good = false;
  if (file != nullptr && file != stdout) std::fclose(file);
  if (!good) fail("compare", fmt::format("{}: {}", path, std::strerror(errno)));
  return good;
}

bool writeReports(const Settings& s, const Report& report) {
  writeText(report, s.json == "-" ? stderr : stdout);
  std::fflush(stdout);
  bool good = true;
  if (!s.json.empty()) {
    std::string text = toJson(report).dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
    good = writeFile(s.json, text + "\n");
  }
  if (!s.html.empty()) good = writeFile(s.html, toHtml(report)) && good;
  return good;
}

int compareAndReport(const Settings& s, Report& report) {
  report.started = timestamp();
  report.machine = readMachine();
  report.load_average_before = readLoadAverage();
  int code = measure(s, report);
  report.ended = timestamp();
  report.load_average_after = readLoadAverage();
  if (code != 0 && !report.interrupted) return code;
  if (report.runs.empty()) {
    fail("compare", "stopped before anything was measured");
    return code;
  }
  if (report.interrupted) {
    fmt::print(stderr, "graft compare: stopped; this is what was measured so far\n");
  }
  if (!writeReports(s, report)) return kExitOwnFailure;
  Findings findings = findingsOf(report);
  for (const std::string& line : findings.lines) {
    fmt::print(stderr, "graft compare: {}\n", line);
  }
  if (code != 0) return code;
  return findings.worse_than_baseline ? kExitWorse : 0;
}

}  // namespace

int compareCommand(const std::vector<std::string>& args) {
  CLI::App app(
      "Runs a program under graft and other mallocs in turns and compares time and memory:\n"
      "graft compare [OPTIONS] -- PROGRAM [ARGUMENTS]",
      "graft compare");
  app.prefix_command();
  app.footer(
      "The options of `graft run` are for the runs under graft. Exit status: 0 when all runs "
      "ended\n"
      "alike, 1 when some runtime failed where the baseline did not, 125 when graft failed, 126 "
      "and\n"
      "127 when PROGRAM cannot be run or found.");
  Settings s;
  addOptions(app, s);
  if (auto code = parseArguments(app, args)) return *code;

  std::string unknown;
  Report report;
  report.command = programOf(app, unknown);
  if (!unknown.empty()) return fail("compare", fmt::format("unknown option {}", unknown));
  if (report.command.empty()) {
    return fail("compare", "no program given; usage: graft compare [OPTIONS] -- PROGRAM");
  }
  std::string problem = problemOf(app, s);
  if (!problem.empty()) return fail("compare", problem);
  Library library = findLibrary(s.library);
  if (!library.problem.empty()) return fail("compare", library.problem);
  Target target = inspectTarget(report.command[0]);
  if (target.state != Target::State::kOk) {
    fail("compare", target.reason);
    return exitCodeOf(target.state);
  }
  RuntimeList list = findRuntimes({s.against, library.path, linkedMalloc(target.elf.needed)});
  if (!list.problem.empty()) return fail("compare", list.problem);
  for (const std::string& line : list.skipped) {
    fmt::print(stderr, "graft compare: left out: {}\n", line);
  }
  report.runtimes = list.runtimes;
  report.baseline = baselineOf(report.runtimes);
  report.environment = s.environment;
  for (const auto& [name, value] : s.flags.given(app)) {
    report.graft_options.push_back(name + "=" + value);
  }
  if (app.count("--load") != 0) report.load = s.load;
  report.rounds = s.rounds;
  report.warmup = s.warmup;
  return compareAndReport(s, report);
}

}  // namespace graft::tools
