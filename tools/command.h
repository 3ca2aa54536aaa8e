// What the sub-commands of `graft` share: their signature, their table and their exit codes. Each
// command lives in a .cc file of its own and parses its own arguments; graft.cc only dispatches.
// Single-threaded; data goes to stdout, everything said to a person to stderr.
#pragma once

#include <sys/types.h>

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/target.h"

namespace graft::tools {

// As env(1) and timeout(1): a program that was started returns its own code.
inline constexpr int kExitDegraded = 1;         // graft doctor: something is off
inline constexpr int kExitWorse = 1;            // graft compare: worse than the baseline
inline constexpr int kExitLeaks = 23;  // graft leaks: there are some; LeakSanitizer's code
inline constexpr int kExitOwnFailure = 125;  // graft itself failed or refused
inline constexpr int kExitNotExecutable = 126;  // the program was found but cannot be executed
inline constexpr int kExitNotFound = 127;  // the program was not found

// args[0] is the command's name.
using CommandFn = int (*)(const std::vector<std::string>& args);

int runCommand(const std::vector<std::string>& args);
int optionsCommand(const std::vector<std::string>& args);
int doctorCommand(const std::vector<std::string>& args);
int stacksCommand(const std::vector<std::string>& args);
int compareCommand(const std::vector<std::string>& args);
int leaksCommand(const std::vector<std::string>& args);
int gcCommand(const std::vector<std::string>& args);

struct Command {
  const char* name;
  CommandFn run;
  const char* summary;
};

inline constexpr Command kCommands[] = {
    {"run", runCommand, "start a program on graft"},
    {"compare", compareCommand, "run a program under graft and other mallocs, and compare"},
    {"stacks", stacksCommand, "show what every thread of a running program does"},
    {"leaks", leaksCommand, "show what a program can no longer reach, by where it was allocated"},
    {"gc", gcCommand, "run a collection in a running program"},
    {"options", optionsCommand, "list the options, their variables and their values"},
    {"doctor", doctorCommand,
     "tell whether graft can be fully on here, and what stands in the way"},
};

// Prints "graft COMMAND: message" as one line and returns kExitOwnFailure.
int fail(std::string_view command, std::string_view message);

// A positive number and nothing else.
std::optional<pid_t> processId(const std::string& text);

// The code with which a command refuses a program that is not Target::State::kOk.
int exitCodeOf(Target::State state);

// Parses args[1..] into `app`. Empty: go on. Else the exit code: 0 after help, 125 after one line.
std::optional<int> parseArguments(CLI::App& app, const std::vector<std::string>& args);

// What followed the options: the program to start and its arguments, without the `--` in front.
// An option nobody knows is an error and not the name of a program; it is left in `unknown`.
std::vector<std::string> programOf(const CLI::App& app, std::string& unknown);

}  // namespace graft::tools
