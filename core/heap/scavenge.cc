// Memory back to the operating system: dirty runs by age, on the heap's own slow paths; fully free
// pages inside spans that are in use; and everything at once for malloc_trim. MADV_DONTNEED, never
// MADV_FREE: people read RSS (Go went back in 1.16, mimalloc in issue 776).
#include "core/base/bits.h"
#include "core/heap/heap.h"
#include "core/os/clock.h"
#include "core/os/mem.h"

namespace graft::heap {

void Heap::tick() {
  int64_t decay = decay_ms_;
  uint64_t now = os::nowMs(), last = last_tick_.loadRelaxed();
  uint64_t pause = decay < 80 ? 10 : static_cast<uint64_t>(decay) / 8;
  if (now - last < pause || !last_tick_.casRelaxed(last, now)) return;
  if (decay >= 0) {
    mheap.scavenge(static_cast<uint32_t>(now), static_cast<uint32_t>(decay), ~size_t{0});
  }
  reapCaches(now, 1000);
}

size_t Heap::reapCaches(uint64_t now_ms, uint64_t min_pause_ms) {
  uint64_t reaped = last_reap_.loadRelaxed();
  if (now_ms - reaped < min_pause_ms || caches.made() <= 1) return 0;
  if (!last_reap_.casRelaxed(reaped, now_ms)) return 0;
  return caches.reapDead([&](MCache& c) {
    if (c.acked.loadRelaxed() != epoch()) acknowledge(c);
    drain(c);
  });
}

// No slot that touches page p of s is handed out or cached.
bool Heap::pageIsFree(Span* s, uint32_t p) {
  uint32_t size = classSize(s->cls.loadRelaxed()), nelems = s->nelems.loadRelaxed();
  uint32_t from = p << kPageShift, to = from + static_cast<uint32_t>(kPageSize);
  uint32_t first = from / size, last = (to - 1) / size;
  if (base::planted(base::Plant::kPurgeLive) && last > first) last--;
  for (uint32_t i = first; i <= last && i < nelems; i++) {
    if ((s->freeBits()[i / 64].loadAcquire() >> (i % 64) & 1) == 0) return false;
  }
  return true;
}

// Closes and returns the pages of a span that no handed-out or cached slot touches.
size_t Heap::purgeSpan(Span* s) {
  if (s->nfree.loadRelaxed() <= 0 || s->slow.loadRelaxed() != 0) return 0;
  if (check_level_ > 0) return 0;  // the fill pattern of free slots has to stay
  size_t purged = 0;
  uint32_t npages = s->npages.loadRelaxed();
  for (uint32_t p = 0; p < npages; p++) {
    uint32_t from = p;
    for (; p < npages && s->isOpen(p) && pageIsFree(s, p); p++) {
      // Closed first: a second free of a slot here must not pass for a first one (INV-SPAN-4).
      setClassByte(s, p, kSlowByte);
      s->setOpen(p, false);
    }
    if (p == from) continue;
    Addr at = space.addrOf(s->page.loadRelaxed() + from);
    if (os::purge(at, size_t{p - from} << kPageShift)) {
      purged += p - from;
    } else {
      s->zero = 0;
    }
  }
  return purged;
}

size_t Heap::purgePartial() {
  if (!mheap.purgeWorks()) return 0;
  size_t pages = 0;
  for (size_t i = 1; i < kNumClasses; i++) {
    MCentral& m = central[i];
    os::Lock lock(m.mu);
    for (SpanId id = m.head; id != 0; id = space.span(id)->next) {
      Span* s = space.span(id);
      if (s->sweepgen.loadRelaxed() == sweepgen_.loadRelaxed()) pages += purgeSpan(s);
    }
  }
  mheap.notePurged(pages);
  return pages;
}

// Free pages of spans that nobody has taken from since the last look.
size_t Heap::purgeCold() {
  if (!mheap.purgeWorks()) return 0;
  size_t pages = 0;
  for (size_t i = 1; i < kNumClasses; i++) {
    MCentral& m = central[i];
    os::Lock lock(m.mu);
    for (SpanId id = m.head; id != 0; id = space.span(id)->next) {
      Span* s = space.span(id);
      int32_t free = s->nfree.loadRelaxed();
      bool cold = s->stamp != 0 && free >= static_cast<int32_t>(s->stamp);
      s->stamp = free > 0 ? static_cast<uint32_t>(free) : 0;
      if (cold && s->sweepgen.loadRelaxed() == sweepgen_.loadRelaxed()) pages += purgeSpan(s);
    }
  }
  mheap.notePurged(pages);
  return pages;
}

bool Heap::returnMemory(uint64_t now_ms, bool partial) {
  if (decay_ms_ < 0 || !mheap.purgeWorks()) return false;
  uint64_t age = static_cast<uint64_t>(decay_ms_);
  mheap.scavenge(static_cast<uint32_t>(now_ms), static_cast<uint32_t>(age), ~size_t{0});
  reapCaches(now_ms, 1000);
  bool more = mheap.dirtyPages() != 0;
  if (!partial) return more || flushed_.loadRelaxed() != 0;
  uint64_t flushed = flushed_.exchangeAcqRel(0);
  return purgeCold() != 0 || more || flushed != 0;
}

size_t Heap::trim(Trim how) {
  constexpr uint64_t kShare = 20;
  uint64_t begin = os::nowNs();
  size_t pages = 0;
  if (how == Trim::kAll || begin >= next_walk_ns_.loadRelaxed()) {
    reapCaches(begin / 1'000'000, 0);
    releaseEmpties(false);
    pages = purgePartial();
    uint64_t end = os::nowNs();
    next_walk_ns_.storeRelaxed(end + (end - begin) * kShare);
  }
  return pages + mheap.scavenge(static_cast<uint32_t>(os::nowMs()), 0, ~size_t{0});
}

}  // namespace graft::heap
