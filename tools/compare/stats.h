// The statistics of `graft compare`: medians and quartiles of one runtime's runs, and the median of
// the ratios of two runtimes run in the same round, with a bootstrap interval. Pure functions; the
// resampling is seeded by a constant, so that the same figures give the same interval everywhere.
#pragma once

#include <optional>
#include <vector>

namespace graft::tools::compare {

struct Summary {
  int n = 0;
  double min = 0;
  double q1 = 0;  // quartiles by linear interpolation between order statistics
  double median = 0;
  double q3 = 0;
  double max = 0;
};

Summary summarize(std::vector<double> values);

struct Interval {
  double low = 0;
  double high = 0;
};

struct Ratio {
  int pairs = 0;
  double median = 0;
  std::optional<Interval> interval;  // 95 %; absent below kPairsForInterval pairs
};

inline constexpr int kPairsForInterval = 3;

// ratios[i]: the value of one runtime in round i over that of the baseline in the same round.
std::optional<Ratio> ratioOf(const std::vector<double>& ratios);

}  // namespace graft::tools::compare
