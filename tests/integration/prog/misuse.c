// Bad calls of free and realloc, one per run: `misuse FAULT SIZE CALL`. Prints the address it is
// about to misuse, makes the call, and if it is still alive works on the heap and says so.
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>

#include "check.h"

enum { kMany = 40000 };
static char* many[kMany];
static int use_realloc;

static void bad(void* p) {
  printf("victim 0x%lx\n", (unsigned long)(uintptr_t)p);
  if (use_realloc) {
    CHECK(realloc(p, 100) == NULL);
  } else {
    free(p);
  }
}

static volatile int go;
static void* badOnThread(void* p) {
  while (!go) usleep(1000);
  bad(p);
  return NULL;
}

static int byAddress(const void* a, const void* b) {
  uintptr_t x = (uintptr_t)*(char* const*)a, y = (uintptr_t)*(char* const*)b;
  return x < y ? -1 : x > y;
}

// The unused end of a span: between two neighbours that are further apart than a slot, less than
// two.
static char* findTail(size_t size) {
  for (int i = 0; i < kMany; i++) many[i] = malloc(size);
  size_t slot = malloc_usable_size(many[0]);
  qsort(many, kMany, sizeof many[0], byAddress);
  for (int i = 1; i < kMany; i++) {
    size_t gap = (size_t)(many[i] - many[i - 1]);
    if (gap > slot && gap < 2 * slot) return many[i - 1] + slot;
  }
  return NULL;
}

static void workAfterwards(void) {
  uint64_t seed = 3;
  static char* p[5000];
  static size_t n[5000];
  for (int round = 0; round < 4; round++) {
    for (unsigned i = 0; i < 5000; i++) {
      n[i] = randomSize(&seed);
      p[i] = malloc(n[i]);
      CHECK(p[i] != NULL);
      fill(p[i], n[i], i);
    }
    for (unsigned i = 0; i < 5000; i++) CHECK(isFilled(p[i], n[i], i));
    for (unsigned i = 0; i < 5000; i++) free(p[i]);
  }
}

// A block that is freed, overwritten and freed again: nobody may get it twice.
static void freedWrittenFreed(size_t size) {
  char* p = malloc(size);
  free(p);
  memset(p, 1, size);
  bad(p);
  char* got[64];
  for (int i = 0; i < 64; i++) got[i] = malloc(size);
  qsort(got, 64, sizeof got[0], byAddress);
  for (int i = 1; i < 64; i++) {
    if (got[i] == got[i - 1]) puts("handed out twice");
  }
}

// In a heap too large for the caches of a processor: the second free is not seen at the call, and
// nobody may get the block twice, whether its span stays or goes back and is cut for other sizes.
static void freedTwiceInLargeHeap(size_t size, int span_goes) {
  for (int i = 0; i < kMany; i++) many[i] = malloc(size < 400 ? 400 : size);
  char* other[100];
  for (int i = 0; i < 100; i++) other[i] = malloc(size);
  char* p = other[50];
  printf("victim 0x%lx\n", (unsigned long)(uintptr_t)p);
  free(p);
  free(other[10]);
  free(p);
  if (!span_goes) {
    char* got[200];
    for (int i = 0; i < 200; i++) got[i] = malloc(size);
    qsort(got, 200, sizeof got[0], byAddress);
    for (int i = 1; i < 200; i++) {
      if (got[i] == got[i - 1]) puts("handed out twice");
    }
    return;
  }
  for (int i = 0; i < kMany; i++) free(many[i]);
  for (int i = 0; i < 100; i++) {
    if (i != 10 && i != 50) free(other[i]);
  }
}

// Bytes of freed blocks copied over live ones: the live ones stay live.
static void copiesOfFreed(size_t size) {
  for (int round = 0; round < 20; round++) {
    char *freed = malloc(size), *live[300];
    for (int i = 0; i < 300; i++) live[i] = malloc(size);
    free(freed);
    for (int i = 0; i < 300; i++) memcpy(live[i], freed, size);
    for (int i = 0; i < 300; i++) free(live[(i * 7) % 300]);
  }
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  setvbuf(stdout, NULL, _IONBF, 0);  // printf must not allocate where the victim was
  const char* fault = argv[1];
  size_t size = (size_t)atol(argv[2]);
  use_realloc = strcmp(argv[3], "realloc") == 0;
  char* p = malloc(size);
  size_t slot = malloc_usable_size(p);
  memset(p, 0x11, size);
  if (strcmp(fault, "twice") == 0) {
    free(p);
    bad(p);
  } else if (strcmp(fault, "twice-later") == 0) {
    for (int i = 0; i < 300; i++) many[i] = malloc(size);
    free(p);
    for (int i = 0; i < 300; i++) free(many[i]);
    for (int i = 0; i < 300; i++) free(malloc(size * 3));
    bad(p);
  } else if (strcmp(fault, "twice-thread") == 0) {
    pthread_t t;
    pthread_create(&t, NULL, badOnThread, p);  // first, because it allocates
    free(p);
    go = 1;
    pthread_join(t, NULL);
  } else if (strcmp(fault, "twice-trimmed") == 0) {
    free(p);
    malloc_trim(0);
    bad(p);
  } else if (strcmp(fault, "twice-returned") == 0) {
    for (int i = 0; i < kMany; i++) many[i] = malloc(size);
    for (int i = 0; i < kMany; i++) free(many[i]);
    malloc_trim(0);
    bad(many[kMany / 2]);
  } else if (strcmp(fault, "twice-written") == 0) {
    freedWrittenFreed(size);
  } else if (strcmp(fault, "twice-large") == 0) {
    freedTwiceInLargeHeap(size, 0);
  } else if (strcmp(fault, "twice-large-goes") == 0) {
    freedTwiceInLargeHeap(size, 1);
  } else if (strcmp(fault, "interior-half") == 0) {
    bad(p + size / 2);
  } else if (strncmp(fault, "interior+", 9) == 0) {
    bad(p + atol(fault + 9));
  } else if (strcmp(fault, "fresh-neighbour") == 0) {
    bad(p + slot * 3);
  } else if (strcmp(fault, "far") == 0) {
    bad((char*)(((uintptr_t)p & ~(uintptr_t)0xfffff) + ((uintptr_t)100 << 30)));
  } else if (strcmp(fault, "arena-end") == 0) {
    bad((char*)(((uintptr_t)p | (((uintptr_t)64 << 20) - 1)) - 0xffff));
  } else if (strcmp(fault, "tail") == 0) {
    char* tail = findTail(size);
    CHECK(tail != NULL);
    bad(tail);
  } else if (strcmp(fault, "write-after-free") == 0) {
    free(p);
    printf("victim 0x%lx\n", (unsigned long)(uintptr_t)p);
    p[atol(argv[3])] ^= 0x55;
    for (int i = 0; i < 2000; i++) many[i] = malloc(size);
  } else if (strcmp(fault, "overflow") == 0) {
    p[size] ^= 0x55;
    bad(p);
  } else if (strcmp(fault, "copies") == 0) {
    copiesOfFreed(size);
  } else {
    return 2;
  }
  workAfterwards();
  puts("survived");
  return 0;
}
