// Allocates until there is no more memory, on several threads, and expects a null pointer with
// ENOMEM, intact contents, and a heap that works again once something is freed. exhaust [-l MiB]
// limit the address space from inside first; [-m] use up the memory mappings first;
// [-t N] threads; [-c MiB] stop when that much is held, without having met the end.
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "check.h"

enum { kSlots = 1 << 17 };
typedef struct Block {
  struct Block* next;
  size_t size;
} Block;

static long cap_mib = 1 << 20, held;
static int met_the_end;
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;  // held until every thread has its stack

static size_t pick(uint64_t* seed, int step) {
  if (step % 16 == 0) return 100000 + nextRandom(seed) % 3000000;
  return sizeof(Block) + (step % 4 == 0 ? nextRandom(seed) % 32768 : nextRandom(seed) % 1024);
}

static int intact(const Block* b) {
  return isFilled(b + 1, b->size - sizeof *b, (unsigned)b->size);
}

static void* eat(void* argument) {
  uint64_t seed = 99 + (uint64_t)(uintptr_t)argument;
  pthread_mutex_lock(&gate);
  pthread_mutex_unlock(&gate);
  for (int round = 0; round < 2; round++) {
    Block* list = NULL;
    size_t total = 0;
    for (int step = 0; total >> 20 < (size_t)cap_mib; step++) {
      size_t n = pick(&seed, step);
      errno = 0;
      Block* b = step % 5 == 0 ? calloc(1, n) : step % 7 == 0 ? memalign(64, n) : malloc(n);
      if (b == NULL) {
        CHECK(errno == ENOMEM);
        __atomic_store_n(&met_the_end, 1, __ATOMIC_RELAXED);
        if (n < 2000) break;  // not even a small one
        continue;
      }
      b->next = list;
      b->size = n;
      fill(b + 1, n - sizeof *b, (unsigned)n);
      list = b;
      total += n;
    }
    pthread_mutex_lock(&mu);
    held += (long)(total >> 10);
    pthread_mutex_unlock(&mu);
    // A block that cannot grow stays as it is; one that can keeps its bytes.
    for (Block* b = list; b != NULL; b = b->next) CHECK(intact(b));
    int count = 0;
    for (Block** at = &list; *at != NULL;) {
      Block* b = *at;
      if (count++ % 2 == 0) {
        *at = b->next;
        free(b);
      } else {
        Block* grown = count % 64 == 1 ? realloc(b, b->size * 2) : NULL;
        if (grown != NULL) *at = b = grown;
        at = &b->next;
      }
    }
    for (int i = 0; i < 1000; i++) {  // half is free again
      void* p = malloc(200);
      if (cap_mib == 1 << 20 && argument == NULL) CHECK(p != NULL);
      free(p);
    }
    while (list != NULL) {
      Block* next = list->next;
      CHECK(intact(list));
      free(list);
      list = next;
    }
  }
  return NULL;
}

static void* one(void* size) { return malloc((size_t)(uintptr_t)size); }

static void useUpMappings(void) {
  size_t page = 4096, many = 140000;
  char* p = mmap(NULL, many * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(p != MAP_FAILED);
  size_t i = 0;
  while (i < many && mprotect(p + i * page, page, PROT_READ) == 0) i += 2;
  CHECK(i < many && errno == ENOMEM);
  // A split in the middle takes two mappings; use up what is left of one.
  for (i = 0; i < 10; i++) {
    if (mmap(NULL, page, PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) return;
  }
  CHECK(!"there is an end of mappings");
}

int main(int argc, char** argv) {
  int threads = 0, option;
  long limit = 0;
  void* warm[1000];
  for (int i = 0; i < 1000; i++) warm[i] = malloc(1000);  // the heap exists before it gets tight
  for (int i = 0; i < 1000; i++) free(warm[i]);
  while ((option = getopt(argc, argv, "l:mt:c:")) != -1) {
    if (option == 'l') limit = atol(optarg);
    if (option == 'm') useUpMappings();
    if (option == 't') threads = atoi(optarg);
    if (option == 'c') cap_mib = atol(optarg);
  }
  if (limit != 0) {
    struct rlimit r = {(rlim_t)limit << 20, RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_AS, &r) == 0);
  }
  pthread_t t[16];
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, 256 << 10);
  int started = 0;
  pthread_mutex_lock(&gate);
  for (; started < threads; started++) {
    if (pthread_create(&t[started], &attr, eat, (void*)(intptr_t)(started + 1)) != 0) break;
  }
  pthread_mutex_unlock(&gate);
  printf("threads %s\n", started == threads ? "started" : "did not start");
  if (threads == 0) eat(NULL);
  for (int i = 0; i < started; i++) pthread_join(t[i], NULL);
  // Everything is free again: a tenth of what fitted fits. (Whether there is room for the stack of
  // a thread is another question, which glibc itself answers with no at 64 MiB.)
  long again = held / 2 / 10 << 10;
  for (int i = 0; i < 8; i++) {
    if (pthread_create(&t[i], &attr, one, (void*)100) == 0) pthread_join(t[i], NULL);
  }
  char** p = calloc(1001, sizeof *p);
  CHECK(p != NULL);
  for (int i = 0; i < 1000; i++) CHECK((p[i] = malloc((size_t)again / 1000 + 1)) != NULL);
  for (int i = 0; i < 1000; i++) free(p[i]);
  free(p);
  printf("end %s\n", met_the_end ? "met" : "not met");
  fprintf(stderr, "figure held_kib %ld\n", held / 2);
  return 0;
}
