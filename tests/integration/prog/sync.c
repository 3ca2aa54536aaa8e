/* Every exported synchronisation function once or more, with kernel threads: results, error
   numbers, cancellation of waits. Prints what happened; the output must be the one of a native run.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SHOW(call) printf("%s = %d\n", #call, call)

static struct timespec soon(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  t.tv_nsec += 2000000;
  if (t.tv_nsec >= 1000000000) {
    t.tv_nsec -= 1000000000;
    t.tv_sec++;
  }
  return t;
}

static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static once_flag flag = ONCE_FLAG_INIT;
static pthread_spinlock_t spin;
static sem_t sem;
static mtx_t mtx;
static cnd_t cnd;
static int turn, ran, total, cleaned;

static void run(void) { ran++; }
static void unlock(void* arg) { cleaned += 1 + pthread_mutex_unlock(arg); }

static void* play(void* arg) {
  int me = arg != NULL;
  for (int i = 0; i < 2000; i++) {
    pthread_mutex_lock(&m);
    while (turn != me) pthread_cond_wait(&c, &m);
    turn = !me;
    pthread_cond_signal(&c);
    pthread_mutex_unlock(&m);
    pthread_rwlock_rdlock(&rw);
    pthread_rwlock_unlock(&rw);
    pthread_rwlock_wrlock(&rw);
    pthread_spin_lock(&spin);
    total++;
    pthread_spin_unlock(&spin);
    pthread_rwlock_unlock(&rw);
    pthread_once(&once, run);
    call_once(&flag, run);
    pthread_barrier_wait(&barrier);
  }
  for (int i = 0; i < 1000; i++) {
    if (me) {
      sem_wait(&sem);
      mtx_lock(&mtx);
      turn++;
      cnd_broadcast(&cnd);
      mtx_unlock(&mtx);
    } else {
      sem_post(&sem);
      mtx_lock(&mtx);
      while (turn <= i) cnd_wait(&cnd, &mtx);
      mtx_unlock(&mtx);
    }
  }
  return NULL;
}

static void* wait_cond(void* arg) {
  (void)arg;
  pthread_mutex_lock(&m);
  pthread_cleanup_push(unlock, &m);
  for (;;) pthread_cond_wait(&c, &m);
  pthread_cleanup_pop(0);
  return NULL;
}
static void* wait_sem(void* arg) {
  (void)arg;
  for (;;) sem_wait(&sem);
  return NULL;
}

static void cancelled(void* (*body)(void*)) {
  pthread_t t;
  void* result;
  pthread_create(&t, NULL, body, NULL);
  usleep(20000);
  pthread_cancel(t);
  pthread_join(t, &result);
  printf("cancelled %d, cleaned up %d\n", result == PTHREAD_CANCELED, cleaned);
}

static void kinds(void) {
  int types[] = {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK,
                 PTHREAD_MUTEX_ADAPTIVE_NP};
  for (int i = 0; i < 16; i++) {
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_settype(&a, types[i % 4]);
    if (i / 4 == 1) pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
    if (i / 4 == 2) pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    if (i / 4 == 3) pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
    pthread_mutex_t k;
    pthread_mutex_init(&k, &a);
    SHOW(pthread_mutex_lock(&k));
    SHOW(pthread_mutex_trylock(&k));
    struct timespec at = soon(CLOCK_MONOTONIC);
    if (i < 12) SHOW(pthread_mutex_clocklock(&k, CLOCK_MONOTONIC, &at));
    at = soon(CLOCK_REALTIME);
    SHOW(pthread_mutex_timedlock(&k, &at));
    at.tv_nsec = -1;
    SHOW(pthread_mutex_timedlock(&k, &at));
    printf("owner %d, kind %x\n", k.__data.__owner == gettid(), (unsigned)k.__data.__kind);
    SHOW(pthread_mutex_destroy(&k));
    for (int u = 0; u < 6; u++) {
      if (k.__data.__owner != 0) SHOW(pthread_mutex_unlock(&k));
    }
    if (i % 4 == 1 || i % 4 == 2) SHOW(pthread_mutex_unlock(&k));
    SHOW(pthread_mutex_destroy(&k));
  }
}

int main(void) {
  kinds();
  pthread_barrier_init(&barrier, NULL, 2);
  pthread_spin_init(&spin, 0);
  sem_init(&sem, 0, 0);
  mtx_init(&mtx, mtx_timed);
  cnd_init(&cnd);
  pthread_t t;
  pthread_create(&t, NULL, play, &m);
  play(NULL);
  pthread_join(t, NULL);
  printf("total %d, ran %d, turn %d\n", total, ran, turn);
  SHOW(pthread_barrier_destroy(&barrier));

  struct timespec at = soon(CLOCK_REALTIME);
  pthread_mutex_lock(&m);
  SHOW(pthread_cond_timedwait(&c, &m, &at));
  at = soon(CLOCK_MONOTONIC);
  SHOW(pthread_cond_clockwait(&c, &m, CLOCK_MONOTONIC, &at));
  SHOW(pthread_cond_clockwait(&c, &m, CLOCK_PROCESS_CPUTIME_ID, &at));
  pthread_mutex_unlock(&m);
  mtx_lock(&mtx);
  at = soon(CLOCK_REALTIME);
  SHOW(cnd_timedwait(&cnd, &mtx, &at));
  SHOW(mtx_timedlock(&mtx, &at));
  SHOW(mtx_trylock(&mtx));
  mtx_unlock(&mtx);

  pthread_rwlock_wrlock(&rw);
  SHOW(pthread_rwlock_rdlock(&rw));
  SHOW(pthread_rwlock_wrlock(&rw));
  SHOW(pthread_rwlock_tryrdlock(&rw));
  SHOW(pthread_rwlock_trywrlock(&rw));
  pthread_rwlock_unlock(&rw);
  pthread_rwlock_rdlock(&rw);
  at = soon(CLOCK_REALTIME);
  SHOW(pthread_rwlock_timedrdlock(&rw, &at));
  SHOW(pthread_rwlock_timedwrlock(&rw, &at));
  SHOW(pthread_rwlock_clockwrlock(&rw, CLOCK_PROCESS_CPUTIME_ID, &at));
  at.tv_nsec = 1000000000;
  SHOW(pthread_rwlock_timedrdlock(&rw, &at));

  errno = 0;
  SHOW(sem_trywait(&sem));
  at = soon(CLOCK_REALTIME);
  printf("%s\n", strerror(errno));
  SHOW(sem_timedwait(&sem, &at));
  printf("%s\n", strerror(errno));
  SHOW(sem_clockwait(&sem, CLOCK_MONOTONIC, &(struct timespec){0, -1}));
  printf("%s\n", strerror(errno));
  cancelled(wait_cond);
  cancelled(wait_sem);
  SHOW(pthread_cond_destroy(&c));
  cnd_destroy(&cnd);
  mtx_destroy(&mtx);
  return 0;
}
