// The `graft` command: dispatches to one sub-command per file (table in command.h). Never links the
// live runtime; what it needs of core is core/base alone.
#include <fmt/core.h>

#include "core/base/version.h"
#include "tools/command.h"

namespace graft::tools {

namespace {

void printHelp(FILE* to) {
  fmt::print(to,
             "graft {}: runs unmodified programs on a Go-style runtime\n\n"
             "usage: graft COMMAND [OPTIONS] [-- PROGRAM ARGUMENTS]\n\n",
             GRAFT_VERSION);
  for (const Command& c : kCommands) fmt::print(to, "  {:<9}{}\n", c.name, c.summary);
  fmt::print(to,
             "  {:<9}{}\n\n"
             "`graft COMMAND --help` explains a command. Without the command line tool:\n"
             "LD_PRELOAD=/path/to/libgraft.so PROGRAM\n",
             "help", "print this, or the help of a command");
}

const Command* findCommand(std::string_view name) {
  for (const Command& c : kCommands) {
    if (name == c.name) return &c;
  }
  return nullptr;
}

int dispatch(std::vector<std::string> args) {
  if (args.empty()) {
    printHelp(stderr);
    return kExitOwnFailure;
  }
  if (args[0] == "--version" || args[0] == "version") {
    fmt::print("graft {}\n", GRAFT_VERSION);
    return 0;
  }
  if (args[0] == "help" && args.size() > 1) args = {args[1], "--help"};
  if (args[0] == "help" || args[0] == "--help" || args[0] == "-h") {
    printHelp(stdout);
    return 0;
  }
  if (const Command* c = findCommand(args[0])) return c->run(args);
  return fail("", fmt::format("unknown command '{}'; `graft help` lists them", args[0]));
}

}  // namespace

}  // namespace graft::tools

int main(int argc, char** argv) {
  try {
    return graft::tools::dispatch({argv + (argc > 0 ? 1 : 0), argv + argc});
  } catch (const std::exception& e) {
    return graft::tools::fail("", e.what());
  }
}
