// mcache: per size class a stack of free slots that its one user pushes and pops without lock,
// atomic or call. The stacks are arrays of pointers, so a collector can enumerate a cache without
// touching the slots, and popping never reads a cold slot.
//
//   slots:  | no slot | p1 | p2 | ... | pn | unused ... |
//           ^floor                      ^top            ^end: the present capacity
//
// A class begins with a short stack; one that keeps running dry moves, while it is empty, to a long
// one further back, so that a cache of a thread that does little is small. [CACHE-A]: the floor is
// written before the top, and whoever reads another's stack reads the floor before and after it.
//
// Below the first slot lies the address of two words that never hold the key: malloc's one test,
// "does the top slot carry the key", fails for an empty stack and for a slot that was written to
// after it was freed.
//
// Who: the M that holds the cache (in native-thread mode: the thread it was given to; see
// cache_pool.h). Others may read it racily (enumeration) and may set `end` down, never push or pop.
// Capacity grows with refills and shrinks when flushes follow each other without a refill, so a
// thread that only frees hoards nothing.
// Source: jemalloc's cache_bin, tcmalloc's per-CPU slabs.
#pragma once

#include "core/base/atomic.h"
#include "core/base/types.h"
#include "core/heap/size_class.h"

namespace graft::heap {

// The owner's writes are relaxed atomic stores (plain moves on x86-64), because others may read.
inline void storeSlot(void** at, void* p) { __atomic_store_n(at, p, __ATOMIC_RELAXED); }
inline void* loadSlot(void* const* at) { return __atomic_load_n(at, __ATOMIC_RELAXED); }

// Facts of the heap that never change once it has started.
struct HeapFacts {
  uint64_t key;  // Heap::key
  Addr base;
  base::Atomic<uint64_t>* map;
};

// What malloc and free look at: everything behind the one thread-local pointer, so that neither
// needs the address of anything else.
struct CacheHead {
  void** top[kClassBytes];  // first: an index from the pointer itself is one instruction less
  void** end[kClassBytes];  // equal to top where the byte is no class
  HeapFacts heap;
  size_t limit;  // of the heap, as of the cache's last slow path: an older one is only too small
  uint64_t reads_freed;  // 1: free() looks whether a block is free already; Heap::readsFreed
  uint64_t key[kClassBytes];  // Heap::keyOf
  uint64_t magic[kClassBytes];  // kMagic
  uint8_t fine[kFineSteps];  // kClasses.fine

  void setTop(size_t c, void** t) { __atomic_store_n(&top[c], t, __ATOMIC_RELAXED); }
};

struct SlotLayout {
  // Index of the entry below the first slot of each class.
  uint32_t start[kNumClasses], large[kNumClasses];
  uint32_t total;
};
consteval SlotLayout makeSlotLayout() {
  SlotLayout l{};
  for (size_t c = 1; c < kNumClasses; c++) {
    l.start[c] = l.total;
    l.total += kClasses.info[c].cache_start + 1u;
  }
  for (size_t c = 1; c < kNumClasses; c++) {
    l.large[c] = l.total;
    l.total += kClasses.info[c].cache_max + 1u;
  }
  return l;
}
inline constexpr SlotLayout kSlotLayout = makeSlotLayout();

struct MCache : CacheHead {
  // Set by the pool under its lock.
  base::Atomic<uintptr_t> owner_tp;  // thread pointer of the owner; 0: nobody
  base::Atomic<uint32_t> owner_tid;
  uint32_t index;
  bool bare;  // nobody's, empty, and without the pages of its stacks: shrink() before use
  MCache* next_free;
  // Epoch up to which this cache holds no slot of a slow span (HZ-FREE) [ACK-A].
  base::Atomic<uint32_t> acked;

  // Owner only.
  uint32_t slow_ops;
  uint32_t room;  // bytes of slots that the stacks may hold beyond their first capacities
  uint64_t refills, flushes;
  uint64_t flushed_bytes;  // not yet added to the heap's count
  uint8_t refilled[kNumClasses];  // refills since the stack last grew
  uint8_t flushed[kNumClasses];  // flushes since the last refill of the class, saturating

  void** floors[kNumClasses];
  void* slots[kSlotLayout.total];

  void** floor(ClassId c) const { return floors[c]; }
  bool empty(ClassId c) { return top[c] == floor(c); }
  size_t count(ClassId c) { return static_cast<size_t>(top[c] - floor(c)); }
  size_t capacity(ClassId c) { return static_cast<size_t>(end[c] - floor(c)); }
  void setCapacity(ClassId c, size_t n) {
    room += static_cast<uint32_t>((n - capacity(c)) * classSize(c));
    end[c] = floor(c) + n;
  }

  // Doubles the capacity of an empty stack, up to the class's bound.
  void grow(ClassId c);
  // For others than the owner: calls f with each slot of a class that is in the cache for the whole
  // time of the call, and perhaps with some that come or go. Returns how many.
  template <class F>
  size_t forEachSlot(ClassId c, F f) const {
    void **from, **to;
    do {
      from = __atomic_load_n(&floors[c], __ATOMIC_ACQUIRE);  // [CACHE-A]
      to = __atomic_load_n(&top[c], __ATOMIC_ACQUIRE);
    } while (from != __atomic_load_n(&floors[c], __ATOMIC_RELAXED));
    // The floor of a stack that is just moving, and still the old top: it is empty.
    if (to < from || to > from + kClasses.info[c].cache_max) return 0;
    for (void** at = from + 1; at <= to; at++) f(loadSlot(at));
    return static_cast<size_t>(to - from);
  }
  void init(uint32_t cache_index, const HeapFacts& facts);
  // Back to the first, short stacks, all empty; the long ones may lose their pages after it.
  void shrink();
  void dropAll();  // forgets every slot (fork child: slots of threads that no longer exist)
  uint64_t cachedBytes();
};

// What a thread without a cache of its own, and every thread in a checked mode, has as its fast
// view: always empty and always full, so that each operation takes the slow path.
extern const CacheHead kEmptyCache;

struct alignas(16) NoSlot {
  uint64_t words[2];
};
extern const NoSlot kNoSlot;
inline void* noSlot() { return const_cast<NoSlot*>(&kNoSlot); }

}  // namespace graft::heap
