// Figures for people: durations, sizes, counts and ratios with three significant digits. The page
// has the same rules in its script.
#pragma once

#include <string>

namespace graft::tools::compare {

// `unit` as in MeasureInfo: s, B, 1, 1/s.
std::string formatValue(double value, const char* unit);

std::string formatRatio(double ratio);

// "1 min 20 s".
std::string formatDuration(double seconds);

}  // namespace graft::tools::compare
