// Runs one program and writes what it cost as one line of JSON: `launch RESULT PRELOAD PROGRAM
// [ARGUMENT...]`. PRELOAD is the value of LD_PRELOAD for the program; empty leaves it unset. It is
// a small static program because Linux counts the memory of the process before exec into max RSS:
// started from a Python script, every program would show at least the script's size. User and
// system time are those of the program and all its descendants that were waited for; max RSS is
// that of the largest one.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double seconds(struct timeval t) { return (double)t.tv_sec + 1e-6 * (double)t.tv_usec; }

int main(int argc, char** argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: %s RESULT PRELOAD PROGRAM [ARGUMENT...]\n", argv[0]);
    return 125;
  }
  // execvp searches with this process' PATH; the environment is otherwise handed on as it is.
  if (argv[2][0] != '\0') {
    setenv("LD_PRELOAD", argv[2], 1);
  } else {
    unsetenv("LD_PRELOAD");
  }
  double start = now();
  pid_t pid = vfork();
  if (pid == 0) {
    execvp(argv[3], argv + 3);
    _exit(127);
  }
  int status = 0;
  struct rusage usage;
  if (pid < 0 || wait4(pid, &status, 0, &usage) != pid) {
    perror(argv[3]);
    return 125;
  }
  double wall = now() - start;
  FILE* result = fopen(argv[1], "w");
  if (result == NULL) {
    perror(argv[1]);
    return 125;
  }
  fprintf(
      result,
      "{\"wall\": %.6f, \"user\": %.6f, \"sys\": %.6f, \"max_rss_kib\": %ld, \"minor_faults\": %ld,"
      " \"major_faults\": %ld, \"status\": %d}\n",
      wall, seconds(usage.ru_utime), seconds(usage.ru_stime), usage.ru_maxrss, usage.ru_minflt,
      usage.ru_majflt, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  return fclose(result) == 0 ? 0 : 125;
}
