// Every way to start another program, while threads allocate: fork and exec, vfork, posix_spawn
// with file actions, popen in both directions, system, and daemon(). `spawning WAY PROGRAM`.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "check.h"

extern char** environ;
static volatile int stop;

static void* allocate(void* seed) {
  uint64_t state = (uint64_t)(uintptr_t)seed;
  void* p[50] = {0};
  while (!stop) {
    int k = (int)(nextRandom(&state) % 50);
    free(p[k]);
    p[k] = malloc(randomSize(&state));
  }
  for (int k = 0; k < 50; k++) free(p[k]);
  return NULL;
}

static int statusOf(pid_t pid) {
  int status;
  CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
  return WEXITSTATUS(status);
}

int main(int argc, char** argv) {
  CHECK(argc == 3);
  const char *way = argv[1], *program = argv[2];
  char* words[] = {argv[2], "-c", "read line; echo \"got $line\"; exit 5", NULL};
  if (strcmp(way, "daemon") == 0) {
    void* before = malloc(1000);
    CHECK(daemon(1, 1) == 0);
    alarm(20);
    free(before);
    allocate((stop = 1, (void*)3));
    pthread_t t;
    CHECK(pthread_create(&t, NULL, allocate, (void*)4) == 0 && pthread_join(t, NULL) == 0);
    printf("daemon works, parent %s\n", getppid() == getsid(0) ? "is leader" : "gone");
    return 0;
  }
  pthread_t t[3];
  for (long i = 0; i < 3; i++) pthread_create(&t[i], NULL, allocate, (void*)(i + 1));
  for (int i = 0; i < 10; i++) {
    int in[2], status = -1;
    CHECK(pipe2(in, O_CLOEXEC) == 0 && dprintf(in[1], "line %d\n", i) > 0);
    close(in[1]);
    if (strcmp(way, "fork") == 0 || strcmp(way, "vfork") == 0) {
      pid_t pid = *way == 'f' ? fork() : vfork();
      if (pid == 0) {
        dup2(in[0], 0);
        execv(program, words);
        _exit(127);
      }
      status = statusOf(pid);
    } else if (strcmp(way, "vfork-fails") == 0) {
      pid_t pid = vfork();
      if (pid == 0) {
        execl("/nonexistent/program", "program", NULL);
        _exit(errno == ENOENT ? 5 : 6);
      }
      status = statusOf(pid);
    } else if (strcmp(way, "posix_spawn") == 0) {
      posix_spawn_file_actions_t actions;
      posix_spawn_file_actions_init(&actions);
      posix_spawn_file_actions_adddup2(&actions, in[0], 0);
      pid_t pid;
      CHECK(posix_spawn(&pid, program, &actions, NULL, words, environ) == 0);
      posix_spawn_file_actions_destroy(&actions);
      status = statusOf(pid);
    } else if (strcmp(way, "popen") == 0) {
      FILE* f = popen("echo from popen; exit 5", "r");
      char text[100];
      CHECK(f != NULL && fgets(text, sizeof text, f) != NULL);
      fputs(text, stdout);
      status = WEXITSTATUS(pclose(f));
      fflush(stdout);
      f = popen("cat", "w");
      fprintf(f, "into popen %d\n", i);
      CHECK(pclose(f) == 0);
    } else if (strcmp(way, "system") == 0) {
      status = WEXITSTATUS(system("echo from system | cat; exit 5"));
    }
    CHECK(status == 5);
    close(in[0]);
  }
  stop = 1;
  for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
  puts("ok");
  return 0;
}
