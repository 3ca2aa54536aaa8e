// The hot path, whole: malloc and free that hit the cache. Checks first, one commit, no loop, no
// lock, no call; every miss returns false and the caller tail-calls its slow half. tests/golden
// counts the instructions.
//
// free() accepts an address only if (1) it lies in the heap, (2) its page hands out slots, (3) it
// is the start of a slot and (4) the slot's second word is not the key that marks free slots; else
// the slow path decides. So an interior pointer, a foreign one, a large block and a second free
// all leave the fast path before anything is changed. (4) costs a compare with a word next to the
// one the program just used; glibc's tcache has the same idea (malloc.c, tcache_key).
#pragma once

#include "core/heap/heap.h"

namespace graft::heap {

// malloc() hands out a slot only if it still carries the key: a slot that was written to after it
// was freed, or that is in two places, is caught here at the latest.
[[gnu::always_inline]] inline void* mallocFast(const Heap& heap, CacheHead& c, ClassId cls) {
  void** top = c.top[cls];
  uint64_t* p = static_cast<uint64_t*>(*top);
  if (__builtin_expect(p[1] != heap.key, 0)) return nullptr;
  c.setTop(cls, top - 1);
  p[1] = 0;
  return p;
}

[[gnu::always_inline]] inline bool freeFast(const Heap& heap, CacheHead& c, void* ptr) {
  size_t off = reinterpret_cast<Addr>(ptr) - heap.space.base();
  if (__builtin_expect(off >= heap.space.limit(), 0)) return false;
  uint32_t e = static_cast<uint32_t>(heap.space.map()[off >> kPageShift].loadRelaxed());
  uint8_t cls = static_cast<uint8_t>(e);
  const SlotMagic& magic = kMagic.of[cls];
  uint64_t x = static_cast<uint32_t>(static_cast<uint32_t>(off) - e);
  if (__builtin_expect(x * magic.mul + magic.add >= magic.mul, 0)) return false;
  uint64_t* p = static_cast<uint64_t*>(ptr);
  void** top = c.top[cls];
  if (__builtin_expect(p[1] == heap.key || top == c.end[cls], 0)) return false;
  p[1] = heap.key;
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
