// Runs a short program for `graft doctor`: with a time limit, its output kept, and on demand with
// libgraft.so preloaded and its JSON summary read back, which proves that the preload works here.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace graft::tools {

struct ChildResult {
  bool finished = false;  // false: not started, or ended after the time limit
  int code = 0;           // exit code, or 128 + signal
  std::string output;     // stdout and stderr, the first 64 KiB
};

using Environment = std::vector<std::pair<std::string, std::string>>;  // "" unsets

ChildResult runChild(const std::vector<std::string>& command, const Environment& changes);

struct Trial {
  std::string problem;  // not empty: the library did not come up; one line
  std::string command;  // what was started
  nlohmann::json summary;
  nlohmann::json facts;  // what the library knows about glibc; null: it did not say
};

// Starts a small program preloaded with `library`.
Trial tryPreload(const std::string& library);

}  // namespace graft::tools
