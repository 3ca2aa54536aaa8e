// Walks over white objects; see leaks.h. An object is indirect as soon as one other white object
// points to it, so one pass over their words decides it, without following chains: whoever is
// reachable from another white object is pointed to by one.
#include "core/gc/leaks.h"

#include "core/base/bits.h"
#include "core/os/mem.h"
#include "core/os/sys.h"

namespace graft::gc {

using heap::Span;
using heap::SpanState;

bool ObjectBits::init(const heap::AddressSpace& space) {
  heap_ = space.base();
  bytes_ = roundUp(space.reservedBytes() / 128, kOsPage);
  at_ = os::reserve(bytes_, 0);
  return at_ != 0 && os::commit(at_, bytes_);
}

void ObjectBits::clear(const heap::AddressSpace& space) {
  size_t used = roundUp(space.limit() / 128 + 8, kOsPage);
  if (os::purge(at_, used < bytes_ ? used : bytes_)) return;
  base::fillBytes(reinterpret_cast<void*>(at_), 0, used < bytes_ ? used : bytes_);
}

bool Leaks::init(heap::Heap& heap, SiteLeaks* table) {
  table_ = table;
  return white_.init(heap.space) && pointed_.init(heap.space);
}

template <class F>
void Leaks::forEachWhite(heap::Heap& heap, F f) {
  heap.forEachSpan([&](Span* s) {
    Addr at = heap.space.addrOf(s->page.loadRelaxed());
    SpanState state = s->state.loadRelaxed();
    if (state == SpanState::kLarge && !heap::Heap::isMarked(s, 0)) {
      f(at, size_t{s->npages.loadRelaxed()} << kPageShift);
    }
    if (state != SpanState::kSmall) return;
    size_t size = heap::classSize(s->cls.loadRelaxed());
    uint32_t nelems = s->nelems.loadRelaxed();
    for (uint32_t w = 0; w < s->bitWords(); w++) {
      uint64_t live = s->markBits()[w].loadRelaxed() | s->freeBits()[w].loadRelaxed();
      uint64_t lost = ~live & base::maskBelow(nelems - w * 64);
      for (; lost != 0; lost &= lost - 1) {
        f(at + (size_t{w} * 64 + base::lowestBit(lost)) * size, size);
      }
    }
  });
}

void Leaks::noteWords(heap::Heap& heap, Addr object, const uint64_t* from, size_t n,
                      Filter filter) {
  constexpr size_t kBatch = 64;
  uint64_t hits[kBatch];
  while (n != 0) {
    size_t some = n < kBatch ? n : kBatch;
    size_t k = filter(from, some, heap.space.base(), heap.space.limit(), hits);
    for (size_t i = 0; i < k; i++) {
      heap::ObjectRef o;
      if (heap.findObject(hits[i], &o) && o.base != object && white_.has(o.base)) {
        pointed_.set(o.base);
      }
    }
    from += some;
    n -= some;
  }
}

void Leaks::notePointers(heap::Heap& heap, Addr object, size_t size,
                         const Marker::Shared& marking) {
  if (size <= heap::kMaxSmall && !marking.roots->oddHeap(object, object + size)) {
    return noteWords(heap, object, reinterpret_cast<uint64_t*>(object), size / 8, marking.filter);
  }
  marking.pages->forEach(object, object + size, [&](const PageRun& run) {
    uint64_t page[kOsPage / 8];
    for (Addr a = run.from; a < run.to; a += kOsPage) {
      long got = os::sys(SYS_pread64, marking.mem_fd, os::arg(page), kOsPage, static_cast<long>(a));
      if (os::failed(got)) continue;
      noteWords(heap, object, page, static_cast<size_t>(got) / 8, marking.filter);
    }
  });
}

Leaks::Totals Leaks::find(heap::Heap& heap, uint32_t cycle, bool by_site,
                          const Marker::Shared& marking) {
  Totals t;
  white_.clear(heap.space);
  forEachWhite(heap, [&](Addr object, size_t size) {
    white_.set(object);
    t.objects++;
    t.bytes += size;
  });
  if (!by_site) return t;
  pointed_.clear(heap.space);
  for (size_t i = 0; i < kSites; i++) {
    SiteLeaks& s = table_[i];
    s.objects = s.bytes = s.direct_objects = s.direct_bytes = 0;
  }
  forEachWhite(heap, [&](Addr object, size_t size) { notePointers(heap, object, size, marking); });
  forEachWhite(heap, [&](Addr object, size_t size) {
    SiteLeaks& s = table_[heap.siteOf(reinterpret_cast<void*>(object))];
    bool direct = !pointed_.has(object);
    s.objects++;
    s.bytes += size;
    s.direct_objects += direct ? 1 : 0;
    s.direct_bytes += direct ? size : 0;
  });
  for (size_t i = 0; i < kSites; i++) {
    SiteLeaks& s = table_[i];
    if (s.objects == 0) {
      s.first_cycle = 0;
      continue;
    }
    if (s.first_cycle == 0) s.first_cycle = cycle;
    s.oldest = cycle - s.first_cycle;
    s.newest = 0;
  }
  return t;
}

bool Leaks::freed(heap::Heap& heap, Addr object) {
  if (!white_.take(object)) return false;
  late_frees_.fetchAddRelaxed(1);
  table_[heap.siteOf(reinterpret_cast<void*>(object))].late_frees++;
  return true;
}

}  // namespace graft::gc
