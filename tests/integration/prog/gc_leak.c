/* Leaks known numbers of blocks in known functions and says where these are: direct ones, chains,
   cycles, blocks between live ones, large ones, some in threads, some in the child of a fork. With
   an argument it stays until its stdin ends. */
#include <pthread.h>
#include <sys/wait.h>

#include "check.h"

struct Node {
  struct Node *next, *other;
  char rest[40];
};
static struct Node* kept;
static void* sink;

#define LEAKS(name) __attribute__((noinline, section("at_" #name))) static void leak_##name(void)

LEAKS(direct) {
  for (int i = 0; i < 2000; i++) sink = memset(malloc(64), 1, 64);
  sink = NULL;
}
LEAKS(chain) {
  for (int i = 0; i < 100; i++) {
    struct Node* head = NULL;
    for (int j = 0; j < 10; j++) {
      struct Node* n = calloc(1, sizeof *n);
      n->next = head;
      sink = head = n;
    }
  }
  sink = NULL;
}
LEAKS(cycle) {
  for (int i = 0; i < 500; i++) {
    struct Node *a = malloc(sizeof *a), *b = NULL;
    a->next = a->other = NULL;
    sink = a;
    b = realloc(NULL, sizeof *b);
    a->next = b;
    b->next = a;
    b->other = NULL;
  }
  sink = NULL;
}
LEAKS(between) {
  for (int i = 0; i < 1000; i++) {
    struct Node* n = calloc(1, sizeof *n);
    n->next = kept;
    kept = n;
    sink = memset(malloc(sizeof(struct Node)), 1, sizeof(struct Node));
  }
  sink = NULL;
}
LEAKS(large) {
  for (int i = 0; i < 50; i++) sink = memset(malloc(200000), 1, 64);
  sink = NULL;
}
LEAKS(thread) {
  for (int i = 0; i < 300; i++)
    free(memset(malloc(100), 1, 100)), sink = memset(malloc(100), 1, 100);
  sink = NULL;
}

static void* run(void* arg) {
  leak_thread();
  return arg;
}

__attribute__((noinline)) static void wipe(void) {
  volatile char junk[32768];
  memset((void*)junk, 0, sizeof junk);
}

#define SAY(name)                                                                   \
  do {                                                                              \
    extern char __start_at_##name[], __stop_at_##name[];                            \
    printf("%s %p %p\n", #name, (void*)__start_at_##name, (void*)__stop_at_##name); \
  } while (0)

int main(int argc, char** argv) {
  (void)argv;
  SAY(direct);
  SAY(chain);
  SAY(cycle);
  SAY(between);
  SAY(large);
  SAY(thread);
  leak_direct();
  leak_chain();
  leak_cycle();
  leak_between();
  leak_large();
  pthread_t t[4];
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, run, NULL) == 0);
  for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
  wipe();
  puts("ready");
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    leak_direct();
    wipe();
    exit(0);
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  while (argc > 1 && getchar() != EOF) {
  }
  return 0;
}
