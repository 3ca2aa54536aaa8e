// Model of the acknowledgement of HZ-FREE [ACK-A]: the collector makes a span slow, moves the epoch
// and waits until every cache has acknowledged; only then may it sweep the span. Mirrors
// Heap::finishMark, acknowledge, freeSmall, allAcknowledged and sweepLocked (core/heap/collect.cc,
// alloc.cc): change both together. Bits and counts are the production templates of span_bits.h.
//
// The fast free reads the class byte, then pushes into its own cache, with no atomic operation and
// nothing that keeps the two together but its own thread's program order: a thread can sleep in
// between for as long as it likes. An allocation pops from the cache.
//
// Checked in every schedule: once all have acknowledged, no cache holds a slot of the span and none
// can get one before it is swept; no slot is handed out twice. That holds for white slots too,
// which a hidden pointer frees between mark termination and sweep, if the free begins before its
// thread acknowledges: so the slow free gives its slot first and acknowledges then. One that begins
// later can lose against the sweep, as any free after the sweep does; the last test shows it, and
// the ladder's suspects and quarantine are there for it.
#include <gtest/gtest.h>

#include <memory>

#include "core/heap/span_bits.h"
#include "tests/model/checker.h"

namespace graft::model {
namespace {

enum class Fault {
  kNone,
  kEpochFirst,  // the epoch moves before the class byte
  kAckKeepsSlots,  // an acknowledgement does not flush
  kAckBeforeFlush,  // an acknowledgement is visible before the flush that it promises
  kAckInFree,  // the slow free acknowledges with its slot still in its hands
  kNoWait,  // the collector does not wait for the acknowledgements
  kWaitsForOne,  // ... or for one cache only
  kFreeIgnoresSlow  // the slow free pushes into the cache as well
};

constexpr int kThreads = 2;
constexpr int kSlots = 3;

using Bits = heap::SpanBits<ModelAtom>;

template <Fault kFault>
struct Heap {
  // One span of three slots, one class.
  Atomic<uint8_t> class_byte{1};
  Atomic<uint32_t> slow, epoch;
  Bits::Word bits;
  Bits::Count nfree;
  ModelMutex mu;
  ModelVar<int> swept{1};

  // Owner only; Ghost, because the checks look into it.
  struct Cache {
    Ghost<uint64_t> slots;
    Atomic<uint32_t> acked;
  } caches[kThreads];

  uint64_t marked = 0;  // black slots
  Ghost<uint64_t> out;  // slots that the program holds, hidden pointers included
  Ghost<int> all_acknowledged;  // the collector has seen it, and the span is not swept yet

  Heap() {
    label(class_byte, "class byte");
    label(slow, "slow");
    label(epoch, "epoch");
    label(bits, "bits");
    label(nfree, "nfree");
    label(mu, "class lock");
    label(caches[0].slots, "cache0");
    label(caches[1].slots, "cache1");
    label(caches[0].acked, "acked0");
    label(caches[1].acked, "acked1");
    label(out, "out");
  }

  Cache& mine() { return caches[self()]; }

  void push(uint64_t slot) {
    MODEL_ASSERT(all_acknowledged.get() == 0);
    mine().slots.add(slot);
  }

  void giveBack(uint64_t mask) {
    MODEL_ASSERT(Bits::give(bits, mask) == 0);
    Bits::account(nfree, static_cast<int32_t>(base::popcount(mask)), kSlots);
  }

  // Heap::slowOp and acknowledge.
  void slowOp() {
    if (mine().acked.loadRelaxed() == epoch.loadAcquire()) return;
    uint32_t now = epoch.loadAcquire();
    if (kFault == Fault::kAckBeforeFlush) mine().acked.storeRelease(now);
    if (slow.loadAcquire() != 0 && kFault != Fault::kAckKeepsSlots) {
      uint64_t all = mine().slots.exchange(0);
      if (all != 0) giveBack(all);
    }
    mine().acked.storeRelease(now);
  }

  void free(uint64_t slot) {
    out.add(0 - slot);
    if (class_byte.loadRelaxed() != 0xff) {
      push(slot);
      return;
    }
    if (kFault == Fault::kAckInFree) slowOp();
    if (slow.loadRelaxed() == 0 || kFault == Fault::kFreeIgnoresSlow) {
      push(slot);
    } else {
      ModelLock lock(mu);
      if (kFault == Fault::kAckInFree && allAcknowledged()) sweepLocked();
      if (Bits::give(bits, slot) == 0) Bits::account(nfree, 1, kSlots);
    }
    slowOp();
  }

  // Pops, or refills with one slot; 0: none.
  uint64_t alloc() {
    uint64_t have = mine().slots.get();
    uint64_t slot = have & (0 - have);
    if (slot != 0) {
      mine().slots.add(0 - slot);
    } else {
      slowOp();
      ModelLock lock(mu);
      if (swept == 0) {
        if (!allAcknowledged()) return 0;
        sweepLocked();
      }
      slot = Bits::take(bits, 1);
      if (slot == 0) return 0;
      Bits::accountTaken(nfree, 1);
    }
    uint64_t before = out.add(slot);
    MODEL_ASSERT((before & slot) == 0);
    return slot;
  }

  bool allAcknowledged() {
    if (kFault == Fault::kNoWait) return true;
    uint32_t now = epoch.loadAcquire();
    for (int i = 0; i < (kFault == Fault::kWaitsForOne ? 1 : kThreads); i++) {
      if (caches[i].acked.loadAcquire() != now) return false;
    }
    return true;
  }

