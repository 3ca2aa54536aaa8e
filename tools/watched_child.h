// A program that is run in this one's place and waited for: with its terminal, its signals and its
// exit status, so that to its user and its parent it is as if it ran alone. One at a time.
#pragma once

#include <string>
#include <vector>

namespace graft::tools {

struct ChildEnd {
  int error = 0;  // errno of a failed start; the rest is then not set
  int pid = 0;
  int exit_code = 0;  // its own, or 128 + signal
  int signal = 0;
};

// SIGINT and SIGQUIT, which a terminal sends to both, are left to the program; SIGTERM and SIGHUP
// are passed on to it.
ChildEnd runAndWait(const std::vector<std::string>& program);

}  // namespace graft::tools
