// A stress program with a planted fault runs in a child process: what is broken on purpose may take
// its process along in any way (a check of its own, a trap, a signal), and each of them counts as
// noticed. Called once from main, before any thread exists.
#pragma once

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

namespace graft::test {

// -1 in the child, which goes on; in the parent the exit code of the program, with the line that
// ctest looks for when the child ended otherwise than with 0.
inline int underSupervision(const char* program) {
  pid_t pid = fork();
  if (pid == 0) return -1;
  int status = 1;
  waitpid(pid, &status, 0);
  if (status == 0) return 0;
  fprintf(stderr, "%s: FAIL: status %x\n", program, static_cast<unsigned>(status));
  return 1;
}

}  // namespace graft::test
