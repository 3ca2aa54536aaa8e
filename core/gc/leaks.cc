// Walks over white objects; see leaks.h. An object is indirect as soon as one other white object
// points to it, so one pass over their words decides it, without following chains: whoever is
// reachable from another white object is pointed to by one.
#include "core/gc/leaks.h"

namespace graft::gc {

bool Leaks::init(heap::Heap& heap, SiteLeaks* table) {
  heap_ = &heap;
  table_ = table;
  return white_[0].init(heap.space) && white_[1].init(heap.space) && pointed_.init(heap.space) &&
         records_.init(heap.space);
}

void Leaks::noteWords(Addr object, const uint64_t* from, size_t n, Filter filter) {
  constexpr size_t kBatch = 64;
  uint64_t hits[kBatch];
  while (n != 0) {
    size_t some = n < kBatch ? n : kBatch;
    size_t k = filter(from, some, heap_->space.base(), heap_->space.limit(), hits);
    for (size_t i = 0; i < k; i++) {
      heap::ObjectRef o;
      if (heap_->findObject(hits[i], &o) && o.base != object && whites().has(o.base)) {
        pointed_.set(o.base);
      }
    }
    from += some;
    n -= some;
  }
}

void Leaks::noteAges(uint32_t cycle) {
  auto note = [&](SiteLeaks& s, uint32_t age) {
    if (age > s.oldest) s.oldest = age;
    if (age < s.newest) s.newest = age;
  };
  forEachWhite(*heap_, [&](const White& w) {
    SiteLeaks& s = table_[heap_->siteOf(reinterpret_cast<void*>(w.at))];
    bool direct = !pointed_.has(w.at);
    s.objects++;
    s.bytes += w.size;
    s.direct_objects += direct ? 1 : 0;
    s.direct_bytes += direct ? w.size : 0;
    note(s, (cycle - records_.of(w.at).birth) % Record::kBirths);
  });
}

bool Leaks::find(uint32_t cycle, bool by_site, const Marker::Shared& marking, Totals& t) {
  if (!records_.fit(heap_->space)) return false;
  now_ ^= 1;
  const ObjectBits& before = white_[now_ ^ 1];
  whites().clear(heap_->space);
  forEachWhite(*heap_, [&](const White& w) {
    whites().set(w.at);
    t.objects++;
    t.bytes += w.size;
    if (!before.has(w.at)) {
      records_.of(w.at) = {};
      records_.of(w.at).birth = cycle % Record::kBirths;
    }
  });
  if (!by_site) return true;
  pointed_.clear(heap_->space);
  for (size_t i = 0; i < kSites; i++) {
    SiteLeaks& s = table_[i];
    s.objects = s.bytes = s.direct_objects = s.direct_bytes = 0;
    s.oldest = 0;
    s.newest = ~0u;
  }
  forEachWhite(*heap_, [&](const White& w) {
    forEachPiece(w.at, w.size, marking,
                 [&](const uint64_t* from, size_t n) { noteWords(w.at, from, n, marking.filter); });
  });
  noteAges(cycle);
  return true;
}

bool Leaks::named(Addr object, Pardon why) {
  if (!whites().take(object)) return false;
  pardon(heap_->siteOf(reinterpret_cast<void*>(object)), why);
  return true;
}

bool Leaks::freed(Addr object) {
  if (!named(object, Pardon::kFreed)) return false;
  countLateFree(heap_->siteOf(reinterpret_cast<void*>(object)));
  return true;
}

}  // namespace graft::gc
