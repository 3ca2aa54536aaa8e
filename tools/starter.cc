// See starter.h. What is refused and with which code follows env(1), and 125 means that graft
// itself said no.
#include "tools/starter.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "tools/command.h"
#include "tools/find_lib.h"

namespace graft::tools {

void Starter::addTo(CLI::App& app) {
  app.prefix_command();
  app.footer("A switch takes =on or =off, or stands alone for on.");
  app.add_option("--lib", explicit_library_,
                 "libgraft.so to preload [GRAFT_LIB, or beside graft, ../lib/graft, ../lib]")
      ->take_last();
  flags_.addTo(app);
}

std::optional<int> Starter::prepare(const CLI::App& app, const std::vector<std::string>& program) {
  if (program.empty()) {
    return fail(command_,
                fmt::format("no program given; usage: graft {} [OPTIONS] -- PROGRAM", command_));
  }
  if (std::string problem = flags_.problem(app); !problem.empty()) return fail(command_, problem);
  Library library = findLibrary(explicit_library_);
  if (!library.problem.empty()) return fail(command_, library.problem);
  Target target = inspectTarget(program[0]);
  if (target.state != Target::State::kOk) {
    fail(command_, target.reason);
    return exitCodeOf(target.state);
  }
  for (const auto& [name, value] : flags_.given(app)) setenv(name.c_str(), value.c_str(), 1);
  setenv("LD_PRELOAD", preloadWith(library.path, std::getenv("LD_PRELOAD")).c_str(), 1);
  return std::nullopt;
}

int Starter::failed(const std::vector<std::string>& program, int error) const {
  fail(command_, fmt::format("{}: {}", program[0], std::strerror(error)));
  return error == ENOENT ? kExitNotFound : kExitNotExecutable;
}

std::vector<char*> argvOf(const std::vector<std::string>& program) {
  std::vector<char*> argv;
  for (const std::string& word : program) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  return argv;
}

}  // namespace graft::tools
