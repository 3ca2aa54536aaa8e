// The hot path, whole: malloc and free that hit the cache. Checks first, one commit, no loop, no
// lock, no call; every miss returns false and the caller tail-calls its slow half. Everything it
// reads hangs on the cache (CacheHead). tests/golden counts the instructions.
//
// free() accepts an address only if (1) it lies in the heap, (2) its page hands out slots, (3) it
// is the start of a slot and (4) the slot's second word is not the key that marks free slots; else
// the slow path decides. So an interior pointer, a foreign one, a large block and a second free
// all leave the fast path before anything is changed. (4) is glibc's idea (malloc.c, tcache_key).
//
// (4) reads the block, and no later instruction retires before it has come: cheap while the slots
// of the heap fit in the processor's caches, a fifth of the time of a program that frees cold
// blocks of a large heap. There free() only writes the key, which waits for nobody, and a second
// free is found by its consequence: the slot is in two places, and is refused when it comes back to
// its span (Heap::giveBack) or, by the key, when it would be handed out a second time.
#pragma once

#include "core/heap/heap.h"

namespace graft::heap {

// malloc() hands out a slot only if it still carries the key: a slot that was written to after it
// was freed, or that is in two places, is caught here at the latest.
[[gnu::always_inline]] inline void* mallocFast(CacheHead& c, size_t cls) {
  void** top = c.top[cls];
  uint64_t* p = static_cast<uint64_t*>(*top);
  if (__builtin_expect(p[1] != c.key[cls], 0)) return nullptr;
  c.setTop(cls, top - 1);
  p[1] = 0;
  return p;
}

// The class of a live block of a slot class, by checks (1) to (4); 0: the slow path decides.
[[gnu::always_inline]] inline size_t liveClassFast(const CacheHead& c, const void* ptr) {
  size_t off = reinterpret_cast<Addr>(ptr) - c.heap.base;
  if (__builtin_expect(off >= c.limit, 0)) return 0;
  uint32_t e = static_cast<uint32_t>(c.heap.map[off >> kPageShift].loadRelaxed());
  size_t cls = static_cast<uint8_t>(e);
  uint64_t in_span = static_cast<uint32_t>(off) - (e & ~uint32_t{kPageSize - 1});
  bool odd = !startsSlot(c.magic[cls], in_span) || cls >= kNumClasses;
  return odd || static_cast<const uint64_t*>(ptr)[1] == c.key[cls] ? 0 : cls;
}

[[gnu::always_inline]] inline bool freeFast(CacheHead& c, void* ptr) {
  size_t off = reinterpret_cast<Addr>(ptr) - c.heap.base;
  if (__builtin_expect(off >= c.limit, 0)) return false;
  uint32_t e = static_cast<uint32_t>(c.heap.map[off >> kPageShift].loadRelaxed());
  size_t cls = static_cast<uint8_t>(e);
  uint64_t in_span = static_cast<uint32_t>(off) - (e & ~uint32_t{kPageSize - 1});
  if (__builtin_expect(!startsSlot(c.magic[cls], in_span), 0)) return false;
  uint64_t* p = static_cast<uint64_t*>(ptr);
  void** top = c.top[cls];
  uint64_t key = c.key[cls];
  if (__builtin_expect(top == c.end[cls], 0)) return false;
  if (c.reads_freed != 0 && __builtin_expect(p[1] == key, 0)) return false;
  p[1] = key;
  storeSlot(top + 1, p);
  c.setTop(cls, top + 1);
  return true;
}

// Usable size of a block that free()'s fast path would take; 0: ask classify().
[[gnu::always_inline]] inline size_t usableFast(const Heap& heap, const void* ptr) {
  size_t off = reinterpret_cast<Addr>(ptr) - heap.space.base();
  if (__builtin_expect(off >= heap.space.limit(), 0)) return 0;
  uint8_t cls = static_cast<uint8_t>(heap.space.map()[off >> kPageShift].loadRelaxed());
  return cls < kNumClasses ? classSize(cls) : 0;
}

}  // namespace graft::heap
