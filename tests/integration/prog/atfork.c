// Fork handlers that allocate and free in all three phases: registered by a library's constructor,
// before graft's own, and by main, after them; four threads allocate meanwhile. -DEARLY: the
// library.
#include <pthread.h>
#include <sys/wait.h>

#include "check.h"

#ifdef EARLY
#define HANDLER(name) early##name
#else
#define HANDLER(name) late##name
#endif

static void* kept[64];
static int calls;

static void work(void) {
  for (int i = 0; i < 64; i++) {
    free(kept[i]);
    kept[i] = malloc((size_t)(16 + i * 300));
    CHECK(kept[i] != NULL);
  }
  free(malloc(300000));
  __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
}
static void HANDLER(Prepare)(void) { work(); }
static void HANDLER(Parent)(void) { work(); }
static void HANDLER(Child)(void) { work(); }
static void registerAll(void) {
  CHECK(pthread_atfork(HANDLER(Prepare), HANDLER(Parent), HANDLER(Child)) == 0);
}

#ifdef EARLY
int earlyCalls(void) { return calls; }
__attribute__((constructor)) static void start(void) { registerAll(); }
#else
int earlyCalls(void);
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

int main(int argc, char** argv) {
  int threads = argc == 2 ? atoi(argv[1]) : 0;
  registerAll();
  pthread_t t[16];
  for (int i = 0; i < threads; i++) pthread_create(&t[i], NULL, allocate, (void*)(intptr_t)(i + 1));
  for (int i = 0; i < 40; i++) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      alarm(20);
      work();
      CHECK(calls == 2 * i + 3 && earlyCalls() == 2 * i + 2);
      _exit(3);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 3);
  }
  stop = 1;
  for (int i = 0; i < threads; i++) pthread_join(t[i], NULL);
  printf("%d %d calls\n", calls, earlyCalls());
  return 0;
}
#endif
