// fork while other threads allocate: `forks COUNT`. Each child allocates, frees, now and then
// starts a thread or forks again, and leaves by _exit or exit; the parent expects each to end well.
#include <pthread.h>
#include <sys/wait.h>

#include "check.h"

static volatile int stop;
enum { kShared = 256 };
static void* shared[kShared];

static void churn(uint64_t seed, int steps) {
  struct {
    char* p;
    size_t n;
  } own[100] = {0};
  for (int i = 0; i < steps; i++) {
    int k = (int)(nextRandom(&seed) % 100);
    if (own[k].p != NULL) CHECK(isFilled(own[k].p, own[k].n, (unsigned)k));
    // A third of the blocks goes through a place where another thread frees it.
    if (i % 3 == 0) {
      free(__atomic_exchange_n(&shared[nextRandom(&seed) % kShared], own[k].p, __ATOMIC_ACQ_REL));
    } else {
      free(own[k].p);
    }
    own[k].n = i % 500 == 0 ? 200000 : randomSize(&seed);
    own[k].p = malloc(own[k].n);
    CHECK(own[k].p != NULL);
    fill(own[k].p, own[k].n, (unsigned)k);
  }
  for (int k = 0; k < 100; k++) free(own[k].p);
}

static void* allocateUntilStopped(void* seed) {
  uint64_t state = (uint64_t)(uintptr_t)seed;
  while (!stop) churn(nextRandom(&state), 200);
  return NULL;
}
static void* shortThread(void* seed) {
  churn((uint64_t)(uintptr_t)seed, 200);
  return NULL;
}

static void child(int number) {
  alarm(20);
  churn(1000 + (uint64_t)number, 300);
  if (number % 10 == 0) {
    pthread_t t;
    CHECK(pthread_create(&t, NULL, shortThread, (void*)7) == 0);
    churn(5, 200);
    CHECK(pthread_join(t, NULL) == 0);
  }
  if (number % 25 == 0) {
    pid_t grandchild = fork();
    CHECK(grandchild >= 0);
    if (grandchild == 0) {
      churn(9, 300);
      _exit(4);
    }
    int status;
    CHECK(waitpid(grandchild, &status, 0) == grandchild && WEXITSTATUS(status) == 4);
  }
  if (number % 50 == 0) exit(3);
  _exit(3);
}

int main(int argc, char** argv) {
  int count = argc == 2 ? atoi(argv[1]) : 100;
  pthread_t t[4];
  for (long i = 0; i < 4; i++) pthread_create(&t[i], NULL, allocateUntilStopped, (void*)(i + 1));
  int good = 0;
  for (int i = 0; i < count; i++) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) child(i);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 3) {
      fprintf(stderr, "child %d ended with status %x\n", i, (unsigned)status);
    } else {
      good++;
    }
  }
  stop = 1;
  for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
  printf("%d children ended well\n", good);
  return good == count ? 0 : 1;
}
