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
    ClassStats& of = st.classes[s->cls.loadRelaxed()];
    of.spans++;
    of.slots += s->nelems.loadRelaxed();
    of.pages += s->npages.loadRelaxed();
    of.open += base::popcount(s->open_pages.loadRelaxed());
    for (uint32_t w = 0; w < s->bitWords(); w++)
      of.free += base::popcount(s->freeBits()[w].loadRelaxed());
  });
  caches.forEach([&](MCache& c) {
    for (size_t i = 1; i < kNumClasses; i++) {
      ClassId cls = static_cast<ClassId>(i);
      st.classes[i].cached += c.forEachSlot(cls, [](void*) {});
    }
    st.refills += c.refills;
    st.flushes += c.flushes;
  });
  for (size_t i = 1; i < kNumClasses; i++) {
    uint64_t size = classSize(static_cast<ClassId>(i));
    const ClassStats& of = st.classes[i];
    st.small_free += of.free * size;
    st.small_used += (of.slots - of.free) * size;
    st.cached += of.cached * size;
  }
  if (st.cached > st.small_used) st.cached = st.small_used;  // read at slightly different times
  st.small_used -= st.cached;
  st.caches = caches.made();
  st.caches_owned = caches.owned();
  return st;
}

}  // namespace graft::heap
