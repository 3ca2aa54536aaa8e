// One M's half of stopping the world: whether it stands still, and on whose stack. The stopper
// signals every M that is not parked in the scheduler; the handler, on the M's own stack, either
// stops it right there (user code) or leaves a note that the M's way out of the runtime honours.
// Between an M and its own handler program order is enough: no fence on the fast path.
//
//   M                                handler on the same M       stopper
//   enter: inside = 1                                            epoch = odd
//   ... runtime ...                                              signal
//   leave: inside = 0                inside: requested = 1       wait: acked == epoch, or parked
//          requested? stand still    else: stand still           (scheduler's lock)
//
//   stand still: acked = epoch; wait until epoch moves           epoch = even, wake all
//
// [STW-A] acked's release, acquired by the stopper, gives it everything the M wrote.
// [STW-B] the epoch's release, acquired by who stands still, gives the M what the stopper wrote.
//
// INV-STW-1  acked == epoch (odd): the M executes no instruction outside standStill's wait.
// INV-STW-2  An M inside the runtime is never counted as stopped, unless it is parked under the
//            scheduler's lock, which nobody leaves while the epoch is odd.
//
// `inside` and `requested` are touched by the M's own thread only (its handler included). Step is
// called where a handler may come in between: nothing in production, the model's signal in tests.
#pragma once

#include <stdint.h>

#include "core/base/plant.h"

namespace graft::sched {

template <class Atom>
class StopPoint {
 public:
  template <class T>
  using Atomic = typename Atom::template Atomic<T>;
  using Epoch = Atomic<uint32_t>;

  template <class Step>
  void enter(Step step) {
    outside_.storeRelaxed(0);
    step();
  }
  // True: standStill() is due.
  template <class Step>
  bool leave(Step step) {
    outside_.storeRelaxed(1);
    step();  // from here on the handler stops us itself
    return requested_.loadRelaxed() != 0;
  }
  bool inside() const { return outside_.loadRelaxed() == 0; }
  bool requested() const { return requested_.loadRelaxed() != 0; }

  // In the handler. True: standStill() is due, here.
  bool handle() {
    if (outside_.loadRelaxed() != 0) return true;
    requested_.storeRelaxed(1);
    return false;
  }

  // Waits as long as the world is stopped; `wait(epoch)` returns when the epoch may have moved.
  template <class Wait>
  void standStill(Epoch& epoch, Wait wait) {
    requested_.storeRelaxed(0);
    for (;;) {
      uint32_t now = epoch.loadAcquire();  // [STW-B]
      if ((now & 1) == 0) return;
      acked_.storeRelease(now);  // [STW-A]
      wait(now);
    }
  }

  // Not to be stopped just now: the way out of that looks at requested().
  void request() { requested_.storeRelaxed(1); }

  // The stopper's question.
  bool stopped(uint32_t epoch) const {
    if (base::planted(base::Plant::kCountedStopped) && outside_.loadAcquire() == 0) return true;
    return acked_.loadAcquire() == epoch;  // [STW-A]
  }

 private:
  Atomic<uint32_t> outside_{0};  // runtime code until the first leave(); zero keeps it in .bss
  Atomic<uint32_t> requested_{0};
  Atomic<uint32_t> acked_{0};
};

}  // namespace graft::sched
