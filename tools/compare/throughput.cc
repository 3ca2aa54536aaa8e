// Matching of throughput figures (throughput.h). Lines are cut to a bound before they are matched:
// std::regex recurses by the character, and a load may print anything.
#include "tools/compare/throughput.h"

#include <fmt/core.h>

#include <cmath>
#include <cstdlib>
#include <regex>
#include <vector>

namespace graft::tools::compare {
namespace {

constexpr size_t kLongestLine = 500;

constexpr const char* kKnown[] = {
    R"(([0-9][0-9.]*) requests per second)",             // redis-benchmark
    R"(Requests per second:\s+([0-9][0-9.]*))",          // ab
    R"(Requests/sec:\s+([0-9][0-9.]*))",                 // wrk
    R"(transactions:.*\(([0-9][0-9.]*) per sec\.?\))",   // sysbench
    R"(tps = ([0-9][0-9.]*))",                           // pgbench
};

struct LogSum {
  double sum = 0;
  int count = 0;
};

LogSum matchesOf(std::string_view text, const std::regex& regex) {
  LogSum result;
  while (!text.empty()) {
    size_t end = std::min(text.find_first_of("\r\n"), text.size());
    std::string line(text.substr(0, std::min(end, kLongestLine)));
    text.remove_prefix(std::min(end + 1, text.size()));
    std::smatch match;
    if (!std::regex_search(line, match, regex) || match.size() < 2) continue;
    double value = std::strtod(match[1].str().c_str(), nullptr);
    if (!(value > 0)) continue;
    result.sum += std::log(value);
    result.count++;
  }
  return result;
}

}  // namespace

std::string problemOfRegex(const std::string& regex) {
  try {
    std::regex compiled(regex);
    if (compiled.mark_count() == 0) {
      return fmt::format("'{}' has no group: put ( ) around the number", regex);
    }
  } catch (const std::regex_error& e) {
    return fmt::format("'{}' is not a regular expression: {}", regex, e.what());
  }
  return "";
}

std::optional<double> throughputIn(std::string_view text, const std::string& regex) {
  std::vector<std::string> candidates(std::begin(kKnown), std::end(kKnown));
  if (!regex.empty()) candidates = {regex};
  for (const std::string& candidate : candidates) {
    LogSum found = matchesOf(text, std::regex(candidate));
    if (found.count != 0) return std::exp(found.sum / found.count);
  }
  return std::nullopt;
}

}  // namespace graft::tools::compare
