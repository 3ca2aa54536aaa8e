// What the commands have in common that start one program on graft: the flags, the checks of
// program and library, and the environment. Single-threaded; changes this process's environment,
// which the program inherits.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tools/option_flags.h"

namespace graft::tools {

class Starter {
 public:
  explicit Starter(const char* command) : command_(command) {}

  // --lib and the rows of core/base/options.def.
  void addTo(CLI::App& app);
  // After parsing. Empty: the environment is ready for the program. Else the exit code, after one
  // line that says why.
  std::optional<int> prepare(const CLI::App& app, const std::vector<std::string>& program);
  // execvp failed with `error`: says so and returns the exit code.
  int failed(const std::vector<std::string>& program, int error) const;

 private:
  const char* command_;
  std::string explicit_library_;
  OptionFlags flags_;
};

// argv of the program; it refers to `program`.
std::vector<char*> argvOf(const std::vector<std::string>& program);

}  // namespace graft::tools
