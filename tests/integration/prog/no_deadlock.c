// Every thread sleeps for a while, and something that no thread of the program does wakes one: the
// argument says what. A report of a deadlock would be wrong each time.
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static const struct timespec kMoment = {0, 300000000};
static sem_t woken;
static sem_t* shared;

static void post(void) { sem_post(&woken); }
static void onSignal(int s) {
  (void)s;
  post();
}
static void onTimer(union sigval v) {
  (void)v;
  post();
}
static void* sleeper(void* arg) {
  sem_t* s = arg;
  while (sem_wait(s) != 0) CHECK(errno == EINTR);
  return NULL;
}

// Another process sends the signal.
static void killMeLater(int signal) {
  pid_t me = getpid();
  if (fork() != 0) return;
  nanosleep(&kMoment, NULL);
  kill(me, signal);
  _exit(0);
}

// Not a thread that libc or graft knows: it ends by itself after it woke somebody.
static char foreign_stack[65536] __attribute__((aligned(16)));
static volatile int foreign_word;
static int foreign(void* arg) {
  (void)arg;
  long seconds[2] = {0, 300000000};
  long r;
  __asm__ volatile("syscall"
                   : "=a"(r)
                   : "a"(SYS_nanosleep), "D"(seconds), "S"(0L)
                   : "rcx", "r11", "memory");
  __atomic_store_n(&foreign_word, 1, __ATOMIC_SEQ_CST);
  __asm__ volatile("movq $0, %%r10\n\tsyscall"
                   : "=a"(r)
                   : "a"(SYS_futex), "D"(&foreign_word), "S"((long)FUTEX_WAKE), "d"(1L)
                   : "rcx", "r11", "r10", "memory");
  return 0;
}
static void* waitForForeign(void* arg) {
  (void)arg;
  while (foreign_word == 0) syscall(SYS_futex, &foreign_word, FUTEX_WAIT, 0, NULL, NULL, 0);
  post();
  return NULL;
}

static void* waitSignal(void* arg) {
  (void)arg;
  sigset_t set;
  int got;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  CHECK(sigwait(&set, &got) == 0 && got == SIGUSR1);
  post();
  return NULL;
}
static void* sleepAWhile(void* arg) {
  (void)arg;
  nanosleep(&kMoment, NULL);
  post();
  return NULL;
}
static void* waitTimed(void* arg) {
  sem_t never;
  struct timespec at;
  (void)arg;
  sem_init(&never, 0, 0);
  clock_gettime(CLOCK_REALTIME, &at);
  at.tv_sec++;
  CHECK(sem_timedwait(&never, &at) != 0 && errno == ETIMEDOUT);
  post();
  return NULL;
}
static void* readPipe(void* arg) {
  char c;
  CHECK(read(*(int*)arg, &c, 1) == 1);
  post();
  return NULL;
}

int main(int argc, char** argv) {
  const char* what = argc > 1 ? argv[1] : "";
  pthread_t t, waker;
  int ends[2];
  void* (*body)(void*) = NULL;
  void* arg = NULL;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sem_init(&woken, 0, 0);
  shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shared != MAP_FAILED && sem_init(shared, 1, 0) == 0);
  if (strcmp(what, "sigwait") == 0) pthread_sigmask(SIG_BLOCK, &set, NULL);
  if (strcmp(what, "handler") == 0) {
    signal(SIGUSR1, onSignal);
    killMeLater(SIGUSR1);
  } else if (strcmp(what, "timer") == 0) {
    struct itimerval it = {{0, 0}, {0, 300000}};
    signal(SIGALRM, onSignal);
    setitimer(ITIMER_REAL, &it, NULL);
  } else if (strcmp(what, "timer-thread") == 0) {
    timer_t timer;
    struct sigevent ev;
    struct itimerspec it = {{0, 0}, kMoment};
    memset(&ev, 0, sizeof ev);
    ev.sigev_notify = SIGEV_THREAD;
    ev.sigev_notify_function = onTimer;
    CHECK(timer_create(CLOCK_MONOTONIC, &ev, &timer) == 0);
    CHECK(timer_settime(timer, 0, &it, NULL) == 0);
  } else if (strcmp(what, "sigwait") == 0) {
    killMeLater(SIGUSR1);
    body = waitSignal;
  } else if (strcmp(what, "sleep") == 0) {
    body = sleepAWhile;
  } else if (strcmp(what, "timed") == 0) {
    body = waitTimed;
  } else if (strcmp(what, "pipe") == 0) {
    CHECK(pipe(ends) == 0);
    if (fork() == 0) {
      nanosleep(&kMoment, NULL);
      CHECK(write(ends[1], "x", 1) == 1);
      _exit(0);
    }
    body = readPipe;
    arg = &ends[0];
  } else if (strcmp(what, "aio") == 0) {  // a thread of libc's own reads, and another one posts
    static struct aiocb cb;
    static char byte;
    CHECK(pipe(ends) == 0);
    cb.aio_fildes = ends[0];
    cb.aio_buf = &byte;
    cb.aio_nbytes = 1;
    cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
    cb.aio_sigevent.sigev_notify_function = onTimer;
    if (fork() == 0) {
      nanosleep(&kMoment, NULL);
      CHECK(write(ends[1], "x", 1) == 1);
      _exit(0);
    }
    CHECK(aio_read(&cb) == 0);
  } else if (strcmp(what, "clone") == 0) {
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    CHECK(clone(foreign, foreign_stack + sizeof foreign_stack, flags, NULL) > 0);
    body = waitForForeign;
  } else if (strcmp(what, "shared") == 0) {
    if (fork() == 0) {
      nanosleep(&kMoment, NULL);
      sem_post(shared);
      _exit(0);
    }
    while (sem_wait(shared) != 0) {
    }
    post();
  } else {
    return 2;
  }
  if (body != NULL) pthread_create(&waker, NULL, body, arg);
  pthread_create(&t, NULL, sleeper, &woken);
  pthread_join(t, NULL);
  puts("woken");
  return 0;
}
