// Runs a program again and again, alternately as it is and with a library preloaded, and prints one
// line per run: `native` or `preloaded`, max RSS in KiB, wall time in nanoseconds. It is a small
// static program because Linux counts the memory of the process before exec into the child's max
// RSS: started from a Python script, every child would show the script's size.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void run(const char* who, char** program, char** environment) {
  long long start = now();
  pid_t pid = vfork();
  if (pid == 0) {
    execve(program[0], program, environment);
    _exit(127);
  }
  int status = 0;
  struct rusage usage;
  if (pid < 0 || wait4(pid, &status, 0, &usage) != pid || status != 0) {
    fprintf(stderr, "%s: %s ended with status %d\n", who, program[0], status);
    exit(1);
  }
  long long wall = now() - start;
  if (who[0] != '\0') printf("%s %ld %lld\n", who, usage.ru_maxrss, wall);
}

int main(int argc, char** argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: %s LIBRARY RUNS PROGRAM [ARGUMENT...]\n", argv[0]);
    return 125;
  }
  char preload[4096];
  snprintf(preload, sizeof preload, "LD_PRELOAD=%s", argv[1]);
  char* native[] = {"PATH=/usr/bin:/bin", NULL};
  char* preloaded[] = {"PATH=/usr/bin:/bin", preload, NULL};
  run("", argv + 3, native);  // brings the files into the page cache
  run("", argv + 3, preloaded);
  for (int i = 0; i < atoi(argv[2]); i++) {
    run("native", argv + 3, native);
    run("preloaded", argv + 3, preloaded);
  }
  return 0;
}
