// fork (HZ-FORK): prepare takes every heap lock, so that no refill, flush under lock, or page-heap
// change is half done in the child; the forking thread's own allocations in the window pass
// through the locks (os::Mutex). Lock-free flushes may be half copied: that only loses slots.
#include "core/base/bits.h"
#include "core/base/plant.h"
#include "core/heap/heap.h"
#include "core/os/sys.h"

namespace graft::heap {

void Heap::forkPrepare() GRAFT_NO_LOCK_ANALYSIS {
  for (size_t i = 0; i < kSharedCaches; i++) caches.sharedAt(i).mu.lockForFork();
  caches.mutex().lockForFork();
  if (base::planted(base::Plant::kForkInRefill)) return;
  for (size_t i = 1; i < kNumClasses; i++) central[i].mu.lockForFork();
  mheap.mutex().lockForFork();
  os::beginOwnFork();
}

void Heap::forkParent() GRAFT_NO_LOCK_ANALYSIS {
  os::endOwnFork();
  if (!base::planted(base::Plant::kForkInRefill)) {
    mheap.mutex().unlockAfterFork();
    for (size_t i = kNumClasses - 1; i >= 1; i--) central[i].mu.unlockAfterFork();
  }
  caches.mutex().unlockAfterFork();
  for (size_t i = kSharedCaches; i > 0; i--) caches.sharedAt(i - 1).mu.unlockAfterFork();
}

void Heap::forkChild(MCache* mine, uint32_t tid) GRAFT_NO_LOCK_ANALYSIS {
  os::endOwnFork();
  mheap.mutex().reset();
  for (size_t i = 1; i < kNumClasses; i++) central[i].mu.reset();
  caches.mutex().reset();
  for (size_t i = 0; i < kSharedCaches; i++) caches.sharedAt(i).mu.reset();
  caches.forkChild(mine, tid);
  settleAll();
}

// The kernel may have copied a flush of another thread half done: bits set but not counted, or
// counted but the span not listed. Nobody will finish it here.
void Heap::settleAll() GRAFT_NO_LOCK_ANALYSIS {
  forEachSpan([&](Span* s) GRAFT_NO_LOCK_ANALYSIS {
    if (s->state.loadRelaxed() != SpanState::kSmall) return;
    int32_t free = 0;
    for (uint32_t w = 0; w < s->bitWords(); w++) {
      free += static_cast<int32_t>(base::popcount(s->freeBits()[w].loadRelaxed()));
    }
    if (s->nfree.loadRelaxed() != free) s->nfree.storeRelaxed(free);
    MCentral& m = central[s->cls.loadRelaxed()];
    if (s->listed == 0 && free > 0) list(s, m, false);
    if (s->listed != 0 && free == 0) unlist(s, m);
  });
}

}  // namespace graft::heap
