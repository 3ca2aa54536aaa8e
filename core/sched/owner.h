// The ownership word of a P: which M holds it, and whether that M runs user code, runtime code, or
// nobody holds it. One word, one CAS per runtime entry; see ARCHITECTURE fact 4.
//
//   M (holder)                                 sysmon
//   user:    any code, no access to P
//   enter:   CAS {M,user,n} -> {M,runtime,n}   retake: CAS {M,user,n} -> {sysmon,runtime,n}
//            failed: the P is gone                     failed: the M was quicker
//   runtime: P is mine                         P is mine: hands it on
//   leave:   store {M,user,n+1}
//
// INV-OWN-1  Only the holder named in a word at `runtime` reads or writes the P's other fields.
// INV-OWN-2  From `user` a word moves by CAS only, from `runtime` by the holder only, from `idle`
//            under the scheduler's lock only.
// INV-OWN-3  The mcache belongs to the M. A holder that gives its P up knowingly passes its mcache
//            on with the P; a P that was retaken comes without one, and its next holder takes a
//            fresh one from the pool. The M that lost its P goes on with its old one until it next
//            enters the runtime, and gives it to the pool there.
// INV-OWN-4  `n` grows with every leave, so a retake hits the very stay in user code that sysmon
//            looked at, never a later one of the same M.
//
// enter's and retake's acquire pairs with the release in leave and giveIdle [OWN-A].
// Source: Go's entersyscall turned inside out. Any stack of the holder; no locks in here.
#pragma once

#include <stdint.h>

#include "core/base/plant.h"

namespace graft::sched {

enum class Hold : uint64_t { kIdle = 0, kRuntime = 1, kUser = 2 };

// bits 0-1 state, 2-23 the M (0: none), 24-63 the count of stays in user code.
struct OwnerValue {
  uint64_t bits = 0;

  static constexpr uint64_t kSysmon = (1u << 22) - 1;
  static OwnerValue make(uint64_t m, Hold h, uint64_t n) {
    return {static_cast<uint64_t>(h) | m << 2 | n << 24};
  }
  Hold hold() const { return static_cast<Hold>(bits & 3); }
  uint64_t m() const { return bits >> 2 & kSysmon; }
  uint64_t count() const { return bits >> 24; }
  bool operator==(const OwnerValue&) const = default;
};

template <class Atom>
class OwnerWord {
 public:
  OwnerValue look() const { return {word_.loadRelaxed()}; }

  // The holder's entry from `user`; `mine` is what its leave() returned. False: retaken.
  bool enter(OwnerValue& mine) {
    OwnerValue next = OwnerValue::make(mine.m(), Hold::kRuntime, mine.count());
    if (base::planted(base::Plant::kEnterByStore)) {
      word_.storeRelease(next.bits);
      mine = next;
      return true;
    }
    uint64_t seen = mine.bits;
    if (!word_.casAcquire(seen, next.bits)) return false;  // [OWN-A]
    mine = next;
    return true;
  }
  // The holder goes back to user code.
  void leave(OwnerValue& mine) {
    mine = OwnerValue::make(mine.m(), Hold::kUser, mine.count() + 1);
    word_.storeRelease(mine.bits);  // [OWN-A]
  }
  // sysmon takes the P out of the stay in user code that it saw.
  bool retake(OwnerValue seen, OwnerValue& mine) {
    if (seen.hold() != Hold::kUser) return false;
    OwnerValue next = OwnerValue::make(OwnerValue::kSysmon, Hold::kRuntime, seen.count() + 1);
    uint64_t expected = seen.bits;
    if (!word_.casAcquire(expected, next.bits)) return false;  // [OWN-A]
    mine = next;
    return true;
  }
  // The holder, in `runtime`, passes the P to another M, or (0) puts it among the idle ones.
  OwnerValue give(OwnerValue mine, uint64_t m) {
    OwnerValue next = OwnerValue::make(m, m == 0 ? Hold::kIdle : Hold::kRuntime, mine.count() + 1);
    word_.storeRelease(next.bits);  // [OWN-A]
    return next;
  }
  // An idle P becomes m's. Scheduler's lock held.
  OwnerValue takeIdle(uint64_t m) {
    OwnerValue next = OwnerValue::make(m, Hold::kRuntime, OwnerValue{word_.loadAcquire()}.count());
    word_.storeRelaxed(next.bits);
    return next;
  }

 private:
  typename Atom::template Atomic<uint64_t> word_{0};
};

}  // namespace graft::sched
