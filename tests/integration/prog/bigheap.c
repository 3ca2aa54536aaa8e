// Holds about 50 MiB of small and large blocks, then stops where a debugger can look: aborts with a
// core
// (`bigheap abort`), waits to be looked at (`wait`), or just works for a while (`work SECONDS`).
#include <time.h>

#include "check.h"

enum { kBlocks = 100000 };
static char* blocks[kBlocks];

__attribute__((noinline)) static void innermost(const char* how) {
  printf("resident %ld\n", residentKib());
  fflush(stdout);
  if (strcmp(how, "abort") == 0) abort();
  if (strcmp(how, "wait") == 0) pause();
}

__attribute__((noinline)) static void fillHeap(const char* how) {
  for (int i = 0; i < kBlocks; i++) {
    size_t n = i % 1000 == 0 ? 100000 : 400;
    blocks[i] = malloc(n);
    CHECK(blocks[i] != NULL);
    memset(blocks[i], i, n);
  }
  innermost(how);
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  fillHeap(argv[1]);
  time_t end = time(NULL) + (argc > 2 ? atol(argv[2]) : 0);
  for (long i = 0; argc > 2 && time(NULL) < end; i++) {
    free(blocks[i % kBlocks]);
    blocks[i % kBlocks] = malloc((size_t)(100 + i % 700));
  }
  puts("done");
  return 0;
}
