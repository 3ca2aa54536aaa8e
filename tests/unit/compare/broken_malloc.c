// A malloc that hands out some blocks twice, to be preloaded: the workloads of compare/ must notice
// it, or their checks prove nothing. It only ever moves forward through one mapping and frees
// nothing; a word before each block holds its size, for realloc. Sound are the first calls, calloc,
// which the C library uses for threads, and operator new, which the workloads keep their own books
// by.
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

enum { kHeader = 16, kSoundCalls = 20, kTwiceEvery = 5 };
static const size_t kBytes = (size_t)64 << 30;

static _Atomic(char*) next_free;
static _Atomic size_t calls;
static _Thread_local char* last;

static char* block(size_t alignment, size_t size) {
  char* start = atomic_load(&next_free);
  if (start == NULL) {
    char* fresh = mmap(NULL, kBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fresh == MAP_FAILED) return NULL;
    if (!atomic_compare_exchange_strong(&next_free, &start, fresh)) munmap(fresh, kBytes);
  }
  size = (size + 15) & ~(size_t)15;
  char* end = atomic_fetch_add(&next_free, size + kHeader + alignment) + kHeader + alignment;
  char* data = (char*)((size_t)end & ~(alignment - 1));
  ((size_t*)data)[-1] = size;
  return data;
}

void* malloc(size_t size) {
  size_t count = atomic_fetch_add(&calls, 1);
  if (count > kSoundCalls && count % kTwiceEvery == 0 && last != NULL &&
      ((size_t*)last)[-1] >= size) {
    return last;
  }
  last = block(16, size);
  return last;
}
void* calloc(size_t count, size_t size) { return block(16, count * size); }
void* _Znwm(size_t size) { return block(16, size); }
void _ZdlPv(void* data) { (void)data; }
void _ZdlPvm(void* data, size_t size) { (void)data, (void)size; }
void free(void* data) { (void)data; }
void* realloc(void* old, size_t size) {
  char* data = malloc(size);
  if (old != NULL && data != NULL) {
    size_t had = ((size_t*)old)[-1];
    memmove(data, old, had < size ? had : size);
  }
  return data;
}
int posix_memalign(void** where, size_t alignment, size_t size) {
  *where = block(alignment < 16 ? 16 : alignment, size);
  return *where == NULL ? 12 : 0;
}
