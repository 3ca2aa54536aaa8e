// Fills memory with small blocks until there is no more, and expects that no size up to 8 KiB can
// be had then: what other sizes left free serves small requests too, as in a heap without size
// classes. The limit is set from inside, as glibc's tst-dynarray-fail does.
#include <errno.h>
#include <sys/resource.h>

#include "check.h"

typedef struct Block {
  struct Block* next;
} Block;

static Block* fillHeap(void) {
  Block* list = NULL;
  for (size_t pad = 4096;; pad = 0) {
    Block* b;
    while ((b = malloc(sizeof *b + pad)) != NULL) {
      b->next = list;
      list = b;
    }
    CHECK(errno == ENOMEM);
    if (pad == 0) return list;
  }
}

int main(void) {
  char* keep[80];
  for (int i = 0; i < 80; i++) {  // one live block in a span of each of many classes
    keep[i] = malloc((size_t)i * 100 + 1);
    fill(keep[i], (size_t)i * 100 + 1, (unsigned)i);
  }
  struct rlimit r = {96u << 20, RLIM_INFINITY};
  CHECK(setrlimit(RLIMIT_AS, &r) == 0);
  for (int round = 0; round < 3; round++) {
    Block* list = fillHeap();
    for (size_t n = 1; n < 8000; n += 7) CHECK(malloc(n) == NULL && errno == ENOMEM);
    for (int i = 0; i < 80; i++) CHECK(isFilled(keep[i], (size_t)i * 100 + 1, (unsigned)i));
    while (list != NULL) {
      Block* next = list->next;
      free(list);
      list = next;
    }
    void* p = malloc(8000);
    CHECK(p != NULL);
    free(p);
  }
  printf("no more means no more\n");
  return 0;
}
