// P: the right to run Gs, one per CPU that may be used; it holds the run queue, the timers, the
// mcache while no M has it, and dead Gs for reuse. Who may touch a P's fields is said by its
// ownership word (owner.h, INV-OWN-1).
//
// Locks: none of its own but the timers'; lists that link Ps are guarded by the scheduler's lock.
#pragma once

#include "core/sched/g.h"
#include "core/sched/owner.h"
#include "core/sched/runq.h"
#include "core/sched/timer.h"

namespace graft::sched {

using RunQ = RunQueue<base::RealAtom, G*>;

struct P {
  // Any M.
  OwnerWord<base::RealAtom> word;
  RunQ runq;  // holder; thieves through steal()
  TimerHeap timers;
  // Holder, which alone writes it; sysmon reads.
  base::Atomic<uint32_t> tick{0};  // time slices begun: a next one that inherits its slice is in it
  // Holder only.
  uint32_t inherits = 0;  // next ones in a row
  uint64_t timers_checked = 0;  // in cycles
  heap::MCache* mcache = nullptr;  // comes with the P; null while an M has it (INV-OWN-3)
  G* dead = nullptr;
  uint32_t dead_count = 0;
  // Immutable.
  uint32_t index = 0;
  // Guarded by the scheduler's lock.
  P* idle_link = nullptr;
  // sysmon only: the stay in user code and the time slice that it saw, and since when.
  OwnerValue seen{};
  uint64_t seen_at = 0;
  uint32_t slice = 0;
  uint64_t slice_at = 0;
};

}  // namespace graft::sched
