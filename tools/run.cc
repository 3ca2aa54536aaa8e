// `graft run`: checks the program, puts every option into the environment, puts libgraft.so first
// into LD_PRELOAD (starter.h) and becomes the program.
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>

#include "tools/command.h"
#include "tools/starter.h"

namespace graft::tools {

int runCommand(const std::vector<std::string>& args) {
  CLI::App app("Starts a program on graft: graft run [OPTIONS] -- PROGRAM [ARGUMENTS]",
               "graft run");
  Starter starter("run");
  starter.addTo(app);
  if (auto code = parseArguments(app, args)) return *code;

  std::string unknown;
  std::vector<std::string> program = programOf(app, unknown);
  if (!unknown.empty()) return fail("run", fmt::format("unknown option {}", unknown));
  if (auto code = starter.prepare(app, program)) return *code;
  std::vector<char*> argv = argvOf(program);
  execvp(argv[0], argv.data());
  return starter.failed(program, errno);
}

}  // namespace graft::tools
