// Figures of the heap, collected on request by walking spans and caches: allocation and free keep
// no counters. What is in a cache counts as cached, not as used.
#include "core/base/bits.h"
#include "core/heap/heap.h"

namespace graft::heap {

HeapStats Heap::stats() {
  HeapStats st;
  if (!ready()) return st;
  st.pages = mheap.stats();
  st.reserved = space.reservedBytes();
  st.metadata_bytes = space.metadataCommitted();
  forEachSpan([&](Span* s) {
    SpanState state = s->state.loadRelaxed();
    if (state == SpanState::kLarge) {
      st.large_used += size_t{s->npages.loadRelaxed()} << kPageShift;
      st.spans++;
    }
    if (state != SpanState::kSmall) return;
    st.spans++;
    uint64_t size = classSize(s->cls.loadRelaxed()), free = 0;
    for (uint32_t w = 0; w < s->bitWords(); w++)
      free += base::popcount(s->freeBits()[w].loadRelaxed());
    st.small_free += free * size;
    st.small_used += (s->nelems.loadRelaxed() - free) * size;
  });
  caches.forEach([&](MCache& c) {
    st.cached += c.cachedBytes();
    st.refills += c.refills;
    st.flushes += c.flushes;
  });
  if (st.cached > st.small_used) st.cached = st.small_used;  // read at slightly different times
  st.small_used -= st.cached;
  st.caches = caches.made();
  st.caches_owned = caches.owned();
  return st;
}

}  // namespace graft::heap
