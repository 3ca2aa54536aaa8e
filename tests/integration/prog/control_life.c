// A process whose control socket goes through everything that happens to processes, step by step as
// the case writes letters to stdin: fork, a thread in the child, its end, all descriptors closed,
// setuid, a new thread, exec of itself.
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/wait.h>

#include "check.h"

static void* nothing(void* arg) { return arg; }
static void makeThread(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, nothing, NULL) == 0);
  CHECK(pthread_join(t, NULL) == 0);
}
static void say(const char* text) { CHECK(write(1, text, strlen(text)) == (ssize_t)strlen(text)); }

static void child(void) {
  char c, text[64];
  snprintf(text, sizeof text, "forked %d\n", getpid());
  say(text);
  while (read(0, &c, 1) == 1) {
    if (c == 't') {
      makeThread();
      say("child-thread\n");
    } else if (c == 'e') {
      exit(0);
    } else if (c == 'q') {
      _exit(0);
    }
  }
  exit(1);
}

int main(int argc, char** argv) {
  char c;
  makeThread();
  say(argc > 1 ? "exec\n" : "ready\n");
  while (read(0, &c, 1) == 1) {
    int status;
    switch (c) {
      case 'f':
        if (fork() == 0) child();
        CHECK(wait(&status) > 0 && status == 0);
        say("child-ended\n");
        break;
      case 'c':
        for (int fd = 3; fd < 1024; fd++) close(fd);
        say("closed\n");
        break;
      case 'u':
        CHECK(setuid(getuid()) == 0);
        say("setuid\n");
        break;
      case 'n':
        makeThread();
        say("thread\n");
        break;
      case 'x': execl("/proc/self/exe", argv[0], "again", NULL); return 1;
      default: return 2;
    }
  }
  return 0;
}
