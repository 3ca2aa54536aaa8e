// Starts a program N times and prints the max RSS of each run in KiB: `launch N PROGRAM`. Linked
// statically, because a child's figure starts at what its parent had at the time of exec.
#include <sys/resource.h>
#include <sys/wait.h>

#include "check.h"

extern char** environ;

int main(int argc, char** argv) {
  CHECK(argc == 4);
  static char preload[4096];
  snprintf(preload, sizeof preload, "LD_PRELOAD=%s", argv[2]);
  char* with[] = {preload, NULL};
  char* without[] = {NULL};
  char* words[] = {argv[3], NULL};
  for (int i = 0; i < atoi(argv[1]); i++) {
    pid_t pid = vfork();
    if (pid == 0) {
      execve(argv[3], words, *argv[2] != '\0' ? with : without);
      _exit(127);
    }
    int status;
    struct rusage use;
    CHECK(wait4(pid, &status, 0, &use) == pid && status == 0);
    printf("%ld\n", use.ru_maxrss);
  }
  return 0;
}
