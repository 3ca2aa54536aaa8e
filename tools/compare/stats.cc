// Order statistics and the percentile bootstrap of a median (stats.h). Indices are drawn with a
// multiply-shift from splitmix64: the distributions of <random> differ between libraries.
#include "tools/compare/stats.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace graft::tools::compare {
namespace {

constexpr int kResamples = 4000;
constexpr uint64_t kSeed = 0x6772616674;

double quantile(const std::vector<double>& sorted, double p) {
  double at = p * static_cast<double>(sorted.size() - 1);
  auto low = static_cast<size_t>(std::floor(at));
  size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - std::floor(at)) * (sorted[high] - sorted[low]);
}

double medianOf(std::vector<double>& values) {
  std::sort(values.begin(), values.end());
  return quantile(values, 0.5);
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  size_t below(size_t n) { return static_cast<size_t>((next() >> 32) * n >> 32); }

 private:
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  uint64_t state_;
};

}  // namespace

Summary summarize(std::vector<double> values) {
  Summary s;
  if (values.empty()) return s;
  std::sort(values.begin(), values.end());
  s.n = static_cast<int>(values.size());
  s.min = values.front();
  s.q1 = quantile(values, 0.25);
  s.median = quantile(values, 0.5);
  s.q3 = quantile(values, 0.75);
  s.max = values.back();
  return s;
}

std::optional<Ratio> ratioOf(const std::vector<double>& ratios) {
  if (ratios.empty()) return std::nullopt;
  Ratio result;
  result.pairs = static_cast<int>(ratios.size());
  std::vector<double> scratch = ratios;
  result.median = medianOf(scratch);
  if (result.pairs < kPairsForInterval) return result;
  Random random(kSeed);
  std::vector<double> medians(kResamples);
  for (double& median : medians) {
    for (double& value : scratch) value = ratios[random.below(ratios.size())];
    median = medianOf(scratch);
  }
  std::sort(medians.begin(), medians.end());
  result.interval = Interval{quantile(medians, 0.025), quantile(medians, 0.975)};
  return result;
}

}  // namespace graft::tools::compare
