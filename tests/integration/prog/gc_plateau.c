/* Leaks MEGABYTES in one of several ways, beside a live set of which it checks every byte at its
   end. Prints the peak of its resident set in KiB. Arguments: MEGABYTES KIND, which is loop,
   cycles, trees, large or threads. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "check.h"

enum { kLive = 2000, kLiveSize = 1000, kThreads = 8 };

static size_t to_leak;

static unsigned next(unsigned* state) {
  *state = *state * 1103515245u + 12345u;
  return *state >> 16;
}

static size_t loop(unsigned* state) {
  size_t size = 16 + next(state) % 2000;
  memset(malloc(size), 1, size);
  return size;
}

struct node {
  struct node *a, *b;
  char rest[48];
};

static size_t cycles(unsigned* state) {
  (void)state;
  struct node* first = calloc(1, sizeof *first);
  struct node* last = first;
  for (int i = 0; i < 99; i++) {
    struct node* n = calloc(1, sizeof *n);
    n->a = last;
    last->b = n;
    last = n;
  }
  last->b = first;
  first->a = last;
  return 100 * sizeof *first;
}

static struct node* tree(int depth) {
  struct node* n = calloc(1, sizeof *n);
  if (depth != 0) {
    n->a = tree(depth - 1);
    n->b = tree(depth - 1);
  }
  return n;
}

static size_t trees(unsigned* state) {
  (void)state;
  tree(9);
  return 1023 * sizeof(struct node);
}

static char* volatile last_large;

static size_t large(unsigned* state) {
  size_t size = 100000 + next(state) * 4;
  last_large = malloc(size);
  memset(last_large, 2, size);
  return size;
}

static void leak(size_t (*kind)(unsigned*), size_t bytes, unsigned seed) {
  while (bytes != 0) {
    size_t n = kind(&seed);
    bytes -= n < bytes ? n : bytes;
  }
}

static void* in_thread(void* seed) {
  leak(loop, to_leak / kThreads, (unsigned)(uintptr_t)seed);
  return NULL;
}

int main(int argc, char** argv) {
  CHECK(argc == 3);
  to_leak = (size_t)atoi(argv[1]) << 20;
  char** live = malloc(kLive * sizeof *live);
  for (int i = 0; i < kLive; i++) memset(live[i] = malloc(kLiveSize), i, kLiveSize);
  if (strcmp(argv[2], "threads") == 0) {
    pthread_t t[kThreads];
    for (int i = 0; i < kThreads; i++) {
      CHECK(pthread_create(&t[i], NULL, in_thread, (void*)(uintptr_t)(i + 1)) == 0);
    }
    for (int i = 0; i < kThreads; i++) CHECK(pthread_join(t[i], NULL) == 0);
  } else {
    size_t (*kind)(unsigned*) = strcmp(argv[2], "loop") == 0     ? loop
                                : strcmp(argv[2], "cycles") == 0 ? cycles
                                : strcmp(argv[2], "trees") == 0  ? trees
                                : strcmp(argv[2], "large") == 0  ? large
                                                                 : NULL;
    CHECK(kind != NULL);
    leak(kind, to_leak, 1);
  }
  for (int i = 0; i < kLive; i++) {
    for (int j = 0; j < kLiveSize; j++) CHECK(live[i][j] == (char)i);
    free(live[i]);
  }
  struct rusage use;
  getrusage(RUSAGE_SELF, &use);
  printf("%ld\n", use.ru_maxrss);
  return 0;
}
