// glibc's low-level lock, whose word a mutex starts with: 0 free, 1 held, 2 held and somebody may
// wait. Who had to wait takes it as 2, because others may wait still; who frees a 2 wakes one.
// Source: Drepper, "Futexes are tricky", mutex 2. Any thread of the program; W waits (waits.h).
#pragma once

#include "shims/sync/waits.h"

namespace graft::shims {

// Looks before sleeping, and rests between them, as in Go's sync.Mutex. The rests are what pays:
// who looks all the time slows the holder down, and who sleeps at once makes it wake him.
inline constexpr int kLockLooks = 4, kLockRests = 30;

template <class Atom>
class LockWord {
 public:
  using Atomic = typename Atom::template Atomic<uint32_t>;
  explicit LockWord(Atomic& word) : word_(word) {}

  bool tryTake() {
    uint32_t none = 0;
    return word_.loadRelaxed() == 0 && word_.casAcquire(none, 1);
  }
  // False: the time was up.
  template <class W>
  bool take(W& waits, const typename W::Until& until) {
    for (int i = 0; i < kLockLooks && waits.maySpin(); i++) {
      if (tryTake()) return true;
      for (int j = 0; j < kLockRests; j++) Atom::cpuRelax();
    }
    while (word_.exchangeAcquire(2) != 0) {
      if (waits.wait(word_, 2, until) == WaitResult::kTimedOut) return false;
      if (base::planted(base::Plant::kLockForgets) && tryTake()) return true;
    }
    return true;
  }
  template <class W>
  void release(W& waits) {
    // The owner's id stands here if the mutex was taken by glibc's priority protocols.
    if (word_.exchangeRelease(0) > 1) waits.wake(&word_, 1);
  }

 private:
  Atomic& word_;
};

}  // namespace graft::shims
