// What glibc promises for the malloc family, checked one subject per run: sizes, alignment, errno,
// overflow, zeroing, usable size. Every check holds on glibc 2.36 too: the case runs both.
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>

#include "check.h"

static const size_t kSizes[] = {0,     1,      7,      8,      15,      16,     17,    24,    31,
                                32,    33,     48,     100,    127,     128,    129,   250,   1000,
                                1024,  1025,   4095,   4096,   4097,    10000,  32767, 32768, 32769,
                                65536, 100000, 131072, 200000, 1048576, 5000000};
enum { kNumSizes = sizeof kSizes / sizeof kSizes[0] };

static void zeroSizes(void) {
  enum { kCount = 200 };
  void* p[kCount];
  for (int i = 0; i < kCount; i++) {
    p[i] = i % 4 == 0   ? malloc(0)
           : i % 4 == 1 ? calloc(0, 8)
           : i % 4 == 2 ? calloc(8, 0)
                        : realloc(NULL, 0);
    CHECK(p[i] != NULL);
    for (int j = 0; j < i; j++) CHECK(p[i] != p[j]);
  }
  for (int i = 0; i < kCount; i++) free(p[i]);
  free(NULL);
}

static void reallocZero(void) {
  errno = 0;
  for (int i = 0; i < kNumSizes; i++) {
    void* p = malloc(kSizes[i]);
    CHECK(p != NULL);
    CHECK(realloc(p, 0) == NULL);
  }
  CHECK(errno == 0);
  // It must have freed: 4 GiB would not fit.
  for (int i = 0; i < 40000; i++) {
    char* p = malloc(100000);
    CHECK(p != NULL);
    memset(p, 1, 100000);
    CHECK(realloc(p, 0) == NULL);
    p = malloc(1000);
    CHECK(reallocarray(p, 0, 10) == NULL);
  }
  CHECK(residentKib() < 200 * 1024);
}

static void tooLarge(void) {
  static const size_t kHuge[] = {PTRDIFF_MAX,         (size_t)PTRDIFF_MAX + 1,
                                 SIZE_MAX / 2 + 4097, SIZE_MAX - 100000,
                                 SIZE_MAX - 4096,     SIZE_MAX - 64,
                                 SIZE_MAX - 16,       SIZE_MAX - 8,
                                 SIZE_MAX - 1,        SIZE_MAX,
                                 PTRDIFF_MAX - 4096};
#define FAILS(expression)        \
  do {                           \
    errno = 0;                   \
    CHECK((expression) == NULL); \
    CHECK(errno == ENOMEM);      \
  } while (0)
  for (size_t i = 0; i < sizeof kHuge / sizeof kHuge[0]; i++) {
    size_t n = kHuge[i];
    FAILS(malloc(n));
    FAILS(calloc(1, n));
    FAILS(calloc(n, 1));
    FAILS(realloc(NULL, n));
    FAILS(reallocarray(NULL, n, 1));
    FAILS(memalign(64, n));
    FAILS(memalign(1 << 20, n));
    FAILS(aligned_alloc(4096, n));
    FAILS(valloc(n));
    FAILS(pvalloc(n));
    void* untouched = &errno;
    CHECK(posix_memalign(&untouched, 64, n) == ENOMEM);
    CHECK(untouched == &errno);
    for (size_t have = 10; have <= 1000000; have *= 10) {
      char* p = malloc(have);
      fill(p, have, 5);
      FAILS(realloc(p, n));
      FAILS(reallocarray(p, n / 2 + 1, 2));
      CHECK(isFilled(p, have, 5));
      free(p);
    }
  }
  FAILS(memalign(SIZE_MAX / 4, SIZE_MAX / 4));
}

