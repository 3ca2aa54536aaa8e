// What runs here, and with which mcache: the one thread variable that changes with the M, an
// initial-exec slot at a fixed distance from the FS base. A G with an FS base of its own has a slot
// of its own; a G without one uses its M's. Sched::show() alone writes it in a process whose
// threads are Gs; elsewhere m and g stay null, and the thread itself keeps `heap`. Read anew after
// every point where the G can be moved: the reads are volatile so that no compiler keeps them over
// a switch.
//
// On the stack of a G. On g0 FS still holds what the last G left there, so these read anything: a
// signal handler asks Sched::mOfThread. Threads of the program that are no M have null here; helper
// threads of graft's own must not ask. No locks.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/heap/mcache.h"
#include "core/os/sys.h"

namespace graft::sched {

struct G;
struct M;

// The cache of whoever runs with this FS base. `fast` starts as the empty view, so a new thread
// needs no set-up and malloc no null check.
struct ThreadHeap {
  heap::CacheHead* fast;  // what malloc and free use: own, or the empty view
  heap::MCache* own;  // null: none (yet), or the pool is exhausted
  uint32_t shared_ops;  // operations on a shared cache since the last try for one of its own
};

struct Current {
  ThreadHeap heap;
  M* m;
  G* g;
};

extern "C" [[gnu::visibility("hidden")]] thread_local constinit Current graft_current
    __attribute__((tls_model("initial-exec")));

inline uintptr_t currentOffset() {
  uintptr_t off;
  asm("movq graft_current@gottpoff(%%rip), %0" : "=r"(off));
  return off;
}
static_assert(offsetof(Current, heap.own) == 8 && offsetof(Current, m) == 24 &&
              offsetof(Current, g) == 32);  // as in the assembly below
inline M* currentM() {
  M* m;
  asm volatile("movq graft_current@gottpoff(%%rip), %0\n\tmovq %%fs:24(%0), %0" : "=r"(m));
  return m;
}
inline G* currentG() {
  G* g;
  asm volatile("movq graft_current@gottpoff(%%rip), %0\n\tmovq %%fs:32(%0), %0" : "=r"(g));
  return g;
}
inline heap::MCache* currentCache() {
  heap::MCache* c;
  asm volatile("movq graft_current@gottpoff(%%rip), %0\n\tmovq %%fs:8(%0), %0" : "=r"(c));
  return c;
}
// The slot that code running with this FS base sees.
inline Current& slotAt(uintptr_t fs) { return *reinterpret_cast<Current*>(fs + currentOffset()); }

}  // namespace graft::sched
