/* Threads that wait in every kind of system call that a signal handler ends, while cycles of the
   collector follow each other: each wait ends at its time, with its own result, and no EINTR. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>

#include "../../../preload/graft.h"
#include "check.h"

enum { kMs = 300, kNs = kMs * 1000000 };

static int sockets[2], ep;
static sem_t sem;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static long in_poll(void) {
  struct pollfd p = {sockets[0], POLLIN, 0};
  return poll(&p, 1, kMs);
}
static long in_ppoll(void) {
  struct pollfd p = {sockets[0], POLLIN, 0};
  struct timespec t = {0, kNs};
  return ppoll(&p, 1, &t, NULL);
}
static long in_epoll(void) {
  struct epoll_event e;
  return epoll_wait(ep, &e, 1, kMs);
}
static long in_select(void) {
  fd_set s;
  FD_ZERO(&s);
  FD_SET(sockets[0], &s);
  struct timeval t = {0, kMs * 1000};
  return select(sockets[0] + 1, &s, NULL, NULL, &t);
}
static long in_recv(void) {
  char c;
  return recv(sockets[0], &c, 1, 0) == -1 && errno == EAGAIN ? 0 : -1;
}
static long in_sem(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  t.tv_nsec += kNs;
  if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
  return sem_timedwait(&sem, &t) == -1 && errno == ETIMEDOUT ? 0 : -1;
}
static long in_nanosleep(void) {
  struct timespec t = {0, kNs};
  return nanosleep(&t, NULL);
}
static long in_nanosleep_rest(void) {
  struct timespec t = {0, kNs}, rest;
  return nanosleep(&t, &rest);
}
static long in_usleep(void) { return usleep(kMs * 1000); }
static long in_sigtimedwait(void) {
  sigset_t s;
  sigemptyset(&s);
  sigaddset(&s, SIGUSR2);
  struct timespec t = {0, kNs};
  return sigtimedwait(&s, NULL, &t) == -1 && errno == EAGAIN ? 0 : -1;
}

static struct Wait {
  const char* name;
  long (*call)(void);
  int bad;
} waits[] = {{"poll", in_poll, 0},           {"ppoll", in_ppoll, 0},
             {"epoll_wait", in_epoll, 0},    {"select", in_select, 0},
             {"recv", in_recv, 0},           {"sem_timedwait", in_sem, 0},
             {"nanosleep", in_nanosleep, 0}, {"nanosleep with rest", in_nanosleep_rest, 0},
             {"usleep", in_usleep, 0},       {"sigtimedwait", in_sigtimedwait, 0}};
enum { kWaits = sizeof waits / sizeof waits[0] };

static void* run(void* arg) {
  struct Wait* w = arg;
  double begin = now();
  errno = 0;
  long got = w->call();
  int error = errno;
  double took = now() - begin;
  w->bad = got != 0 || took < kMs * 0.00095;
  if (w->bad) printf("%s: %ld, error %d, after %.3f s\n", w->name, got, error, took);
  return NULL;
}

int main(void) {
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
  struct timeval limit = {0, kMs * 1000};
  setsockopt(sockets[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ep = epoll_create1(0);
  struct epoll_event e = {.events = EPOLLIN};
  CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, sockets[0], &e) == 0);
  sem_init(&sem, 0, 0);
  sigset_t s;
  sigemptyset(&s);
  sigaddset(&s, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &s, NULL);
  pthread_t t[kWaits];
  for (int i = 0; i < kWaits; i++) CHECK(pthread_create(&t[i], NULL, run, &waits[i]) == 0);
  double end = now() + 0.4;
  while (graft_gc && now() < end) {
    graft_gc();
    usleep(15000);
  }
  int bad = 0;
  for (int i = 0; i < kWaits; i++) {
    pthread_join(t[i], NULL);
    bad |= waits[i].bad;
  }
  puts(bad ? "bad" : "all on time");
  return bad;
}