static void overflow(void) {
  static const size_t kPairs[][2] = {
      {SIZE_MAX / 2, 3},       {SIZE_MAX, SIZE_MAX}, {(size_t)1 << 32, (size_t)1 << 32},
      {SIZE_MAX / 16 + 1, 16}, {3, SIZE_MAX / 2},    {(size_t)1 << 63, 2}};
  for (size_t i = 0; i < sizeof kPairs / sizeof kPairs[0]; i++) {
    FAILS(calloc(kPairs[i][0], kPairs[i][1]));
    FAILS(reallocarray(NULL, kPairs[i][0], kPairs[i][1]));
    char* p = malloc(100);
    fill(p, 100, 9);
    FAILS(reallocarray(p, kPairs[i][0], kPairs[i][1]));
    CHECK(isFilled(p, 100, 9));
    free(p);
  }
  char* p = reallocarray(NULL, 10, 100);
  CHECK(p != NULL && malloc_usable_size(p) >= 1000);
  fill(p, 1000, 3);
  p = reallocarray(p, 100, 1000);
  CHECK(p != NULL && malloc_usable_size(p) >= 100000 && isFilled(p, 1000, 3));
  free(p);
}

static void useAll(void* p, size_t size, size_t align) {
  CHECK(p != NULL);
  CHECK((uintptr_t)p % align == 0);
  CHECK(malloc_usable_size(p) >= size);
  memset(p, 0x5a, malloc_usable_size(p));
}

static void alignment(void) {
  for (size_t align = 1; align <= (size_t)1 << 22; align *= 2) {
    void* live[3 * kNumSizes];
    int n = 0;
    for (int i = 0; i < kNumSizes; i++) {
      useAll(live[n++] = memalign(align, kSizes[i]), kSizes[i], align < 16 ? 16 : align);
      useAll(live[n++] = aligned_alloc(align, kSizes[i]), kSizes[i], align);
      live[n] = NULL;
      if (align >= sizeof(void*)) {
        CHECK(posix_memalign(&live[n], align, kSizes[i]) == 0);
        useAll(live[n], kSizes[i], align);
      }
      n++;
    }
    for (int i = 0; i < n; i++) free(live[i]);
  }
}

static void badAlignment(void) {
  static const size_t kBad[] = {0, 1, 2, 3, 4, 7, 9, 12, 20, 24, 100, 4097, SIZE_MAX, SIZE_MAX - 7};
  for (size_t i = 0; i < sizeof kBad / sizeof kBad[0]; i++) {
    void* p = (void*)8;
    errno = 77;
    CHECK(posix_memalign(&p, kBad[i], 100) == EINVAL);
    CHECK(p == (void*)8 && errno == 77);
  }
  // memalign and glibc 2.36's aligned_alloc round the alignment up to a power of two.
  static const size_t kRound[][2] = {{0, 16},  {3, 16},    {17, 32},
                                     {24, 32}, {100, 128}, {4097, 8192}};
  for (size_t i = 0; i < sizeof kRound / sizeof kRound[0]; i++) {
    for (int n = 0; n < 20; n++) {
      void* p = memalign(kRound[i][0], 10 + (size_t)n * 50);
      useAll(p, 10 + (size_t)n * 50, kRound[i][1]);
      if (n % 2 == 0) free(p);
      p = aligned_alloc(kRound[i][0], 77);
      useAll(p, 77, kRound[i][1]);
      if (n % 2 == 0) free(p);
    }
  }
  errno = 0;
  CHECK(memalign(SIZE_MAX / 2 + 2, 1) == NULL && errno == EINVAL);
  errno = 0;
  CHECK(memalign(SIZE_MAX, 8) == NULL && errno == EINVAL);
  errno = 0;
  CHECK(memalign(SIZE_MAX / 2 + 1, 8) == NULL && errno == ENOMEM);
}

static void pages(void) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  for (int i = 0; i < kNumSizes; i++) {
    void* a = valloc(kSizes[i]);
    void* b = pvalloc(kSizes[i]);
    useAll(a, kSizes[i], page);
    useAll(b, (kSizes[i] + page - 1) / page * page, page);
    free(a);
    free(b);
  }
}