  // What is neither free nor marked is reclaimed. Class lock held.
  void sweepLocked() {
    if (swept == 1) return;
    all_acknowledged.exchange(1);
    for (auto& c : caches) MODEL_ASSERT(c.slots.get() == 0);
    uint64_t lost = ~(bits.loadAcquire() | marked) & base::maskBelow(kSlots);
    if (lost != 0) giveBack(lost);
    for (auto& c : caches) MODEL_ASSERT(c.slots.get() == 0);
    all_acknowledged.exchange(0);
    swept = 1;
    slow.storeRelease(0);
    class_byte.storeRelease(1);
  }

  void finishMark() {
    ModelLock lock(mu);
    if (kFault == Fault::kEpochFirst) epoch.storeRelease(1);
    slow.storeRelease(1);
    class_byte.storeRelease(0xff);
    swept = 0;
    if (kFault != Fault::kEpochFirst) epoch.storeRelease(1);
  }

  // The free bits and caches never name a slot twice.
  void check() {
    uint64_t a = caches[0].slots.get(), b = caches[1].slots.get(), f = bits.loadRelaxed();
    MODEL_ASSERT((a & b) == 0 && (a & f) == 0 && (b & f) == 0);
    MODEL_ASSERT(nfree.loadRelaxed() == static_cast<int32_t>(base::popcount(f)));
  }
};

enum class Slots { kBlack, kHidden };

// Both threads free a slot, fast or slow as it happens, and come to a slow path; the collector
// sweeps as soon as it may. late: they acknowledge before they free.
template <Fault kFault = Fault::kNone>
Result collectorSweeps(Slots slots, bool late = false, model::Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto h = std::make_shared<Heap<kFault>>();
    h->caches[1].slots.exchange(4);
    h->out.exchange(3);
    h->marked = slots == Slots::kBlack ? 7 : 0;
    for (int i = 0; i < kThreads; i++) {
      run.thread(i == 0 ? "A" : "B", [=] {
        if (late) h->slowOp();
        h->free(uint64_t{1} << i);
        waitUntil([=] { return h->epoch.loadAcquire() == 1; });
        h->slowOp();
      });
    }
    run.thread("collector", [=] {
      h->finishMark();
      // In the heap it comes back later; here it looks when there is something to see.
      if (kFault != Fault::kNoWait) waitUntil([=] { return h->allAcknowledged(); });
      ModelLock lock(h->mu);
      h->sweepLocked();
    });
    run.finally([=] { h->check(); });
  });
}

// The threads sweep for themselves, by refill, when they find that they may. Slot 0 is held and
// freed, slot 1 is free, slot 2 in a cache.
template <Fault kFault = Fault::kNone>
Result threadsSweep(Slots slots, model::Options options = {}) {
  return explore(options, [=](model::Run& run) {
    auto h = std::make_shared<Heap<kFault>>();
    h->caches[1].slots.exchange(4);
    h->bits.storeRelaxed(2);
    h->nfree.storeRelaxed(1);
    h->out.exchange(1);
    h->marked = slots == Slots::kBlack ? 5 : 4;
    run.thread("A", [=] {
      h->free(1);
      h->slowOp();
      h->alloc();
    });
    run.thread("B", [=] {
      h->alloc();
      h->alloc();
    });
    run.thread("collector", [=] { h->finishMark(); });
    run.finally([=] { h->check(); });
  });
}

TEST(Acknowledge, NoCacheHoldsASlotOfASweptSpan) {
  for (Slots slots : {Slots::kBlack, Slots::kHidden}) {
    Result r = collectorSweeps(slots);
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_GE(r.schedules(), 80u);
    // Once more without the reduction: every schedule with at most one preemption.
    r = collectorSweeps(slots, false, {.preemptions = 1});
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_GE(r.schedules(), 1000u);
  }
  Result r = collectorSweeps(Slots::kBlack, true);
  EXPECT_TRUE(r.ok()) << r.trace();
  EXPECT_GE(r.schedules(), 80u);
}

TEST(Acknowledge, RefillSweeps) {
  for (Slots slots : {Slots::kBlack, Slots::kHidden}) {
    Result r = threadsSweep(slots);
    EXPECT_TRUE(r.ok()) << r.trace();
    EXPECT_GE(r.schedules(), 50u);
  }
}

// By an assertion of the scenario, not by a thread that waits in vain.
bool caught(const Result& r) { return r.failure().find("ack_test.cc") == 0; }

TEST(Acknowledge, PlantedFaultsAreFound) {
  EXPECT_TRUE(caught(collectorSweeps<Fault::kEpochFirst>(Slots::kHidden)));
  EXPECT_TRUE(caught(collectorSweeps<Fault::kAckKeepsSlots>(Slots::kHidden)));
  EXPECT_TRUE(caught(collectorSweeps<Fault::kAckBeforeFlush>(Slots::kHidden)));
  EXPECT_TRUE(caught(collectorSweeps<Fault::kNoWait>(Slots::kHidden)));
  EXPECT_TRUE(caught(collectorSweeps<Fault::kWaitsForOne>(Slots::kHidden)));
  EXPECT_TRUE(caught(collectorSweeps<Fault::kFreeIgnoresSlow>(Slots::kBlack, true)));
  EXPECT_TRUE(caught(collectorSweeps<Fault::kAckInFree>(Slots::kHidden)));
  EXPECT_TRUE(caught(threadsSweep<Fault::kAckInFree>(Slots::kHidden)));
  EXPECT_TRUE(caught(threadsSweep<Fault::kNoWait>(Slots::kHidden)));
  EXPECT_TRUE(caught(threadsSweep<Fault::kAckKeepsSlots>(Slots::kHidden)));
}

TEST(Acknowledge, AFreeOfAWhiteSlotAfterTheAcknowledgementCanComeTooLate) {
  EXPECT_TRUE(caught(collectorSweeps(Slots::kHidden, true)));
}

}  // namespace
}  // namespace graft::model
