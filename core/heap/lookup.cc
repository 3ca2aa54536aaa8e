// From an address to what it is: classify() for free(), realloc() and reports, findObject() for
// markers. Lock-free; safe while other threads allocate, free, cut spans anew and return memory,
// because records are type-stable and shapes are read under seq [SPAN-A].
#include "core/base/bits.h"
#include "core/heap/heap.h"
#include "core/heap/span_bits.h"

namespace graft::heap {
namespace {

struct Shape {
  SpanState state;
  ClassId cls;
  PageId page;
  uint32_t npages;
  uint32_t nelems;
  bool free_bit;
  uint32_t index;
  uint32_t offset;  // within the slot
};

// One consistent view of the span that page-map entry e names, as seen from page offset `off`
// of the reservation. False: changing, or the span does not cover the page.
bool readSpan(Span* s, size_t off, Shape* out) {
  return readShape<base::RealAtom>(s->seq, [&] {
    Shape& v = *out;
    v.state = s->state.loadRelaxed();
    v.cls = s->cls.loadRelaxed();
    v.page = s->page.loadRelaxed();
    v.npages = s->npages.loadRelaxed();
    v.nelems = s->nelems.loadRelaxed();
    PageId p = static_cast<PageId>(off >> kPageShift);
    if (p < v.page || p - v.page >= v.npages) return false;
    size_t in_span = off - (size_t{v.page} << kPageShift);
    v.index = 0;
    v.offset = 0;
    v.free_bit = false;
    if (v.state != SpanState::kSmall || v.cls == 0 || v.cls >= kNumClasses) return true;
    v.index = slotIndex(v.cls, static_cast<uint32_t>(in_span));
    v.offset = static_cast<uint32_t>(in_span) - v.index * classSize(v.cls);
    if (v.index < v.nelems && v.index / 64 < s->words) {
      v.free_bit = (s->freeBits()[v.index / 64].loadAcquire() >> (v.index % 64) & 1) != 0;
    }
    return true;
  });
}

}  // namespace

bool Heap::isCached(const void* p, ClassId cls) {
  bool found = false;
  caches.forEach([&](MCache& c) {
    // Racy on purpose. A slot that the caller holds was popped before the caller got it, so its
    // entry is above that cache's top; a slot that is free somewhere is below one.
    c.forEachSlot(cls, [&](void* slot) { found |= slot == p; });
  });
  return found;
}

BlockInfo Heap::classify(const void* ptr) {
  Addr a = reinterpret_cast<Addr>(ptr);
  BlockInfo b;
  size_t off = a - space.base();
  if (off >= space.reservedBytes()) return b;
  if (off >= space.limit()) {
    if (!space.growsByMapping()) b.kind = AddrKind::kFreePages;
    return b;
  }
  uint64_t e = space.entry(static_cast<PageId>(off >> kPageShift));
  b.kind = space.growsByMapping() && e == 0 ? AddrKind::kForeign : AddrKind::kFreePages;
  if (e == 0) return b;
  Span* s = space.spanOfEntry(e);
  Shape v;
  if (!readSpan(s, off, &v)) return b;
  b.span = s;
  if (v.state == SpanState::kLarge) {
    b.base = space.addrOf(v.page);
    b.size = size_t{v.npages} << kPageShift;
    b.kind = a == b.base ? AddrKind::kLarge : AddrKind::kInterior;
    return b;
  }
  if (v.state != SpanState::kSmall) return b;
  b.cls = v.cls;
  b.index = v.index;
  b.size = classSize(v.cls);
  b.base = space.addrOf(v.page) + size_t{v.index} * b.size;
  uint32_t page = static_cast<uint32_t>((b.base - space.addrOf(v.page)) >> kPageShift);
  if (v.index >= v.nelems) {
    b.kind = AddrKind::kTail;
  } else if (v.free_bit || !s->isOpen(page)) {
    b.kind = AddrKind::kFreeSlot;
  } else if (v.offset != 0) {
    b.kind = AddrKind::kInterior;
  } else {
    // The key is only a hint: the program may have copied it. Being in a cache is the proof.
    uint64_t second;
    base::copyBytes(&second, reinterpret_cast<const char*>(a) + 8, 8);
    bool cached = second == keyOf(v.cls) && isCached(ptr, v.cls);
    b.kind = cached ? AddrKind::kFreeSlot : AddrKind::kSmall;
  }
  return b;
}

bool Heap::findObject(Addr a, ObjectRef* out) {
  size_t off = a - space.base();
  if (off >= space.limit()) return false;
  uint64_t e = space.entry(static_cast<PageId>(off >> kPageShift));
  if (e == 0) return false;
  Span* s = space.spanOfEntry(e);
  Shape v;
  if (!readSpan(s, off, &v)) return false;
  out->span = s;
  if (v.state == SpanState::kLarge) {
    *out = {space.addrOf(v.page), size_t{v.npages} << kPageShift, s, 0, true};
    return true;
  }
  if (v.state != SpanState::kSmall || v.index >= v.nelems) return false;
  uint32_t size = classSize(v.cls);
  Addr base = space.addrOf(v.page) + size_t{v.index} * size;
  uint32_t page = static_cast<uint32_t>((base - space.addrOf(v.page)) >> kPageShift);
  bool closed = !s->isOpen(page);
  bool allocated = !v.free_bit && !closed;
  if (allocated) {
    uint64_t second;  // copied by one instruction: the owner may be writing it
    base::copyBytes(&second, reinterpret_cast<const char*>(base) + 8, 8);
    if (second == keyOf(v.cls) && isCached(reinterpret_cast<void*>(base), v.cls)) allocated = false;
  }
  *out = {base, size, s, v.index, allocated};
  return true;
}

}  // namespace graft::heap
