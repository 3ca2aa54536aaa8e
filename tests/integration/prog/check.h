// What the integration programs share: CHECK, which says where it failed and leaves with 1, a small
// random generator with a fixed seed, fill patterns, and the figures that a case reads back.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                       \
  do {                                                                         \
    if (!(condition)) {                                                        \
      dprintf(2, "%s:%d: CHECK(%s) failed\n", __FILE__, __LINE__, #condition); \
      _exit(1);                                                                \
    }                                                                          \
  } while (0)

static inline uint64_t nextRandom(uint64_t* state) {
  uint64_t x = *state;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return *state = x;
}

// Mostly small, sometimes up to 64 KiB.
static inline size_t randomSize(uint64_t* state) {
  uint64_t r = nextRandom(state);
  if (r % 64 == 0) return 1 + (r >> 8) % 65536;
  if (r % 8 == 0) return 1 + (r >> 8) % 4096;
  return 1 + (r >> 8) % 256;
}

static inline void fill(void* p, size_t n, unsigned tag) {
  memset(p, (int)(tag * 37 + 11) & 0xff, n);
}
static inline int isFilled(const void* p, size_t n, unsigned tag) {
  const unsigned char* c = (const unsigned char*)p;
  for (size_t i = 0; i < n; i++) {
    if (c[i] != (unsigned char)(tag * 37 + 11)) return 0;
  }
  return 1;
}

// KiB of resident memory now, as the kernel counts it.
static inline long residentKib(void) {
  long pages = 0, total = 0;
  FILE* f = fopen("/proc/self/statm", "r");
  if (f == NULL || fscanf(f, "%ld %ld", &total, &pages) != 2) _exit(3);
  fclose(f);
  return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static inline void figure(const char* name, long value) { printf("figure %s %ld\n", name, value); }
