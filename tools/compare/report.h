// The result of `graft compare` as text, as JSON and as a page. One Report holds what was asked,
// where it was measured and every run; the three writers only read it. Plain data, single-threaded.
#pragma once

#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tools/compare/measures.h"
#include "tools/compare/run.h"
#include "tools/compare/runtimes.h"
#include "tools/compare/stats.h"

namespace graft::tools::compare {

struct Machine {
  std::string kernel;
  std::string cpu;
  unsigned cores = 0;
  uint64_t memory = 0;  // bytes
  std::string huge_pages;
};

Machine readMachine();

// "0.12 0.34 0.56", or "".
std::string readLoadAverage();

// Now, as 2026-01-31T12:00:00Z.
std::string timestamp();

struct Report {
  std::vector<std::string> command;
  std::vector<std::string> environment;  // NAME=VALUE that every runtime got
  std::vector<std::string> graft_options;  // NAME=VALUE that graft alone got
  std::optional<Load> load;
  int rounds = 0;  // that were asked for
  int warmup = 0;
  bool interrupted = false;
  std::string started, ended;
  std::string load_average_before, load_average_after;
  Machine machine;
  std::vector<Runtime> runtimes;
  size_t baseline = 0;
  std::vector<std::vector<int>> order;  // of the runtimes, per round
  std::vector<RunRecord> runs;
};

struct Result {
  Summary summary;
  std::optional<Ratio> ratio;  // to the baseline; absent for the baseline itself
};

// Absent: no run of this runtime has the measure.
std::optional<Result> resultOf(const Report& report, size_t runtime, Measure measure);

struct Findings {
  std::vector<std::string> lines;  // each for a person to read
  bool worse_than_baseline = false;  // a run failed or ended otherwise than the baseline's
};

// What makes the figures doubtful: failed runs, differing exit codes and outputs, leftovers.
Findings findingsOf(const Report& report);

void writeText(const Report& report, FILE* to);
nlohmann::ordered_json toJson(const Report& report);
std::string toHtml(const Report& report);

}  // namespace graft::tools::compare
