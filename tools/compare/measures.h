// What `graft compare` measures, and the record of one run. The table below is the one list of the
// measures: text, JSON and page walk it, and a measure that no run has is shown nowhere.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "tools/compare/sampler.h"

namespace graft::tools::compare {

enum class Measure {
  kWall,
  kThroughput,
  kCpu,
  kUser,
  kSys,
  kPeakRss,
  kAverageRss,
  kFinalRss,
  kIdleRss,
  kPeakPss,
  kAveragePss,
  kFinalPss,
  kIdlePss,
  kMinorFaults,
  kMajorFaults,
};

struct MeasureInfo {
  Measure measure;
  const char* id;
  const char* title;
  const char* unit;  // s, B, 1, 1/s
  bool higher_is_better;
  const char* meaning;
};

inline constexpr MeasureInfo kMeasures[] = {
    {Measure::kWall, "wall", "wall time", "s", false,
     "from the start of the program until it ended; under --load, the time of the load"},
    {Measure::kThroughput, "throughput", "throughput", "1/s", true,
     "what the load printed; the geometric mean where it printed several"},
    {Measure::kCpu, "cpu", "CPU time", "s", false,
     "user and system time of all processes of the program, over their whole life"},
    {Measure::kUser, "user", "user time", "s", false, "user time of all processes"},
    {Measure::kSys, "sys", "system time", "s", false, "system time of all processes"},
    {Measure::kPeakRss, "peak_rss", "peak RSS", "B", false,
     "highest sample of the sum over all processes, in each of which shared pages count, or the "
     "kernel's maximum of one of them"},
    {Measure::kAverageRss, "average_rss", "average RSS", "B", false,
     "time-weighted mean over the run; under --load, while the load ran"},
    {Measure::kFinalRss, "final_rss", "final RSS", "B", false,
     "the last sample before the program ended"},
    {Measure::kIdleRss, "idle_rss", "idle RSS", "B", false,
     "after the load had ended and the idle time had passed"},
    {Measure::kPeakPss, "peak_pss", "peak PSS", "B", false,
     "highest sample of the proportional set size: shared pages are divided among their users"},
    {Measure::kAveragePss, "average_pss", "average PSS", "B", false, "as average RSS"},
    {Measure::kFinalPss, "final_pss", "final PSS", "B", false, "as final RSS"},
    {Measure::kIdlePss, "idle_pss", "idle PSS", "B", false, "as idle RSS"},
    {Measure::kMinorFaults, "minor_faults", "minor faults", "1", false,
     "page faults served without reading a file"},
    {Measure::kMajorFaults, "major_faults", "major faults", "1", false,
     "page faults that waited for a file"},
};

inline constexpr size_t kMeasureCount = sizeof kMeasures / sizeof kMeasures[0];

class Measures {
 public:
  std::optional<double>& operator[](Measure m) { return values_[static_cast<size_t>(m)]; }
  const std::optional<double>& operator[](Measure m) const {
    return values_[static_cast<size_t>(m)];
  }

 private:
  std::array<std::optional<double>, kMeasureCount> values_;
};

struct Output {
  uint64_t bytes = 0;
  uint64_t hash = 0;  // FNV-1a
  bool operator==(const Output&) const = default;
};

// One run of one runtime. `problem` not empty: it could not be carried through, nothing was
// measured.
struct RunRecord {
  int runtime = 0;  // index into the list of runtimes
  int round = 0;
  std::string problem;
  int exit_code = 0;     // 128 + signal where one ended it
  int exec_error = 0;    // errno; the program never started
  int left_running = 0;  // processes that were there when the program had ended
  Measures measures;
  Series series;
  double length = 0;              // seconds, of the time axis
  std::optional<double> load_began, load_ended;  // seconds on it
  std::optional<Output> output;   // of stdout, where it was asked for
};

}  // namespace graft::tools::compare
