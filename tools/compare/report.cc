// What all forms of the report share (report.h): results per runtime and measure, findings about
// the runs, and the facts about this machine.
#include "tools/compare/report.h"

#include <fmt/chrono.h>
#include <fmt/core.h>
#include <unistd.h>

#include <ctime>
#include <fstream>
#include <map>
#include <set>

#include "tools/system_facts.h"

namespace graft::tools::compare {
namespace {

// The value behind "key ... :" in a file like /proc/cpuinfo, or "".
std::string valueIn(const char* path, std::string_view key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    size_t colon = line.find(':');
    if (line.compare(0, key.size(), key) != 0 || colon == std::string::npos) continue;
    size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

std::string plural(size_t n, const char* what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

std::string joined(const std::set<int>& codes) {
  std::string text;
  for (int code : codes) text += fmt::format("{}{}", text.empty() ? "" : ", ", code);
  return text;
}

// What the runs of one runtime had in common, apart from figures.
struct Behaviour {
  size_t runs = 0;
  size_t failed = 0;
  size_t leftovers = 0;
  std::string problem;  // of the first failed run
  std::set<int> codes;  // of the others
  std::set<std::pair<uint64_t, uint64_t>> outputs;
};

std::vector<Behaviour> behaviours(const Report& report) {
  std::vector<Behaviour> all(report.runtimes.size());
  for (const RunRecord& run : report.runs) {
    Behaviour& b = all[static_cast<size_t>(run.runtime)];
    b.runs++;
    if (!run.problem.empty()) {
      if (b.failed++ == 0) b.problem = run.problem;
      continue;
    }
    b.codes.insert(run.exit_code);
    if (run.left_running != 0) b.leftovers++;
    if (run.output) b.outputs.insert({run.output->bytes, run.output->hash});
  }
  return all;
}

void compareOutputs(const Report& report, const std::vector<Behaviour>& all, Findings& findings) {
  const Behaviour& base = all[report.baseline];
  const std::string& base_name = report.runtimes[report.baseline].name;
  if (base.outputs.size() > 1) {
    findings.lines.push_back(fmt::format(
        "stdout differs between the runs of {} itself: it cannot be compared", base_name));
    return;
  }
  for (size_t i = 0; i < all.size(); i++) {
    if (i == report.baseline || all[i].outputs.empty() || base.outputs.empty()) continue;
    if (all[i].outputs == base.outputs) continue;
    findings.lines.push_back(
        fmt::format("stdout differs: {} from {}", report.runtimes[i].name, base_name));
    findings.worse_than_baseline = true;
  }
}

}  // namespace

Machine readMachine() {
  Machine m;
  SystemFacts facts = readSystemFacts();
  m.kernel = facts.kernel;
  m.huge_pages = facts.huge_pages;
  m.cpu = valueIn("/proc/cpuinfo", "model name");
  m.cores = static_cast<unsigned>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  long pages = sysconf(_SC_PHYS_PAGES);
  if (pages > 0) m.memory = static_cast<uint64_t>(pages) * static_cast<uint64_t>(getpagesize());
  return m;
}

std::string readLoadAverage() {
  std::ifstream file("/proc/loadavg");
  std::string one, five, fifteen;
  file >> one >> five >> fifteen;
  return file ? fmt::format("{} {} {}", one, five, fifteen) : "";
}

std::string timestamp() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
}

std::optional<Result> resultOf(const Report& report, size_t runtime, Measure measure) {
  std::vector<double> values;
  std::map<int, double> base;
  for (const RunRecord& run : report.runs) {
    const std::optional<double>& value = run.measures[measure];
    if (value && static_cast<size_t>(run.runtime) == report.baseline) base[run.round] = *value;
  }
  std::vector<double> ratios;
  bool comparable = true;  // nothing is a multiple of zero
  for (const RunRecord& run : report.runs) {
    const std::optional<double>& value = run.measures[measure];
    if (!value || static_cast<size_t>(run.runtime) != runtime) continue;
    values.push_back(*value);
    auto pair = base.find(run.round);
    if (pair == base.end()) continue;
    comparable = comparable && pair->second > 0;
    ratios.push_back(*value / pair->second);
  }
  if (values.empty()) return std::nullopt;
  Result result{summarize(values), std::nullopt};
  if (comparable && runtime != report.baseline) result.ratio = ratioOf(ratios);
  return result;
}

Findings findingsOf(const Report& report) {
  Findings findings;
  std::vector<Behaviour> all = behaviours(report);
  const Behaviour& base = all[report.baseline];
  for (size_t i = 0; i < all.size(); i++) {
    const Behaviour& b = all[i];
    const std::string& name = report.runtimes[i].name;
    if (b.failed != 0) {
      findings.lines.push_back(
          fmt::format("{}: {} of {} failed: {}", name, b.failed, plural(b.runs, "run"), b.problem));
      if (base.failed == 0) findings.worse_than_baseline = true;
    }
    if (i != report.baseline && !b.codes.empty() && !base.codes.empty() && b.codes != base.codes) {
      findings.lines.push_back(fmt::format("exit codes differ: {} {}, {} {}", name, joined(b.codes),
                                           report.runtimes[report.baseline].name,
                                           joined(base.codes)));
      findings.worse_than_baseline = true;
    } else if (b.codes.size() > 1 ||
               (i == report.baseline && b.codes.count(0) == 0 && !b.codes.empty())) {
      findings.lines.push_back(fmt::format("{} ended with exit code {}", name, joined(b.codes)));
    }
    if (b.leftovers != 0 && !report.load) {
      findings.lines.push_back(fmt::format("{}: {} left processes behind, which were ended", name,
                                           plural(b.leftovers, "run")));
    }
  }
  compareOutputs(report, all, findings);
  return findings;
}

}  // namespace graft::tools::compare
