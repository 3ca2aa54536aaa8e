// mallinfo, mallinfo2, malloc_info, malloc_stats, malloc_trim and mallopt: their figures follow
// what the program does, and their effects are real. One subject per run; the same bounds hold on
// glibc.
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>

#include "check.h"

enum { kCount = 20000, kSmall = 1000, kBlocks = 12, kLarge = 1 << 20 };
static char* small[kCount];

static size_t used(void) {
  struct mallinfo2 m = mallinfo2();
  return m.uordblks + m.hblkhd;
}

static void figuresFollow(void) {
  size_t before = used();
  for (int i = 0; i < kCount; i++) memset(small[i] = malloc(kSmall), 1, kSmall);
  struct mallinfo2 m = mallinfo2();
  size_t grown = m.uordblks + m.hblkhd - before, asked = (size_t)kCount * kSmall;
  fprintf(stderr, "asked %zu, grown %zu\n", asked, grown);
  CHECK(grown >= asked - asked / 50 && grown <= asked + asked / 8);
  CHECK(m.arena >= m.uordblks && m.fordblks <= m.arena);
  CHECK(m.arena >= m.uordblks + m.fordblks - 4096);
  struct mallinfo old = mallinfo();
  CHECK((size_t)old.uordblks == m.uordblks || (size_t)old.uordblks + 100000 > m.uordblks);
  size_t large_before = mallinfo2().hblkhd;
  void* large[kBlocks];
  for (int i = 0; i < kBlocks; i++) large[i] = malloc(kLarge + 100);
  m = mallinfo2();
  CHECK(m.hblks >= kBlocks);
  CHECK(m.hblkhd - large_before >= (size_t)kBlocks * kLarge);
  CHECK(m.hblkhd - large_before <= (size_t)kBlocks * (kLarge + 65536));
  for (int i = 0; i < kBlocks; i++) free(large[i]);
  for (int i = 0; i < kCount; i++) free(small[i]);
  malloc_trim(0);
  size_t after = used();
  fprintf(stderr, "after freeing all: %zu more than before\n", after - before);
  CHECK(after <= before + 256 * 1024 || after < before);
}

static void xml(void) {
  void* p = malloc(5000);
  char* text = NULL;
  size_t n = 0;
  FILE* out = open_memstream(&text, &n);
  CHECK(malloc_info(0, out) == 0);
  fclose(out);
  fwrite(text, 1, n, stderr);
  CHECK(strncmp(text, "<malloc version=\"1\">", 20) == 0);
  CHECK(strstr(text, "</malloc>") != NULL && strstr(text, "type=\"rest\"") != NULL);
  CHECK(strstr(text, "<system type=\"current\" size=\"") != NULL);
  free(text);
  errno = 0;
  CHECK(malloc_info(1, stderr) != 0);
  free(p);
}

static void trims(void) {
  enum { kMany = 60000 };
  static char* p[kMany];
  long start = residentKib();
  for (int i = 0; i < kMany; i++) memset(p[i] = malloc(1000), 1, 1000);
  void* pin = malloc(1000);  // keeps glibc from giving the top back by itself
  long full = residentKib();
  for (int i = 0; i < kMany; i++) free(p[i]);
  CHECK(full - start >= 50000);
  CHECK(malloc_trim(0) == 1);
  long trimmed = residentKib();
  fprintf(stderr, "start %ld, full %ld, trimmed %ld KiB\n", start, full, trimmed);
  CHECK(trimmed <= start + 10000);
  free(pin);
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  if (strcmp(argv[1], "figures") == 0) figuresFollow();
  if (strcmp(argv[1], "xml") == 0) xml();
  if (strcmp(argv[1], "trim") == 0) trims();
  if (strcmp(argv[1], "stats") == 0) {
    void* p = malloc(100000);
    malloc_stats();
    free(p);
  }
  if (strcmp(argv[1], "mallopt") == 0) {
    printf("%d %d %d %d %d %d\n", mallopt(M_MMAP_THRESHOLD, 1 << 20), mallopt(M_MXFAST, 64),
           mallopt(M_MXFAST, 100000), mallopt(M_TRIM_THRESHOLD, 1 << 20), mallopt(M_ARENA_MAX, 2),
           mallopt(M_MMAP_MAX, 100));
    free(malloc(100));
    free(malloc(2 << 20));
  }
  puts("ok");
  return 0;
}
