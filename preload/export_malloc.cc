// The exported malloc family: the inline fast path and one forward per name (HEAP.md section 5 is
// the list; graft.map exports exactly it). Names of glibc, its __libc_ aliases, C23, and the BSD
// names that other mallocs share; jemalloc's mallctl family is left to jemalloc.
#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>

#include "shims/malloc.h"
#include "shims/malloc_fast.h"
#include "shims/malloc_info.h"

#define GRAFT_EXPORT extern "C" [[gnu::visibility("default")]]

using namespace graft;  // the exported names live in the global namespace
using shims::fastFree;
using shims::fastMalloc;

GRAFT_EXPORT void* malloc(size_t size) {
  void* p = fastMalloc(size);
  return __builtin_expect(p != nullptr, 1) ? p : shims::mallocSlow(size);
}

GRAFT_EXPORT void free(void* p) {
  if (__builtin_expect(!fastFree(p), 0)) shims::freeSlow(p);
}

GRAFT_EXPORT void* calloc(size_t count, size_t size) {
  size_t total;
  if (__builtin_expect(__builtin_mul_overflow(count, size, &total), 0))
    return shims::callocAny(count, size);
  uint64_t* p = static_cast<uint64_t*>(fastMalloc(total));
  if (__builtin_expect(p == nullptr, 0)) return shims::callocAny(count, size);
  shims::zeroSlot(p, total);
  return p;
}

GRAFT_EXPORT void* realloc(void* p, size_t size) {
  if (p == nullptr) return malloc(size);
  void* to = shims::fastRealloc(p, size);
  return __builtin_expect(to != nullptr, 1) ? to : shims::reallocAny(p, size);
}

GRAFT_EXPORT void* reallocarray(void* p, size_t count, size_t size) {
  size_t total;
  if (__builtin_mul_overflow(count, size, &total)) {
    errno = ENOMEM;
    return nullptr;
  }
  return realloc(p, total);
}

// OpenBSD and FreeBSD: as reallocarray and realloc, but the block is freed on failure.
GRAFT_EXPORT void* reallocf(void* p, size_t size) {
  void* to = realloc(p, size);
  if (to == nullptr && size != 0) free(p);
  return to;
}

GRAFT_EXPORT void* memalign(size_t align, size_t size) {
  void* p = shims::fastAligned(align, size);
  return __builtin_expect(p != nullptr, 1) ? p : shims::memalignAny(align, size);
}
GRAFT_EXPORT void* aligned_alloc(size_t align, size_t size) { return memalign(align, size); }
GRAFT_EXPORT int posix_memalign(void** out, size_t align, size_t size) {
  void* p = align >= sizeof(void*) ? shims::fastAligned(align, size) : nullptr;
  if (__builtin_expect(p == nullptr, 0)) return shims::posixMemalign(out, align, size);
  *out = p;
  return 0;
}
GRAFT_EXPORT void* valloc(size_t size) { return shims::memalignAny(kOsPage, size); }
GRAFT_EXPORT void* pvalloc(size_t size) {
  size_t rounded;
  if (__builtin_add_overflow(size, kOsPage - 1, &rounded)) {
    errno = ENOMEM;
    return nullptr;
  }
  return shims::memalignAny(kOsPage, rounded & ~(kOsPage - 1));
}

GRAFT_EXPORT size_t malloc_usable_size(void* p) {
  size_t n = shims::fastUsableSize(p);
  return __builtin_expect(n != 0, 1) ? n : shims::usableSizeSlow(p);
}
GRAFT_EXPORT size_t malloc_size(const void* p) { return malloc_usable_size(const_cast<void*>(p)); }
GRAFT_EXPORT size_t malloc_good_size(size_t size) { return shims::goodSize(size); }

GRAFT_EXPORT void cfree(void* p) { free(p); }
GRAFT_EXPORT void vfree(void* p) { free(p); }
GRAFT_EXPORT void free_sized(void* p, size_t size) { shims::freeWithSize(p, size); }
GRAFT_EXPORT void free_aligned_sized(void* p, size_t, size_t size) { shims::freeWithSize(p, size); }

GRAFT_EXPORT int mallopt(int param, int value) { return shims::malloptAny(param, value); }
GRAFT_EXPORT int malloc_trim(size_t pad) { return shims::trimAny(pad); }
GRAFT_EXPORT void malloc_stats() { shims::mallocStats(); }
GRAFT_EXPORT int malloc_info(int options, FILE* out) { return shims::mallocInfo(options, out); }
GRAFT_EXPORT struct mallinfo2 mallinfo2() { return shims::mallinfo2Any(); }
GRAFT_EXPORT struct mallinfo mallinfo() { return shims::mallinfoAny(); }

// glibc's own aliases, for programs that wrap malloc and call these. The real ones stay reachable
// for blocks that graft did not hand out (real.cc).
GRAFT_EXPORT void* __libc_malloc(size_t size) { return malloc(size); }
GRAFT_EXPORT void* __libc_calloc(size_t n, size_t size) { return calloc(n, size); }
GRAFT_EXPORT void* __libc_realloc(void* p, size_t size) { return realloc(p, size); }
GRAFT_EXPORT void __libc_free(void* p) { free(p); }
GRAFT_EXPORT void* __libc_memalign(size_t align, size_t size) { return memalign(align, size); }
GRAFT_EXPORT void* __libc_valloc(size_t size) { return valloc(size); }
GRAFT_EXPORT void* __libc_pvalloc(size_t size) { return pvalloc(size); }
GRAFT_EXPORT int __posix_memalign(void** out, size_t align, size_t size) {
  return posix_memalign(out, align, size);
}
