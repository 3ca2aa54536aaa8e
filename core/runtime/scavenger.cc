// Start, rounds and end of the scavenger's thread; see scavenger.h for why it may exist at all.
#include "core/runtime/scavenger.h"

#include "core/heap/heap.h"
#include "core/os/clock.h"
#include "core/os/sys.h"

namespace graft::runtime {

void Scavenger::wanted() {
  uint32_t expected = kNone;
  if (allowed_.loadRelaxed() == 0 || thread_.running()) return;
  if (pause_.loadRelaxed() != 0 || stop_.loadRelaxed() != 0) return;
  if (!state_.casAcqRel(expected, kRunning)) return;
  pid_.storeRelaxed(static_cast<uint32_t>(os::getpid()));
  if (thread_.start(entry, this)) return;
  allowed_.storeRelaxed(0);  // the kernel refuses threads (limit, sandbox): do not ask again
  state_.storeRelease(kNone);
}

void Scavenger::stop(bool forever) {
  if (forever) allowed_.storeRelaxed(0);
  if (state_.loadAcquire() == kNone && !thread_.running()) return;
  // A vfork child changes nothing of its parent's, and a child of a raw clone has no such thread.
  if (pid_.loadRelaxed() != static_cast<uint32_t>(os::getpid())) return;
  // A count, not a flag that wanted() would clear: nobody may lift another's request.
  stop_.fetchAddAcqRel(1);
  os::futexWakeAll(&stop_);
  // Bounded: a signal's handler that calls setuid may have interrupted this very thread in wanted()
  // before the thread exists.
  for (int i = 0; i < 100; i++) {
    thread_.join();
    if (state_.loadAcquire() == kNone) break;
    os::futexWaitMs(&state_, kRunning, 1);
  }
  stop_.fetchSubAcqRel(1);
}

// One look at what waits. False: nothing does. In the last round before the thread ends also at the
// caches of threads that have ended: nobody may ask again for a long time.
bool Scavenger::round(uint64_t n, bool last) {
  // [SCAV-A] Dekker: either fork sees busy_ and waits, or we see pause_ and keep away.
  busy_.storeSeqCst(1);
  bool more = true;
  if (pause_.loadAcquire() == 0) {
    more = heap_->returnMemory(os::nowMs(), n % 4 == 0 || last);
    if (last && heap_->reapCaches(os::nowMs(), 0) != 0) more = true;
  }
  busy_.storeSeqCst(0);
  return more;
}

void Scavenger::run() {
  constexpr int kIdleRounds = 12;
  int idle = 0;
  for (uint64_t n = 1;; n++) {
    os::futexWaitMs(&stop_, 0, period_ms_);
    if (stop_.loadAcquire() != 0 || allowed_.loadRelaxed() == 0) break;
    idle = round(n, idle == kIdleRounds) ? 0 : idle + 1;
    if (idle > kIdleRounds && !heap_->memoryWaits()) break;
  }
  // From here on the thread touches nothing but its stack; wanted() waits for the kernel to clear
  // the tid before it uses the stack again.
  state_.storeRelease(kNone);
}

// The wait is bounded: in a single-threaded program fork may be called by a signal handler that
// interrupted an allocation, whose lock the scavenger may be waiting for. It holds none itself
// then, and the worst the child inherits is one run of pages that is never used again.
void Scavenger::forkPrepare() {
  pause_.storeSeqCst(1);
  for (int i = 0; i < 25 && busy_.loadAcquire() != 0; i++) os::futexWaitMs(&busy_, 1, 1);
}

void Scavenger::forkChild() {
  pause_.storeSeqCst(0);
  busy_.storeSeqCst(0);
  stop_.storeRelaxed(0);
  state_.storeRelaxed(kNone);
  thread_.tid.storeRelaxed(0);
}

}  // namespace graft::runtime
