// glibc's 64-bit semaphore word: the value in the low half, which waiters sleep on, and the number
// of waiters in the high half. One instruction posts and tells whether somebody may sleep, so that
// the semaphore may be destroyed by whoever got the token. Any thread of the program; post() from
// its signal handlers as well. No locks.
#pragma once

#include "shims/sync/waits.h"

namespace graft::shims {

template <class Atom>
class SemWord {
 public:
  using Atomic = typename Atom::template Atomic<uint64_t>;
  static constexpr uint64_t kWaiter = uint64_t{1} << 32;
  static constexpr uint32_t kMax = 0x7fffffff;

  explicit SemWord(Atomic& word) : word_(word) {}

  bool tryTake() { return takeAnd(0); }

  // kWoken: got it; kTimedOut, kInterrupted: did not.
  template <class W>
  WaitResult take(W& waits, const typename W::Until& until) {
    word_.fetchAddRelaxed(kWaiter);
    for (;;) {
      if (takeAnd(kWaiter)) return WaitResult::kWoken;
      WaitResult r = waits.waitLow(word_, 0, until);
      if (r == WaitResult::kWoken || r == WaitResult::kMismatch) continue;
      abandon();
      return r;
    }
  }
  // Ends a take() that its thread will not return to. A token that it was woken for is there still.
  void abandon() { word_.fetchSubRelaxed(kWaiter); }
  // False: the value would be too large.
  template <class W>
  bool post(W& waits) {
    uint64_t v = word_.loadRelaxed();
    do {
      if (static_cast<uint32_t>(v) == kMax) return false;
      if (base::planted(base::Plant::kSemLooksFirst)) {
        word_.fetchAddRelease(1);
        break;
      }
    } while (!word_.casRelease(v, v + 1));
    if (v >= kWaiter) waits.wakeFromHandler(&word_, 1);
    return true;
  }

 private:
  bool takeAnd(uint64_t more) {
    uint64_t v = word_.loadRelaxed();
    while (static_cast<uint32_t>(v) != 0) {
      if (word_.casAcquire(v, v - 1 - more)) return true;
    }
    return false;
  }

  Atomic& word_;
};

}  // namespace graft::shims
