// When a submitter of work must wake an M, and what an M that found no work must look at before it
// sleeps: the counters of Go's spinning protocol. Without the two full barriers both sides can miss
// each other, and work waits while a CPU idles.
//
//   submitter                              last spinning M
//   put the item on a queue                idle++ (scheduler's lock)
//   full barrier              [WAKE-A]     spinning--, a full barrier          [WAKE-B]
//   idle != 0 and spinning == 0?           look at every queue again:
//   spinning: CAS 0 -> 1, start an M       something there: idle--, spin again
//
// INV-WAKE-1  Work on a queue, an idle P, no spinning M: some M is about to see the work.
// INV-WAKE-2  `spinning` counts the Ms that look for work plus those being started to do so.
//
// Source: the comment "Worker thread parking/unparking" of Go's proc.go. No locks in here.
#pragma once

#include <stdint.h>

#include "core/base/plant.h"

namespace graft::sched {

template <class Atom>
class WakeState {
 public:
  // After work was put on a queue. barrier: the put was no locked instruction [WAKE-A]. True: the
  // caller starts an M that spins (and is counted as spinning already).
  bool mustWake(bool barrier) {
    if (barrier && !base::planted(base::Plant::kNoWakeFence)) Atom::fenceSeqCst();
    if (idle_.loadRelaxed() == 0 || spinning_.loadRelaxed() != 0) return false;
    int32_t none = 0;
    return spinning_.casAcqRel(none, 1);
  }

  // An M that found nothing in its own P may look elsewhere: at most half of the busy Ps do.
  bool mayStart(int32_t procs) {
    if (2 * spinning_.loadRelaxed() >= procs - idle_.loadRelaxed()) return false;
    spinning_.fetchAddAcqRel(1);
    return true;
  }
  void again() { spinning_.fetchAddAcqRel(1); }

  // A spinning M found work: true: it was the last, and another one should look for more.
  bool found() { return spinning_.fetchSubAcqRel(1) == 1; }
  // A spinning M gave its P up; it looks at every queue after this [WAKE-B].
  void gaveUp() { spinning_.fetchSubAcqRel(1); }

  // Scheduler's lock held.
  void idleInc() { idle_.fetchAddAcqRel(1); }
  void idleDec() { idle_.fetchSubAcqRel(1); }
  int32_t idle() const { return idle_.loadRelaxed(); }
  int32_t spinning() const { return spinning_.loadRelaxed(); }

 private:
  typename Atom::template Atomic<int32_t> idle_{0};
  typename Atom::template Atomic<int32_t> spinning_{0};
};

}  // namespace graft::sched
