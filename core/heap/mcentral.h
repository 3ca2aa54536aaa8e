// mcentral: per size class the list of spans that have free slots. Refill takes slots with the
// class lock held (and therefore never across a fork, HZ-FORK); flush gives slots back without a
// lock, batched by span and word, and takes the lock only when a span changes list (span_bits.h).
//
// Locks, outermost first: shared cache, pool, mu, page heap. Slow paths of any thread.
// Source: Go's mcentral for the place, HEAP.md section 4.5 for the batched OR.
#pragma once

#include "core/heap/span.h"
#include "core/heap/span_bits.h"
#include "core/os/mutex.h"

namespace graft::heap {

class Heap;

struct alignas(kCacheLine) MCentral {
  os::Mutex mu;
  SpanId head GRAFT_GUARDED_BY(mu) = 0;
  SpanId tail GRAFT_GUARDED_BY(mu) = 0;
  uint32_t spans GRAFT_GUARDED_BY(mu) = 0;    // small spans of this class, listed or not
  uint32_t empties GRAFT_GUARDED_BY(mu) = 0;  // of these, kept although every slot is free
  base::Atomic<uint32_t> as_runs{0};  // blocks that were made runs of pages: Heap::isRare
};

using Bits = SpanBits<base::RealAtom>;

}  // namespace graft::heap
