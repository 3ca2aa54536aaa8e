// Where signals go in a program with threads: to the process while everybody sleeps, to one thread
// that waits in user space or in the kernel, to sigwait, from a timer into semaphores, and to
// children. What it prints does not depend on timing.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile int got[65];
static volatile pthread_t who[65];
static sem_t sem;

static void note(int signal) {
  got[signal]++;
  who[signal] = pthread_self();
}

static void post(int signal) {
  got[signal]++;
  sem_post(&sem);
}

static void install(int signal, void (*handler)(int), int flags) {
  struct sigaction act;
  memset(&act, 0, sizeof act);
  act.sa_handler = handler;
  act.sa_flags = flags;
  sigaction(signal, &act, NULL);
}

static void waitUntil(const volatile int* what, int value) {
  for (int i = 0; i < 5000 && *what < value; i++) usleep(1000);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;

static void unlock(void* m) { pthread_mutex_unlock(m); }

static void* sleeper(void* arg) {
  (void)arg;
  pthread_mutex_lock(&mutex);
  pthread_cleanup_push(unlock, &mutex);
  for (;;) pthread_cond_wait(&cond, &mutex);
  pthread_cleanup_pop(1);
  return NULL;
}

static int ends[2];

static void* reader(void* arg) {
  (void)arg;
  char c;
  long n = read(ends[0], &c, 1);
  printf("read %ld%s\n", n, n < 0 && errno == EINTR ? " EINTR" : "");
  return NULL;
}

static void* waiter(void* set) {
  int signal = 0;
  sigwait(set, &signal);
  printf("sigwait %d\n", signal);
  return NULL;
}

static void* taker(void* arg) {
  (void)arg;
  while (sem_wait(&sem) != 0) {
  }
  return NULL;
}

static sigjmp_buf back;
static void jump(int signal) {
  (void)signal;
  siglongjmp(back, 1);
}

static void* faults(void* stack) {
  stack_t alt;
  memset(&alt, 0, sizeof alt);
  alt.ss_sp = stack;
  alt.ss_size = 65536;
  sigaltstack(&alt, NULL);
  volatile int caught = 0;
  for (volatile int i = 0; i < 50; i++) {
    if (sigsetjmp(back, 1) == 0) *(volatile int*)8 = 1;
    caught++;
    usleep(100);
  }
  printf("faults %d\n", caught);
  return NULL;
}

static void toOneThread(void) {
  pthread_t t, u;
  pthread_create(&t, NULL, sleeper, NULL);
  usleep(20000);
  pthread_kill(t, SIGUSR1);
  waitUntil(&got[SIGUSR1], 1);
  printf("usr1 %d, on the thread: %d\n", got[SIGUSR1], who[SIGUSR1] == t);
  if (pipe(ends) != 0) exit(3);
  pthread_create(&u, NULL, reader, NULL);
  usleep(50000);
  pthread_kill(u, SIGUSR1);
  pthread_join(u, NULL);
  printf("usr1 %d, on the thread: %d\n", got[SIGUSR1], who[SIGUSR1] == u);
  void* result = NULL;
  pthread_cancel(t);
  pthread_join(t, &result);
  printf("cancelled %d, mutex free %d\n", result == PTHREAD_CANCELED,
         pthread_mutex_trylock(&mutex) == 0);
  pthread_mutex_unlock(&mutex);
  printf("kill of no signal %d\n", pthread_kill(pthread_self(), 0));
}

static void toSigwait(void) {
  sigset_t set;
  pthread_t t;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  pthread_create(&t, NULL, waiter, &set);
  usleep(20000);
  kill(getpid(), SIGTERM);
  pthread_join(t, NULL);
  pthread_create(&t, NULL, waiter, &set);
  usleep(20000);
  pthread_kill(t, SIGTERM);
  pthread_join(t, NULL);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void fromTimer(void) {
  pthread_t t[2];
  struct itimerval every = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
  sem_init(&sem, 0, 0);
  install(SIGALRM, post, SA_RESTART);
  for (int i = 0; i < 2; i++) pthread_create(&t[i], NULL, taker, NULL);
  setitimer(ITIMER_REAL, &every, NULL);
  for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
  int failed = 0;
  for (int i = 0; i < 100; i++) {
    failed += sem_wait(&sem) != 0;
    free(malloc(100));
  }
  setitimer(ITIMER_REAL, &never, NULL);
  printf("timer done, %d waits ended early\n", failed);
}

static void toChildren(void) {
  pthread_t t;
  int status = 0;
  pid_t child = fork();
  if (child == 0) {
    pthread_create(&t, NULL, sleeper, NULL);
    pause();
    _exit(5);
  }
  // Until one comes when it does wait.
  do {
    usleep(50000);
    kill(child, SIGUSR1);
  } while (waitpid(child, &status, WNOHANG) == 0);
  printf("child exit %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
  child = fork();
  if (child == 0) {
    pthread_create(&t, NULL, sleeper, NULL);
    pthread_join(t, NULL);
    _exit(0);
  }
  usleep(50000);
  kill(child, SIGTERM);
  waitpid(child, &status, 0);
  printf("child signal %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : -1);
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  install(SIGUSR1, note, 0);
  install(SIGALRM, note, 0);
  pthread_t t;
  static char stack[65536];
  install(SIGSEGV, jump, SA_ONSTACK);
  pthread_create(&t, NULL, faults, stack);
  pthread_join(t, NULL);
  install(SIGSEGV, SIG_DFL, 0);
  alarm(1);
  struct timespec wanted = {30, 0}, left = {0, 0};
  int slept = nanosleep(&wanted, &left);
  int interrupted = slept == -1 && errno == EINTR;
  printf("nanosleep interrupted %d, %d left, on the main thread: %d\n", interrupted,
         left.tv_sec >= 20 && left.tv_sec < 30, who[SIGALRM] == pthread_self());
  toOneThread();
  toSigwait();
  fromTimer();
  toChildren();
  return 0;
}
