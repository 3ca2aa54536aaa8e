// What the programs with threads share: a clock, starting and joining with a check, and a handler
// that counts.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "check.h"

static inline double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline pthread_t start(void* (*fn)(void*), void* arg) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, fn, arg) == 0);
  return t;
}
static inline void* join(pthread_t t) {
  void* result;
  CHECK(pthread_join(t, &result) == 0);
  return result;
}
static inline void* nothing(void* arg) { return arg; }

static volatile int handled;
static inline void onSignal(int signal) {
  (void)signal;
  handled++;
}
static inline void handle(int signal, int flags) {
  struct sigaction a = {0};
  a.sa_handler = onSignal;
  a.sa_flags = flags;
  CHECK(sigaction(signal, &a, NULL) == 0);
}
