// `graft run`: checks the program, puts every option into the environment, puts libgraft.so first
// into LD_PRELOAD and becomes the program. Options are the rows of core/base/options.def; what this
// command refuses and with which code follows env(1), and 125 means that graft itself said no.
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "tools/command.h"
#include "tools/find_lib.h"
#include "tools/option_flags.h"

namespace graft::tools {
namespace {

int become(const std::vector<std::string>& program) {
  std::vector<char*> argv;
  for (const std::string& word : program) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  execvp(argv[0], argv.data());
  int error = errno;
  fail("run", fmt::format("{}: {}", program[0], std::strerror(error)));
  return error == ENOENT ? kExitNotFound : kExitNotExecutable;
}

}  // namespace

int runCommand(const std::vector<std::string>& args) {
  CLI::App app("Starts a program on graft: graft run [OPTIONS] -- PROGRAM [ARGUMENTS]",
               "graft run");
  app.prefix_command();
  app.footer("A switch takes =on or =off, or stands alone for on.");
  std::string explicit_library;
  app.add_option("--lib", explicit_library,
                 "libgraft.so to preload [GRAFT_LIB, or beside graft, ../lib/graft, ../lib]")
      ->take_last();
  OptionFlags flags;
  flags.addTo(app);
  if (auto code = parseArguments(app, args)) return *code;

  std::string unknown;
  std::vector<std::string> program = programOf(app, unknown);
  if (!unknown.empty()) return fail("run", fmt::format("unknown option {}", unknown));
  if (program.empty())
    return fail("run", "no program given; usage: graft run [OPTIONS] -- PROGRAM");

  if (std::string problem = flags.problem(app); !problem.empty()) return fail("run", problem);
  Library library = findLibrary(explicit_library);
  if (!library.problem.empty()) return fail("run", library.problem);
  Target target = inspectTarget(program[0]);
  if (target.state != Target::State::kOk) {
    fail("run", target.reason);
    return exitCodeOf(target.state);
  }
  for (const auto& [name, value] : flags.given(app)) setenv(name.c_str(), value.c_str(), 1);
  setenv("LD_PRELOAD", preloadWith(library.path, std::getenv("LD_PRELOAD")).c_str(), 1);
  return become(program);
}

}  // namespace graft::tools
