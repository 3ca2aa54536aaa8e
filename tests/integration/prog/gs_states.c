// One thread in each state that `graft stacks` tells apart, with functions whose names the case
// looks for; prints "ready" and stays until its stdin ends. Argument "deadlock": everything sleeps.
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t other = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static sem_t nothing;
static int pipe_fd[2];
static volatile int stop;

__attribute__((noinline)) void wait_for_mutex(void) {
  pthread_mutex_lock(&held);
  pthread_mutex_unlock(&held);
}
__attribute__((noinline)) void wait_for_cond(void) {
  pthread_mutex_lock(&other);
  while (!stop) pthread_cond_wait(&never, &other);
  pthread_mutex_unlock(&other);
}
__attribute__((noinline)) void wait_for_sem(void) {
  while (sem_wait(&nothing) != 0) {
  }
  stop = 1;
}
__attribute__((noinline)) void sleep_long(void) {
  struct timespec t = {1000, 0};
  while (!stop) nanosleep(&t, NULL);
}
__attribute__((noinline)) void read_pipe(void) {
  char c;
  if (read(pipe_fd[0], &c, 1) != 0) puts("a byte from nowhere");
}
__attribute__((noinline)) void compute(void) {
  while (!stop) {
  }
}

typedef void (*Body)(void);
static void* f(void* body) {
  (*(Body*)body)();
  return NULL;
}

int main(int argc, char** argv) {
  static const struct {
    Body body;
    const char* name;
  } kAll[] = {{wait_for_mutex, "mutex"}, {wait_for_cond, "cond"}, {wait_for_sem, "sem"},
              {sleep_long, "sleep"},     {read_pipe, "pipe"},     {compute, "compute"}};
  int deadlock = argc > 1 && strcmp(argv[1], "deadlock") == 0;
  int n = deadlock ? 3 : 6;
  pthread_t t[6];
  CHECK(pipe(pipe_fd) == 0);
  sem_init(&nothing, 0, 0);
  pthread_mutex_lock(&held);
  for (int i = 0; i < n; i++) {
    pthread_create(&t[i], NULL, f, (void*)&kAll[i].body);
    pthread_setname_np(t[i], kAll[i].name);
  }
  if (deadlock) pthread_join(t[0], NULL);
  struct timespec moment = {0, 50000000};
  nanosleep(&moment, NULL);
  puts("ready");
  fflush(stdout);
  char c;
  while (read(0, &c, 1) > 0) {
  }
  return 0;
}
