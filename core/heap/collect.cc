// The heap's half of the contract with the collector: mark bits, blackened caches, the slow class
// byte with its acknowledgement (HZ-FREE), sweeping by generation, and spans that keep their shape
// while a cycle is active (HZ-SPAN). See heap.h for the order of the calls. The collector calls
// these from its workers and from a stopped world.
#include "core/base/bits.h"
#include "core/base/check.h"
#include "core/heap/guard.h"
#include "core/heap/heap.h"

namespace graft::heap {

bool Heap::mark(Span* s, uint32_t index) {
  if (index / 64 >= s->words) return false;
  uint64_t bit = uint64_t{1} << (index % 64);
  return (s->markBits()[index / 64].fetchOrRelaxed(bit) & bit) == 0;
}

bool Heap::isMarked(Span* s, uint32_t index) {
  return (s->markBits()[index / 64].loadRelaxed() >> (index % 64) & 1) != 0;
}

void Heap::allocateBlack(void* p) {
  BlockInfo b = classify(p);
  if (b.span == nullptr) return;
  // After marking, only unswept spans still read their mark bits.
  bool unswept = b.span->sweepgen.loadRelaxed() != sweepgen_.loadRelaxed();
  if (phase() == Phase::kMarking || unswept) mark(b.span, b.index);
}

void Heap::beginCycle() {
  GRAFT_CHECK(!cycleActive());
  forEachSpan([&](Span* s) {
    SpanState state = s->state.loadRelaxed();
    if (state != SpanState::kSmall && state != SpanState::kLarge) return;
    for (uint32_t w = 0; w < s->bitWords(); w++) s->markBits()[w].storeRelaxed(0);
  });
  phase_.storeRelease(static_cast<uint32_t>(Phase::kMarking));
}

// Slots in caches are neither free nor the program's: black for this cycle. Reads the stacks only.
void Heap::blackenCaches() {
  caches.forEach([&](MCache& c) {
    for (size_t i = 1; i < kNumClasses; i++) {
      ClassId cls = static_cast<ClassId>(i);
      c.forEachSlot(cls, [&](void* slot) {
        Addr a = reinterpret_cast<Addr>(slot);
        Span* s = spanOfSlot(cls, a);
        if (s == nullptr) return;
        size_t off = a - space.addrOf(s->page.loadRelaxed());
        mark(s, slotIndex(cls, static_cast<uint32_t>(off)));
      });
    }
  });
}

void Heap::finishMark(SweepMode mode) GRAFT_NO_LOCK_ANALYSIS {
  // What was refilled or freed while marking lies white in caches, and may be handed out once more
  // before its cache acknowledges.
  blackenCaches();
  sweep_mode_.storeRelaxed(static_cast<uint32_t>(mode));
  if (mode == SweepMode::kReclaim) {
    reclaimed_.storeRelaxed(1);
    caches.forEach([](MCache& c) { c.reads_freed = 1; });
  }
  white_found_.storeRelaxed(0);
  for (size_t i = 1; i < kNumClasses; i++) central[i].mu.lock();
  forEachSpan([&](Span* s) GRAFT_NO_LOCK_ANALYSIS {
    if (s->state.loadRelaxed() != SpanState::kSmall) return;
    s->slow.storeRelease(1);
    for (uint32_t p = 0; p < s->npages.loadRelaxed(); p++) setClassByte(s, p, kSlowByte);
  });
  sweepgen_.storeRelease(sweepgen_.loadRelaxed() + 1);
  epoch_.storeRelease(epoch_.loadRelaxed() + 1);  // [ACK-A]
  phase_.storeRelease(static_cast<uint32_t>(Phase::kSweeping));
  for (size_t i = kNumClasses - 1; i >= 1; i--) central[i].mu.unlock();
}

// [ACK-A] The owner of c, or whoever has stopped it outside libgraft: c gives up what it holds of
// slow spans. From then on free() of such a slot cannot reach c's stacks, for the class bytes were
// changed before the epoch was.
void Heap::acknowledge(MCache& c) {
  uint32_t now = epoch();
  for (size_t i = 1; i < kNumClasses; i++) {
    ClassId cls = static_cast<ClassId>(i);
    void** keep = c.floor(cls);
    for (void** at = keep + 1; at <= c.top[cls]; at++) {
      Addr a = reinterpret_cast<Addr>(*at);
      Span* s = spanOfCached(cls, a);
      if (s == nullptr) continue;
      if (s->slow.loadAcquire() == 0 || base::planted(base::Plant::kAckKeepsSlots)) {
        storeSlot(++keep, *at);
        continue;
      }
      uint32_t off = static_cast<uint32_t>(a - space.addrOf(s->page.loadRelaxed()));
      uint32_t index = slotIndex(cls, off);
      settle(s, cls, giveBack(s, uint64_t{1} << (index % 64), index / 64));
    }
    c.setTop(cls, keep);
  }
  c.acked.storeRelease(now);
}

bool Heap::allAcknowledged() {
  uint32_t now = epoch();
  bool all = true;
  caches.forEach([&](MCache& c) {
    if (c.owner_tp.loadRelaxed() != 0 && c.acked.loadAcquire() != now) all = false;
  });
  return all;
}

// Class lock held. White slots that are neither free nor cached are leaked: counted, and in
// reclaim mode freed. Open pages get their class byte back, so that frees are fast again.
uint32_t Heap::sweepLocked(Span* s) {
  uint32_t gen = sweepgen_.loadAcquire();
  if (s->sweepgen.loadRelaxed() == gen) return 0;
  bool skip = base::planted(base::Plant::kSweepSkipped);
  bool reclaim = sweep_mode_.loadRelaxed() == static_cast<uint32_t>(SweepMode::kReclaim);
  ClassId cls = s->cls.loadRelaxed();
  uint32_t white = 0, nelems = s->nelems.loadRelaxed(), size = classSize(cls);
  Addr base = space.addrOf(s->page.loadRelaxed());
  for (uint32_t w = 0; w < s->bitWords() && !skip; w++) {
    uint64_t live = s->freeBits()[w].loadAcquire() | s->markBits()[w].loadRelaxed();
    uint64_t lost = ~live & base::maskBelow(nelems - w * 64);
    s->markBits()[w].storeRelaxed(0);
    if (lost == 0) continue;
    white += base::popcount(lost);
    if (!reclaim) continue;
    for (uint64_t rest = lost; rest != 0; rest &= rest - 1) {
      Addr a = base + size_t{w * 64 + base::lowestBit(rest)} * size;
      uint64_t* slot = reinterpret_cast<uint64_t*>(a);
      slot[1] = keyOf(cls);
      if (check_level_ > 0) fillFreed(slot, size);
    }
    Bits::give(s->freeBits()[w], lost);
    Bits::account(s->nfree, static_cast<int32_t>(base::popcount(lost)),
                  static_cast<int32_t>(nelems));
  }
  if (s->listed == 0 && s->nfree.loadRelaxed() > 0) list(s, central[cls], false);
  white_found_.fetchAddRelaxed(white);
  s->sweepgen.storeRelease(gen);
  s->slow.storeRelease(0);
  for (uint32_t p = 0; p < s->npages.loadRelaxed(); p++) {
    if (s->isOpen(p)) setClassByte(s, p, cls);
  }
  return white;
}

uint32_t Heap::sweepSpan(Span* s) {
  ClassId cls = s->cls.loadRelaxed();
  if (s->state.loadRelaxed() != SpanState::kSmall) return 0;
  os::Lock lock(central[cls].mu);
  return sweepLocked(s);
}

uint64_t Heap::sweepAll() {
  GRAFT_CHECK(phase() == Phase::kSweeping && allAcknowledged());
  // Shapes stay during the cycle, so the walk needs the page-heap lock for one step only.
  bool reclaim = sweep_mode_.loadRelaxed() == static_cast<uint32_t>(SweepMode::kReclaim);
  uint64_t white = 0;
  size_t end = space.limit() >> kPageShift;
  for (size_t p = 1; p < end; p++) {
    uint64_t e = space.entry(static_cast<PageId>(p));
    if (e == 0) continue;
    Span* s = space.spanOfEntry(e);
    if (s->page.loadRelaxed() != p) continue;
    white += sweepSpan(s);
    if (reclaim && s->state.loadRelaxed() == SpanState::kLarge && !isMarked(s, 0)) {
      mheap.freeLarge(s, static_cast<PageId>(p), static_cast<uint32_t>(os::nowMs()));
    }
  }
  return white;
}

void Heap::endCycle() {
  phase_.storeRelease(static_cast<uint32_t>(Phase::kIdle));
  releaseEmpties(true);
}

}  // namespace graft::heap
