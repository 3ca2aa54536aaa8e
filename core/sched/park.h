// How a G goes to sleep and is woken exactly once, with nobody holding a lock over the switch. One
// state word per G; the G leaves its stack in state `parking`, and only the M's g0, which has seen
// it leave, makes that `parked`.
//
//   G on its stack                   g0 of the same M            waker (exactly one per park)
//   prepare: state = parking
//   publish itself (queue lock)
//   switch to g0               ->    commit: parking -> parked   ready: parked  -> runnable: queue
//                                    failed (notified):                 parking -> notified: the
//                                    -> runnable: queue it              committer queues it
//
// [PARK-A] prepare's store is ordered before the publication by the queue's lock (or any release);
//          the waker takes it with that lock.
// [PARK-B] commit's and ready's locked operations on the same word decide who queues the G: the
//          later of the two. commit releases the G's stack to whoever runs it next.
//
// INV-PARK-1  A G is on a run queue, or runs on one M, or is parked: never two of them.
// INV-PARK-2  Nobody touches the stack of a G between its switch and the commit.
//
// Source: Go's gopark runs unlockf on g0 for the same end; a notified state instead of a callback
// lets wakers come at any time. No locks in here; prepare on the G's stack, commit on g0, ready on
// any stack.
#pragma once

#include <stdint.h>

#include "core/base/plant.h"

namespace graft::sched {

enum class GState : uint32_t { kFree, kRunnable, kRunning, kParking, kNotified, kParked, kDead };

template <class Atom>
class ParkWord {
 public:
  GState look() const { return state_.loadRelaxed(); }
  // By whoever owns the G's next step alone: creator, executing M, dying G.
  void set(GState s) { state_.storeRelaxed(s); }

  void prepare() { state_.storeRelaxed(GState::kParking); }  // [PARK-A]
  // The G changed its mind before it was published.
  void cancel() { state_.storeRelaxed(GState::kRunning); }

  // True: it sleeps. False: it was woken meanwhile and is the caller's to queue or run. [PARK-B]
  bool commit() {
    if (base::planted(base::Plant::kLostWake)) {
      state_.storeRelease(GState::kParked);
      return true;
    }
    GState seen = GState::kParking;
    if (state_.casAcqRel(seen, GState::kParked)) return true;
    state_.storeRelaxed(GState::kRunnable);
    return false;
  }

  // True: the caller must queue the G. False: its committer will. [PARK-B]
  bool ready() {
    // Once it is parked, only its one waker changes the word: no locked instruction then.
    GState seen = state_.loadAcquire();
    if (seen != GState::kParked && !base::planted(base::Plant::kDoubleRun)) {
      seen = GState::kParking;
      if (state_.casAcqRel(seen, GState::kNotified)) return false;
    }
    state_.storeRelaxed(GState::kRunnable);
    return true;
  }

 private:
  typename Atom::template Atomic<GState> state_{GState::kFree};
};

}  // namespace graft::sched
