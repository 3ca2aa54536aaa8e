// What the exported functions inline: the running thread's cache and the heap's fast path over it.
// One load of an initial-exec TLS pointer, no call. preload's exports include this, and nobody
// else.
#pragma once

#include "core/heap/malloc_fast.h"
#include "core/runtime/runtime.h"
#include "shims/malloc.h"

namespace graft::shims {

[[gnu::always_inline]] inline void* fastMalloc(size_t size) {
  heap::CacheHead& c = *sched::graft_current.heap.fast;
  if (__builtin_expect(size > heap::kFineLimit, 0)) {
    if (size > heap::kMaxSmall) return nullptr;
    return heap::mallocFast(c, heap::kClasses.coarse[(size + 127) >> 7]);
  }
  return heap::mallocFast(c, c.fine[(size + 15) >> 4]);
}

[[gnu::always_inline]] inline bool fastFree(void* p) {
  return heap::freeFast(*sched::graft_current.heap.fast, p);
}

// Sized delete takes the same path as free(): the page map is read anyway for the checks, and while
// a collection is possible it must be (HZ-FREE). The size is verified in checked mode, where no
// cache is in view.
[[gnu::always_inline]] inline void freeWithSize(void* p, size_t size) {
  if (__builtin_expect(!fastFree(p), 0)) freeSized(p, size);
}

// A small block with an alignment that is a power of two up to a page; null: take the slow path.
[[gnu::always_inline]] inline void* fastAligned(size_t align, size_t size) {
  if (__builtin_expect(!isPow2(align) || align > kPageSize || size > heap::kMaxSmall, 0))
    return nullptr;
  heap::ClassId cls = heap::classForAligned(size, align);
  return __builtin_expect(cls != 0, 1) ? heap::mallocFast(*sched::graft_current.heap.fast, cls)
                                       : nullptr;
}

// Copies n bytes from slot to slot, rounded up to the 16 that every slot is a multiple of.
[[gnu::always_inline]] inline void copySlot(void* to, const void* from, size_t n) {
  if (__builtin_expect(n > 1024, 0)) return base::copyBytes(to, from, n);
  using Two = uint64_t __attribute__((vector_size(16)));
  for (size_t i = 0; i < (n + 15) / 16; i++)
    static_cast<Two*>(to)[i] = static_cast<const Two*>(from)[i];
}

// realloc() from slot to slot; null: take the slow path. A block that would shrink below half of
// its slot moves, any other that fits stays.
inline void* fastRealloc(void* p, size_t size) {
  size_t cls = heap::liveClassFast(*sched::graft_current.heap.fast, p);
  if (cls == 0 || size == 0) return nullptr;
  size_t have = heap::classSize(static_cast<heap::ClassId>(cls));
  if (size <= have && size >= have / 2) return p;
  void* to = fastMalloc(size);
  if (to == nullptr) return nullptr;
  copySlot(to, p, size < have ? size : have);
  if (!fastFree(p)) freeSlow(p);
  return to;
}

// Usable size by the page map alone; 0: ask usableSizeSlow(). Checked blocks know their exact size.
[[gnu::always_inline]] inline size_t fastUsableSize(const void* p) {
  return __builtin_expect(runtime::rt.slowMode(), 0) ? 0 : heap::usableFast(runtime::rt.heap, p);
}

// The size a request is rounded up to.
inline size_t goodSize(size_t size) {
  return size <= heap::kMaxSmall ? heap::classSize(heap::classFor(size)) : roundUp(size, kPageSize);
}

// Zeroes the first n bytes of a slot (slots are multiples of 16 bytes, 16-byte aligned).
[[gnu::always_inline]] inline void zeroSlot(uint64_t* p, size_t n) {
  if (__builtin_expect(n > 1024, 0)) {
    base::fillBytes(p, 0, n);
    return;
  }
  using Two = uint64_t __attribute__((vector_size(16)));
  Two* at = reinterpret_cast<Two*>(p);
  for (size_t i = 0; i < (n + 15) / 16; i++) at[i] = Two{0, 0};
}

}  // namespace graft::shims
