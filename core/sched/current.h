// What runs here: the one thread variable of core/sched, an initial-exec slot at a fixed distance
// from the FS base. A G with an FS base of its own has a slot of its own, which execute() writes
// before it switches to the G; a G without one uses its M's. Read anew after every point where the
// G can be moved: the reads are volatile so that no compiler keeps them over a switch.
//
// On the stack of a G. On g0 FS still holds what the last G left there, so these read anything: a
// signal handler asks Sched::mOfThread. Threads of the program that are no M have null here; helper
// threads of graft's own must not ask. No locks.
#pragma once

#include <stdint.h>

#include "core/os/sys.h"

namespace graft::heap {
struct MCache;
}

namespace graft::sched {

struct G;
struct M;

struct Current {
  M* m;
  G* g;
  heap::MCache* mcache;
};

extern "C" [[gnu::visibility("hidden")]] thread_local constinit Current graft_current
    __attribute__((tls_model("initial-exec")));

inline uintptr_t currentOffset() {
  uintptr_t off;
  asm("movq graft_current@gottpoff(%%rip), %0" : "=r"(off));
  return off;
}
inline M* currentM() {
  M* m;
  asm volatile("movq graft_current@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0" : "=r"(m));
  return m;
}
inline G* currentG() {
  G* g;
  asm volatile("movq graft_current@gottpoff(%%rip), %0\n\tmovq %%fs:8(%0), %0" : "=r"(g));
  return g;
}
inline heap::MCache* currentCache() {
  heap::MCache* c;
  asm volatile("movq graft_current@gottpoff(%%rip), %0\n\tmovq %%fs:16(%0), %0" : "=r"(c));
  return c;
}
// The slot that code running with this FS base sees.
inline Current& slotAt(uintptr_t fs) { return *reinterpret_cast<Current*>(fs + currentOffset()); }

}  // namespace graft::sched