static void usable(void) {
  enum { kCount = 3000 };
  static char* p[kCount];
  static size_t n[kCount], u[kCount];
  uint64_t seed = 42;
  CHECK(malloc_usable_size(NULL) == 0);
  for (int i = 0; i < kCount; i++) {
    n[i] = i < 2000 ? (size_t)i : nextRandom(&seed) % 300000;
    p[i] = i % 3 == 0 ? calloc(1, n[i]) : malloc(n[i]);
    u[i] = malloc_usable_size(p[i]);
    CHECK(p[i] != NULL && u[i] >= n[i]);
    fill(p[i], u[i], (unsigned)i);  // all of it is ours
  }
  for (int i = 0; i < kCount; i++) {
    CHECK(malloc_usable_size(p[i]) == u[i]);
    CHECK(isFilled(p[i], u[i], (unsigned)i));
  }
  for (int i = 0; i < kCount; i += 2) free(p[i]);
  for (int i = 1; i < kCount; i += 2) {
    CHECK(malloc_usable_size(p[i]) == u[i]);
    CHECK(isFilled(p[i], u[i], (unsigned)i));
    free(p[i]);
  }
}

static void zeroing(void) {
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < kNumSizes; i++) {
      size_t n = kSizes[i] + (size_t)round;
      void* dirty[6];
      for (int k = 0; k < 6; k++) {
        dirty[k] = malloc(n);
        memset(dirty[k], 0xa5, malloc_usable_size(dirty[k]));
      }
      for (int k = 0; k < 6; k++) free(dirty[k]);
      for (int k = 0; k < 6; k++) {
        unsigned char* p = k % 2 ? calloc(1, n) : calloc(n, 1);
        CHECK(p != NULL);
        for (size_t b = 0; b < n; b++) CHECK(p[b] == 0);
        memset(p, 0xa5, n);
        dirty[k] = p;
      }
      for (int k = 0; k < 6; k++) free(dirty[k]);
    }
    if (round == 1) malloc_trim(0);
  }
}

static void freeErrno(void) {
  for (int i = 0; i < kNumSizes; i++) {
    void* a = malloc(kSizes[i]);
    void* b = memalign(4096, kSizes[i]);
    errno = 12345;
    free(a);
    CHECK(errno == 12345);
    free(b);
    CHECK(errno == 12345);
    free(NULL);
    CHECK(errno == 12345);
  }
  void* big = malloc((size_t)200 << 20);
  if (big != NULL) memset(big, 1, 1 << 20);
  errno = 12345;
  free(big);
  CHECK(errno == 12345);
}

static void reallocating(void) {
  uint64_t seed = 7;
  for (int round = 0; round < 40; round++) {
    size_t n = 1;
    char* p = round % 4 == 3 ? memalign(256, 1) : malloc(1);
    fill(p, 1, (unsigned)round);
    for (int step = 0; step < 60; step++) {
      size_t to = step % 3 == 2 ? 1 + n / 3 : 1 + nextRandom(&seed) % (n * 3 + 100);
      if (to > 8000000) to = 1000;
      char* q = realloc(p, to);
      CHECK(q != NULL && (uintptr_t)q % 16 == 0 && malloc_usable_size(q) >= to);
      CHECK(isFilled(q, n < to ? n : to, (unsigned)round));
      fill(q, to, (unsigned)round);
      p = q;
      n = to;
    }
    free(p);
  }
  // A shrink gives memory back in the end: 200 blocks of 1 MiB shrunk to 16 bytes.
  void* kept[200];
  for (int i = 0; i < 200; i++) {
    kept[i] = malloc(1 << 20);
    memset(kept[i], 1, 1 << 20);
    kept[i] = realloc(kept[i], 16);
  }
  malloc_trim(0);
  CHECK(residentKib() < 100 * 1024);
  for (int i = 0; i < 200; i++) free(kept[i]);
}

int main(int argc, char** argv) {
  static const struct {
    const char* name;
    void (*run)(void);
  } kSubjects[] = {
      {"zero-sizes", zeroSizes}, {"realloc-zero", reallocZero},     {"too-large", tooLarge},
      {"overflow", overflow},    {"alignment", alignment},          {"bad-alignment", badAlignment},
      {"pages", pages},          {"usable-size", usable},           {"calloc-zeroes", zeroing},
      {"free-errno", freeErrno}, {"realloc-contents", reallocating}};
  for (size_t i = 0; i < sizeof kSubjects / sizeof kSubjects[0]; i++) {
    if (argc == 1) puts(kSubjects[i].name);
    if (argc == 2 && strcmp(argv[1], kSubjects[i].name) == 0) {
      kSubjects[i].run();
      puts("ok");
      return 0;
    }
  }
  return argc == 1 ? 0 : 2;
}
