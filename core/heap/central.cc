// Slots between caches and spans: refill, flush, opening pages, giving slots back, and when a span
// changes list. See mcentral.h and span_bits.h for the protocol, span.h for the invariants.
#include "core/base/bits.h"
#include "core/base/check.h"
#include "core/heap/guard.h"
#include "core/heap/heap.h"
#include "core/heap/misuse.h"
#include "core/os/mem.h"

namespace graft::heap {

void Heap::list(Span* s, MCentral& m, bool front) {
  SpanId id = space.idOf(s);
  s->listed = 1;
  if (front || m.head == 0) {
    s->prev = 0;
    s->next = m.head;
    if (m.head != 0) space.span(m.head)->prev = id;
    m.head = id;
    if (m.tail == 0) m.tail = id;
  } else {
    s->next = 0;
    s->prev = m.tail;
    space.span(m.tail)->next = id;
    m.tail = id;
  }
}

void Heap::unlist(Span* s, MCentral& m) {
  if (s->prev != 0) {
    space.span(s->prev)->next = s->next;
  } else {
    m.head = s->next;
  }
  if (s->next != 0) {
    space.span(s->next)->prev = s->prev;
  } else {
    m.tail = s->prev;
  }
  s->next = s->prev = 0;
  s->listed = 0;
}

void Heap::setClassByte(Span* s, uint32_t page_index, uint8_t byte) {
  PageId first = s->page.loadRelaxed();
  space.map()[first + page_index].storeRelease(space.makeEntry(space.idOf(s), first, byte));
}

Span* Heap::newSpan(ClassId cls) {
  MCentral& m = central[cls];
  const ClassInfo& info = kClasses.info[cls];
  bool small = m.spans < 2 && mheap.processIsSmall();
  Span* s = mheap.allocSmall(cls, small ? info.first_pages : info.span_pages);
  if (s == nullptr && !small) s = mheap.allocSmall(cls, info.first_pages);
  if (s == nullptr) return nullptr;
  uint32_t nelems = s->nelems.loadRelaxed();
  s->sweepgen.storeRelaxed(sweepgen_.loadRelaxed());
  for (uint32_t w = 0; w < s->bitWords(); w++) {
    uint32_t rest = nelems - w * 64;
    Bits::give(s->freeBits()[w], base::maskBelow(rest));
  }
  Bits::account(s->nfree, static_cast<int32_t>(nelems), static_cast<int32_t>(nelems));
  m.spans++;
  m.empties++;
  s->flag = 1;
  list(s, m, true);
  return s;
}

// Makes a closed page hand out slots: every slot that starts on it is free, gets the key
// (INV-SPAN-4), and only then may free()'s fast path accept addresses of the page.
void Heap::openPage(Span* s, uint32_t page_index) {
  ClassId cls = s->cls.loadRelaxed();
  uint32_t size = classSize(cls), nelems = s->nelems.loadRelaxed();
  Addr base = space.addrOf(s->page.loadRelaxed());
  uint32_t from = page_index << kPageShift, to = from + static_cast<uint32_t>(kPageSize);
  uint32_t first = (from + size - 1) / size;
  for (uint32_t i = first; i * size < to && i <= nelems; i++) {
    // i == nelems: the unused tail, if there is one, must look freed as well.
    if (i == nelems && (size_t{i} * size + 16 > size_t{s->npages.loadRelaxed()} << kPageShift))
      break;
    uint64_t* slot = reinterpret_cast<uint64_t*>(base + size_t{i} * size);
    if (!base::planted(base::Plant::kNoKey)) slot[1] = keyOf(cls);
    if (check_level_ > 0 && i < nelems) fillFreed(slot, size);
  }
  s->setOpen(page_index, true);
  if (base::planted(base::Plant::kWrongClass)) cls = cls > 1 ? cls - 1 : 2;
  setClassByte(s, page_index, s->slow.loadRelaxed() != 0 ? kSlowByte : cls);
}

// Puts up to `want` slots of a span, lowest addresses first, below `end`, downwards.
uint32_t Heap::takeFrom(Span* s, void** end, uint32_t want) {
  ClassId cls = s->cls.loadRelaxed();
  uint32_t size = classSize(cls), words = s->bitWords(), got = 0, pages = s->npages.loadRelaxed();
  Addr base = space.addrOf(s->page.loadRelaxed());
  bool black = cycleActive();  // the fast path hands out what a refill brought
  bool all_open = s->open_pages.loadRelaxed() == base::maskBelow(pages);
  uint32_t w = s->cursor;
  for (uint32_t seen = 0; seen < words && got < want; seen++, w = w + 1 == words ? 0 : w + 1) {
    uint64_t bits = Bits::take(s->freeBits()[w], want - got);
    s->cursor = static_cast<uint8_t>(w);
    for (; bits != 0; bits &= bits - 1) {
      uint32_t index = w * 64 + base::lowestBit(bits);
      uint32_t offset = index * size, last = (offset + size - 1) >> kPageShift;
      for (uint32_t page = offset >> kPageShift; !all_open && page <= last; page++) {
        if (!s->isOpen(page)) openPage(s, page);
      }
      if (black) mark(s, index);
      got++;
      storeSlot(end - got, reinterpret_cast<void*>(base + offset));
    }
  }
  return got;
}

// Up to `want` slots of a class, from listed spans first. Class lock held.
uint32_t Heap::takeSlots(ClassId cls, void** end, uint32_t want, From from) {
  MCentral& m = central[cls];
  uint32_t n = 0;
  SpanId at = m.head;
  while (n < want) {
    Span* s = at != 0 ? space.span(at) : from == From::kAnywhere ? newSpan(cls) : nullptr;
    if (s == nullptr) break;
    at = s->next;
    if (s->sweepgen.loadRelaxed() != sweepgen_.loadRelaxed()) {
      if (!allAcknowledged()) continue;
      sweepLocked(s);
    }
    uint32_t t = takeFrom(s, end - n, want - n);
    m.empties -= s->flag;
    s->flag = 0;
    if (Bits::accountTaken(s->nfree, static_cast<int32_t>(t))) unlist(s, m);
    n += t;
  }
  return n;
}

// Pushes up to `want` slots onto the empty stack of class cls; returns how many.
uint32_t Heap::refill(MCache& c, ClassId cls, uint32_t want, From from) GRAFT_NO_LOCK_ANALYSIS {
  bool locked = !base::planted(base::Plant::kUnlockedRefill);
  // Lowest address on top: slots go out in address order, so pages are first touched in order.
  void** first = c.floor(cls) + 1;
  if (locked) central[cls].mu.lock();
  uint32_t n = takeSlots(cls, first + want, want, from);
  if (locked) central[cls].mu.unlock();
  for (uint32_t i = 0; n < want && i < n; i++) storeSlot(first + i, first[want - n + i]);
  c.setTop(cls, c.floor(cls) + n);
  return n;
}

// The span of a slot that lies in a cache; null when the slot was freed twice, and after the first
// time its span went back or was cut anew.
Span* Heap::spanOfSlot(ClassId cls, Addr a) {
  uint64_t e = space.entry(space.pageOf(a));
  Span* s = e != 0 ? space.spanOfEntry(e) : nullptr;
  if (s == nullptr || s->state.loadRelaxed() != SpanState::kSmall || s->cls.loadRelaxed() != cls)
    return nullptr;
  return s;
}

Span* Heap::spanOfCached(ClassId cls, Addr a) {
  Span* s = spanOfSlot(cls, a);
  if (__builtin_expect(s == nullptr, 0))
    reportMisuse(*this, "free", reinterpret_cast<void*>(a), "double free (found at flush)");
  return s;
}

// Gives back some slots of one word of a span that is known to be swept and not slow; returns how
// many there were, for settle().
uint32_t Heap::giveBack(Span* s, uint64_t mask, uint32_t word) {
  uint64_t twice = Bits::give(s->freeBits()[word], mask);
  if (__builtin_expect(twice != 0, 0)) {
    uint32_t index = word * 64 + base::lowestBit(twice);
    Addr a = space.addrOf(s->page.loadRelaxed()) + size_t{index} * classSize(s->cls.loadRelaxed());
    reportMisuse(*this, "free", reinterpret_cast<void*>(a), "double free (found at flush)");
    mask &= ~twice;
  }
  return base::popcount(mask);
}

// Accounts for k slots that were given back, then with the class lock: look again, list or release.
void Heap::settle(Span* s, ClassId cls, uint32_t k) {
  if (k == 0) return;
  Bits::Effect effect = Bits::account(s->nfree, static_cast<int32_t>(k),
                                      static_cast<int32_t>(s->nelems.loadRelaxed()));
  if (!effect.became_partial && !effect.maybe_empty) return;
  MCentral& m = central[cls];
  os::Lock lock(m.mu);
  // Between account() and the lock the span may have been released, even cut anew. Spans enter
  // and leave a class only under its lock, so this check decides it.
  if (s->state.loadRelaxed() != SpanState::kSmall || s->cls.loadRelaxed() != cls) return;
  if (s->listed == 0 && s->nfree.loadRelaxed() > 0) list(s, m, false);
  if (effect.maybe_empty) releaseIfEmpty(s, m, true);
}

// Returns a span with no slot handed out to mheap; one per class is kept against flutter.
bool Heap::releaseIfEmpty(Span* s, MCentral& m, bool keep_one) {
  if (s->nfree.loadRelaxed() != static_cast<int32_t>(s->nelems.loadRelaxed())) return false;
  if (cycleActive() && !base::planted(base::Plant::kReshapeInCycle))
    return false;  // HZ-SPAN: endCycle() comes back for it
  if (keep_one && m.empties == 0) {
    m.empties = s->flag = 1;
    return false;
  }
  m.empties -= s->flag;
  m.spans--;
  // Flushers raise nfree without the lock: the span may have become empty after the caller looked
  // whether to list it.
  if (s->listed != 0) unlist(s, m);
  mheap.freeSmall(s);
  return true;
}

// Returns all spans without a slot handed out to mheap; keep_kept: but those kept against flutter.
void Heap::releaseEmpties(bool keep_kept) {
  for (size_t i = 1; i < kNumClasses; i++) {
    MCentral& m = central[i];
    os::Lock lock(m.mu);
    for (SpanId id = m.head; id != 0;) {
      Span* s = space.span(id);
      id = s->next;
      releaseIfEmpty(s, m, keep_kept && s->flag != 0);
    }
  }
}

void Heap::flush(ClassId cls, void** slots, uint32_t n) {
  if (base::planted(base::Plant::kLostFree) && n > 1) n--;
  Span* s = nullptr;
  Addr base = 0;
  size_t bytes = 0;  // of s, whose shape stays while we hold a slot of it
  uint32_t word = 0, given = 0;
  uint64_t mask = 0;
  for (uint32_t i = 0; i < n; i++) {
    Addr a = reinterpret_cast<Addr>(slots[i]);
    bool other_span = a - base >= bytes;
    if (other_span) {
      if (s != nullptr) settle(s, cls, given + giveBack(s, mask, word));
      s = spanOfCached(cls, a);
      bytes = 0;
      if (__builtin_expect(s == nullptr, 0)) continue;
      base = space.addrOf(s->page.loadRelaxed());
      bytes = size_t{s->npages.loadRelaxed()} << kPageShift;
      given = 0;
    }
    uint32_t index = slotIndex(cls, static_cast<uint32_t>(a - base));
    uint64_t bit = uint64_t{1} << (index % 64);
    if (!other_span && (index / 64 != word || (mask & bit) != 0)) {
      given += giveBack(s, mask, word);
      mask = 0;
    }
    if (other_span) mask = 0;
    word = index / 64;
    mask |= bit;
  }
  if (s != nullptr) settle(s, cls, given + giveBack(s, mask, word));
}

// Gives the oldest n slots of a class back.
void Heap::flushCache(MCache& c, ClassId cls, uint32_t n) {
  void** first = c.floor(cls) + 1;
  size_t have = c.count(cls);
  flush(cls, first, n);
  for (size_t i = n; i < have; i++) storeSlot(&first[i - n], first[i]);
  c.setTop(cls, c.top[cls] - n);
  c.flushes++;
  c.flushed_bytes += size_t{n} * classSize(cls);
  if (c.flushed_bytes < 64_KiB) return;
  flushed_.fetchAddRelaxed(c.flushed_bytes);
  c.flushed_bytes = 0;
}

void Heap::drain(MCache& c) {
  for (size_t i = 1; i < kNumClasses; i++) {
    ClassId cls = static_cast<ClassId>(i);
    if (size_t n = c.count(cls); n != 0) flushCache(c, cls, static_cast<uint32_t>(n));
  }
  base::threadMayEnd(&c);
}

}  // namespace graft::heap
