// The rows of core/base/options.def as flags of a sub-command: GRAFT_DECAY_MS is --decay-ms. Shared
// by the commands that start programs; values are checked as the runtime will and end up in
// environments.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/base/options.h"

namespace graft::tools {

class OptionFlags {
 public:
  void addTo(CLI::App& app);

  // After parsing: why a value that was given cannot be used, or "".
  std::string problem(const CLI::App& app) const;

  // NAME and value of each option that was given.
  std::vector<std::pair<std::string, std::string>> given(const CLI::App& app) const;

 private:
  std::map<const base::OptionInfo*, std::string> values_;
};

}  // namespace graft::tools
