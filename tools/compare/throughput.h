// Reads a load generator's throughput out of what it printed: redis-benchmark, ab, wrk, sysbench
// and pgbench by default, or any regular expression with one group around a number.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace graft::tools::compare {

// Why `regex` cannot be used (it does not compile, or has no group), or "".
std::string problemOfRegex(const std::string& regex);

// `regex` empty: the built-in ones. The geometric mean of all matches, line by line.
std::optional<double> throughputIn(std::string_view text, const std::string& regex);

}  // namespace graft::tools::compare
