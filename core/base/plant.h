// Planted faults: deliberate mistakes that a test switches on to prove that some model, unit or
// stress test would notice them. Compiled in only where GRAFT_PLANTED is defined (a second copy of
// core that tests link); everywhere else planted() is the constant false and costs nothing.
#pragma once

#include "core/base/atomic.h"

namespace graft::base {

enum class Plant : int {
  kNone = 0,
  kDoubleHandOut,      // a refill leaves one of the slots it takes free in the span
  kLostFree,           // a flush forgets its last slot
  kWrongClass,         // an opened page gets the class byte of the next class
  kStalePageMap,       // a released span's page-map entries stay
  kSweepSkipped,       // a span is declared swept without having been looked at
  kUnlockedRefill,     // refill does not take the class lock
  kForkInRefill,       // fork does not wait for refills
  kMarkerRace,         // shape readers do not check seq
  kReshapeInCycle,     // emptied spans are released although a cycle is active
  kAckKeepsSlots,      // a cache acknowledges without giving slots of slow spans up
  kNoKey,              // an opened page's slots get no key
  kPurgeLive,          // the scavenger overlooks the last slot on a page
  kDirtyIsZero,        // a dirty run is taken for a zero one
  kNoCoalesce,         // neighbouring free runs are not merged
  kEnterByStore,       // an M enters the runtime by a store: a P is used by two Ms
  kStaleCache,         // a retaken P keeps the mcache of the M that lost it
  kLostWake,           // a park is committed by a store: a wake in between is lost
  kDoubleRun,          // a G that has not left its stack is queued
  kStealByStore,       // run queue items are claimed by a store
  kLostHalf,           // the overflowing half of a run queue is dropped
  kNoWakeFence,        // no full barrier between submitting work and looking for spinning Ms
  kNoRecheck,          // the last spinning M does not look at the queues again
  kCountedStopped,     // an M inside the runtime is counted as stopped
  kLostTimer,          // a timer that is due while the heap is rebuilt is dropped
  kLockForgets,        // a lock is taken as if nobody else slept, after a sleep
  kCondCountsLate,     // a waiter counts itself after it let the mutex go
  kCondSleepsOnNew,    // a waiter looks at the count of signals after it let the mutex go
  kRwForgets,          // a read-write lock is taken without bit 2, after a sleep
  kRwQuietGiveUp,      // the last waiting writer gives up and tells nobody
  kSemLooksFirst,      // a post looks for waiters before it posts
  kSkippedRoot,        // the first part of the roots is not scanned
  kLostGrey,           // a grey buffer that is given to others is dropped
  kRegistersUnscanned, // registers of stopped threads are not scanned
  kInteriorOffByOne,   // the last byte of an object is taken for the next one's
};

#ifdef GRAFT_PLANTED
// Delay points: where another thread coming in between would matter, a stress test may run a
// function that takes its time, and so meets orders that are rare otherwise.
extern constinit Atomic<void (*)()> delay_hook;
inline void delayPoint() {
  if (auto hook = delay_hook.loadRelaxed()) hook();
}
extern constinit Atomic<int> planted_fault;
inline bool planted(Plant p) { return planted_fault.loadRelaxed() == static_cast<int>(p); }
#else
constexpr bool planted(Plant) { return false; }
inline void delayPoint() {}
#endif

}  // namespace graft::base
