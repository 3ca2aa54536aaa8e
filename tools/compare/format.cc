// Rounding and units of the figures in progress lines and tables (format.h): at least three digits
// are shown, so that a hundredth of a ratio can be seen in the medians too.
#include "tools/compare/format.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <string_view>

namespace graft::tools::compare {
namespace {

std::string threeDigits(double value) {
  int decimals = 0;
  if (value < 10) {
    decimals = 2;
  } else if (value < 100) {
    decimals = 1;
  }
  return fmt::format("{:.{}f}", value, decimals);
}

}  // namespace

std::string formatValue(double value, const char* unit) {
  std::string_view u = unit;
  if (u == "s") {
    if (value == 0) return "0 s";
    if (value < 1e-3) return threeDigits(value * 1e6) + " us";
    if (value < 1) return threeDigits(value * 1e3) + " ms";
    return threeDigits(value) + " s";
  }
  if (u == "B") {
    static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB"};
    double scaled = value / 1024;
    size_t i = 0;
    for (; scaled >= 1000 && i + 1 < std::size(kUnits); i++) scaled /= 1024;
    return fmt::format("{} {}", threeDigits(scaled), kUnits[i]);
  }
  std::string text;
  if (value >= 1e9) {
    text = threeDigits(value / 1e9) + " G";
  } else if (value >= 1e6) {
    text = threeDigits(value / 1e6) + " M";
  } else if (value >= 1e4) {
    text = threeDigits(value / 1e3) + " k";
  } else if (value == std::floor(value)) {
    text = fmt::format("{:.0f}", value);
  } else {
    text = threeDigits(value);
  }
  return u == "1/s" ? text + "/s" : text;
}

std::string formatRatio(double ratio) { return fmt::format("{:.{}f}", ratio, ratio < 10 ? 2 : 1); }

std::string formatDuration(double seconds) {
  auto s = static_cast<long>(std::ceil(std::max(seconds, 0.0)));
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {} s", s / 60, s % 60);
  return fmt::format("{} h {} min", s / 3600, s % 3600 / 60);
}

}  // namespace graft::tools::compare
