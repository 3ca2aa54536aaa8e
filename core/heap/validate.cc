// Walks the whole heap and checks the numbered invariants of span.h. For a quiescent heap: tests
// and the stress programs call it between rounds. Takes every lock it needs, one at a time.
#include "core/base/bits.h"
#include "core/heap/heap.h"

namespace graft::heap {

const char* Heap::validateSpan(Span* s) {
  ClassId cls = s->cls.loadRelaxed();
  if (cls == 0 || cls >= kNumClasses) return "span has no class";
  uint32_t nelems = s->nelems.loadRelaxed(), size = classSize(cls), free = 0;
  Addr base = space.addrOf(s->page.loadRelaxed());
  if (size_t{nelems} * size > size_t{s->npages.loadRelaxed()} << kPageShift)
    return "slots exceed span";
  if (s->words * 64 < nelems) return "bit arrays too short";
  for (uint32_t w = 0; w < s->words; w++) {
    uint64_t bits = s->freeBits()[w].loadRelaxed();
    uint64_t allowed = w * 64 >= nelems ? 0 : base::maskBelow(nelems - w * 64);
    if ((bits & ~allowed) != 0) return "INV-SPAN-3: free bits beyond the last slot";
    free += base::popcount(bits);
    for (; bits != 0; bits &= bits - 1) {
      uint32_t offset = (w * 64 + base::lowestBit(bits)) * size;
      bool open = s->isOpen(offset >> kPageShift);
      if (open && reinterpret_cast<uint64_t*>(base + offset)[1] != keyOf(cls)) {
        return "INV-SPAN-4: free slot without key (written to after free?)";
      }
    }
    for (uint64_t used = allowed & ~s->freeBits()[w].loadRelaxed(); used != 0; used &= used - 1) {
      uint32_t page = ((w * 64 + base::lowestBit(used)) * size) >> kPageShift;
      if (!s->isOpen(page)) return "INV-SPAN-5: slot in use on a closed page";
    }
  }
  if (s->nfree.loadRelaxed() != static_cast<int32_t>(free))
    return "INV-SPAN-2: nfree is not the number of free bits";
  if ((s->listed != 0) != (free != 0)) return "INV-SPAN-6: listed is not (nfree > 0)";
  for (uint32_t p = 0; p < s->npages.loadRelaxed(); p++) {
    uint8_t byte = static_cast<uint8_t>(space.entry(s->page.loadRelaxed() + p));
    bool fast = s->isOpen(p) && s->slow.loadRelaxed() == 0;
    if (byte != (fast ? cls : kSlowByte)) return "class byte does not fit the page";
  }
  return nullptr;
}

const char* Heap::validate() {
  const char* bad = nullptr;
  uint32_t spans[kNumClasses] = {}, listed[kNumClasses] = {};
  {
    os::Lock lock(mheap.mutex());
    bad = mheap.validateLocked();
    if (bad == nullptr) {
      mheap.forEachSpanLocked([&](Span* s) {
        if (s->state.loadRelaxed() != SpanState::kSmall || bad != nullptr) return;
        bad = validateSpan(s);
        if (bad != nullptr) return;
        spans[s->cls.loadRelaxed()]++;
        listed[s->cls.loadRelaxed()] += s->listed != 0;
      });
    }
  }
  for (size_t i = 1; i < kNumClasses && bad == nullptr; i++) {
    MCentral& m = central[i];
    os::Lock lock(m.mu);
    uint32_t on_list = 0, empties = 0;
    SpanId prev = 0;
    for (SpanId id = m.head; id != 0; prev = id, id = space.span(id)->next) {
      Span* s = space.span(id);
      if (s->prev != prev || s->cls.loadRelaxed() != i) return "central list is broken";
      on_list++;
      empties += s->flag;
    }
    if (m.tail != prev) bad = "central list: wrong tail";
    if (on_list != listed[i]) bad = "central list: a listed span is missing";
    if (m.spans != spans[i]) bad = "central list: span count is wrong";
    if (m.empties != empties) bad = "central list: count of kept empty spans is wrong";
  }
  if (bad != nullptr) return bad;
  caches.forEach([&](MCache& c) {
    for (size_t i = 1; i < kNumClasses; i++) {
      ClassId cls = static_cast<ClassId>(i);
      if (c.top[cls] < c.floor(cls) || c.count(cls) > kClasses.info[cls].cache_max)
        bad = "cache: top out of range";
      for (void** at = c.floor(cls) + 1; at <= c.top[cls]; at++) {
        ObjectRef o;
        Addr a = reinterpret_cast<Addr>(*at);
        if (!findObject(a, &o) || o.base != a) {
          bad = "cache: entry is no slot";
        } else if (o.span->cls.loadRelaxed() != cls) {
          bad = "cache: slot of another class";
        } else if (o.allocated ||
                   (o.span->freeBits()[o.index / 64].loadRelaxed() >> (o.index % 64) & 1) != 0) {
          bad = "cache: slot is also free in its span, or has lost its key";
        }
      }
    }
  });
  return bad;
}

}  // namespace graft::heap
