// The program that a user wants to start: found in PATH as execvp() would, followed through `#!`
// lines to the ELF file that the kernel loads, and judged: can libgraft.so be preloaded into it?
// Reads files only; the answer may be outdated by the time of the exec, which then fails by itself.
#pragma once

#include <string>

#include "tools/elf.h"

namespace graft::tools {

struct Target {
  enum class State {
    kOk,  // can be preloaded, as far as files tell
    kRefused,  // the loader would ignore the preload, or the program must not have it
    kNotExecutable,  // found, but the kernel will not execute it
    kNotFound,
  };
  State state = State::kNotFound;
  std::string reason;  // one line when not kOk
  std::string executable;  // the ELF file that runs: the interpreter if the command is a script
  ElfInfo elf;  // of `executable`
};

Target inspectTarget(const std::string& command);

// The path that execvp(command) would try to execute, or "" with `state` and `reason` set.
std::string findInPath(const std::string& command, Target& out);

}  // namespace graft::tools
