// Tests of the heap's half of the contract with the collector: a cycle counts or frees exactly the
// slots that are handed out and unmarked, whatever caches hold and whoever allocates and frees
// meanwhile; spans keep their shape until the cycle ends and are swept before they are used.
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "core/heap/heap.h"
#include "tests/unit/heap/test_peer.h"

namespace graft::heap {
namespace {

bool markBlock(Heap& heap, const void* p) {
  ObjectRef o;
  EXPECT_TRUE(heap.findObject(reinterpret_cast<Addr>(p), &o));
  EXPECT_TRUE(o.allocated);
  return Heap::mark(o.span, o.index);
}
Span* spanOf(Heap& heap, const void* p) { return heap.classify(p).span; }

// A heap, its one client, and blocks by whether the collector will reach them.
class Collect : public testing::Test {
 protected:
  Collect() : client(*heap) {}

  // Fills the heap with blocks of all sizes; about a third is freed again, a third unreachable.
  void populate(uint64_t seed, size_t n = 6000) {
    Rng rng(seed);
    for (size_t i = 0; i < n; i++) {
      size_t size = rng.below(30) == 0 ? rng.below(kMaxSmall) : rng.below(700);
      void* p = client.alloc(size);
      size = classSize(classFor(size));
      fillPattern(p, size, i);
      uint64_t fate = rng.below(3);
      if (fate == 0) freed.push_back(p);
      if (fate == 1) lost[p] = {size, i};
      if (fate == 2) kept[p] = {size, i};
    }
    for (void* p : freed) ASSERT_TRUE(client.free(p));
  }
  void markKept() {
    for (auto& [p, b] : kept) EXPECT_TRUE(markBlock(*heap, p));
    for (auto& [p, b] : kept) EXPECT_FALSE(markBlock(*heap, p)) << "marked already";
  }
  // From the end of marking to the last acknowledgement, as a collector with a stopped world does.
  void toSweep(SweepMode mode) {
    heap->blackenCaches();
    heap->finishMark(mode);
    EXPECT_EQ(heap->phase(), Phase::kSweeping);
    heap->caches.forEach([&](MCache& c) { heap->acknowledge(c); });
    EXPECT_TRUE(heap->allAcknowledged());
  }
  struct Block {
    size_t size;
    uint64_t tag;
  };
  void expectIntact(const std::map<void*, Block>& blocks) {
    for (auto& [p, b] : blocks) ASSERT_TRUE(checkPattern(p, b.size, b.tag));
  }

  TestHeap heap;
  Client client;
  std::vector<void*> freed;
  std::map<void*, Block> lost, kept;
};

TEST_F(Collect, DetectCountsExactlyTheUnmarked) {
  for (uint64_t round = 0; round < 3; round++) {
    freed.clear();
    populate(round);
    EXPECT_FALSE(heap->cycleActive());
    uint32_t gen = heap->sweepGeneration();
    heap->beginCycle();
    EXPECT_EQ(heap->phase(), Phase::kMarking);
    heap->blackenCaches();
    markKept();
    toSweep(SweepMode::kDetect);
    EXPECT_EQ(heap->sweepGeneration(), gen + 1);
    EXPECT_EQ(heap->sweepAll(), lost.size());
    EXPECT_EQ(heap->sweepAll(), 0u) << "a span is swept once per cycle";
    EXPECT_EQ(heap->whiteFound(), lost.size());
    heap->endCycle();
    EXPECT_EQ(heap->phase(), Phase::kIdle);
    EXPECT_EQ(heap.broken(), "");
  }
  expectIntact(kept);
  expectIntact(lost);
  for (auto& [p, b] : lost) ASSERT_TRUE(client.free(p)) << "only reported, still the program's";
  for (auto& [p, b] : kept) ASSERT_TRUE(client.free(p));
  EXPECT_EQ(heap.broken(), "");
}

TEST_F(Collect, ReclaimFreesExactlyTheUnmarked) {
  populate(7);
  heap->beginCycle();
  markKept();
  toSweep(SweepMode::kReclaim);
  EXPECT_EQ(heap->sweepAll(), lost.size());
  heap->endCycle();
  EXPECT_EQ(heap.broken(), "");
  expectIntact(kept);
  uint64_t bytes = 0;
  for (auto& [p, b] : kept) bytes += b.size;
  EXPECT_EQ(heap->stats().small_used, bytes);
  for (auto& [p, b] : lost) {
    AddrKind kind = heap->classify(p).kind;
    ASSERT_TRUE(kind == AddrKind::kFreeSlot || kind == AddrKind::kFreePages);
    ASSERT_FALSE(client.free(p));
  }
  // And the memory is for use again, without ever meeting what is kept.
  for (int i = 0; i < 20'000; i++) {
    void* p = client.alloc(static_cast<size_t>(i) % 700);
    ASSERT_EQ(kept.count(p), 0u);
    memset(p, 0, static_cast<size_t>(i) % 700);
  }
  expectIntact(kept);
  EXPECT_EQ(heap.broken(), "");
}

TEST_F(Collect, NothingMarkedInTheLastCycleIsMarkedInTheNext) {
  populate(8);
  for (int cycle = 0; cycle < 3; cycle++) {
    heap->beginCycle();
    for (auto& [p, b] : kept) {
      ASSERT_FALSE(Heap::isMarked(spanOf(*heap, p), heap->classify(p).index));
    }
    markKept();
    toSweep(SweepMode::kDetect);
    EXPECT_EQ(heap->sweepAll(), lost.size());
    heap->endCycle();
  }
}

TEST_F(Collect, LargeBlocksCarryAMark) {
  void* p = client.alloc(100'000);
  heap->beginCycle();
  EXPECT_FALSE(Heap::isMarked(spanOf(*heap, p), 0));
  EXPECT_TRUE(markBlock(*heap, p));
  EXPECT_TRUE(Heap::isMarked(spanOf(*heap, p), 0));
  void* q = client.alloc(100'000);
  EXPECT_TRUE(Heap::isMarked(spanOf(*heap, q), 0)) << "allocated black";
  toSweep(SweepMode::kReclaim);
  heap->sweepAll();
  heap->endCycle();
  EXPECT_EQ(heap->classify(p).kind, AddrKind::kLarge);
  heap->beginCycle();
  EXPECT_FALSE(Heap::isMarked(spanOf(*heap, p), 0)) << "white again";
  toSweep(SweepMode::kDetect);
  heap->sweepAll();
  heap->endCycle();
}

TEST_F(Collect, WhatCachesHoldIsNeverCounted) {
  Client other(*heap, heap->caches.acquire(4096, selfTid()));
  std::vector<void*> p;
  for (size_t size : {16, 64, 500, 3000, 20'000}) {
    for (int i = 0; i < 60; i++) p.push_back(client.alloc(size));
  }
  for (size_t i = 0; i < p.size(); i++) (i % 2 == 0 ? client : other).free(p[i]);
  EXPECT_GT(client.cache().cachedBytes(), 0u);
  EXPECT_GT(other.cache().cachedBytes(), 0u);
  for (SweepMode mode : {SweepMode::kDetect, SweepMode::kReclaim}) {
    heap->beginCycle();
    heap->blackenCaches();
    toSweep(mode);
    EXPECT_EQ(heap->sweepAll(), 0u);
    heap->endCycle();
    EXPECT_EQ(heap.broken(), "");
    client.free(client.alloc(64));
    other.free(other.alloc(64));
  }
}

TEST_F(Collect, AcknowledgingGivesUpSlowSlotsOnly) {
  std::vector<void*> p;
  for (int i = 0; i < 60; i++) p.push_back(client.alloc(64));
  void* keep = p.back();
  p.pop_back();
  for (void* q : p) client.free(q);
  size_t had = client.cache().count(classFor(64));
  ASSERT_GT(had, 0u);
  heap->beginCycle();
  heap->blackenCaches();
  markBlock(*heap, keep);
  heap->finishMark(SweepMode::kDetect);
  EXPECT_FALSE(heap->allAcknowledged());
  EXPECT_EQ(client.cache().count(classFor(64)), had);
  EXPECT_EQ(spanOf(*heap, keep)->slow.loadRelaxed(), 1u);
  EXPECT_FALSE(freeFast(client.cache(), keep)) << "class bytes are slow";
  heap->acknowledge(client.cache());
  EXPECT_TRUE(heap->allAcknowledged());
  EXPECT_EQ(client.cache().count(classFor(64)), 0u);
  EXPECT_EQ(heap->sweepAll(), 0u);
  // Swept spans are fast again, and their slots may be cached again.
  EXPECT_EQ(spanOf(*heap, keep)->slow.loadRelaxed(), 0u);
  EXPECT_TRUE(freeFast(client.cache(), keep));
  heap->acknowledge(client.cache());
  EXPECT_EQ(client.cache().count(classFor(64)), 1u);
  heap->endCycle();
  EXPECT_EQ(heap.broken(), "");
}

TEST_F(Collect, BlocksAllocatedWhileMarkingAreBlack) {
  populate(9, 500);
  client.slowOnly();
  heap->beginCycle();
  heap->blackenCaches();
  std::vector<void*> fresh;
  for (int i = 0; i < 3000; i++) fresh.push_back(client.alloc(static_cast<size_t>(i) % 900));
  markKept();
  toSweep(SweepMode::kDetect);
  EXPECT_EQ(heap->sweepAll(), lost.size());
  heap->endCycle();
  EXPECT_EQ(heap.broken(), "");
}

// A refill while marking puts white slots into a cache; the fast path hands them out as they are.
// They belong to the program before the last cache acknowledges, and must not be swept.
TEST_F(Collect, SlotsRefilledWhileMarkingAreNotSweptWhenPoppedFast) {
  heap->beginCycle();
  heap->blackenCaches();
  std::vector<void*> fresh;
  for (int i = 0; i < 20; i++) fresh.push_back(client.alloc(64));
  ASSERT_NE(client.cache().count(classFor(64)), 0u);
  heap->finishMark(SweepMode::kReclaim);
  while (void* p = mallocFast(client.cache(), classFor(64))) fresh.push_back(p);
  heap->acknowledge(client.cache());
  heap->sweepAll();
  heap->endCycle();
  EXPECT_EQ(heap->whiteFound(), 0u);
  for (void* p : fresh) ASSERT_EQ(heap->classify(p).kind, AddrKind::kSmall);
}

// The same for a slot that was freed while marking and is handed out again.
TEST_F(Collect, SlotsFreedWhileMarkingAreNotSweptWhenPoppedFast) {
  void* p = client.alloc(64);
  heap->beginCycle();
  heap->blackenCaches();
  client.free(p);
  heap->finishMark(SweepMode::kReclaim);
  void* q = mallocFast(client.cache(), classFor(64));
  EXPECT_EQ(q, p);
  heap->acknowledge(client.cache());
  heap->sweepAll();
  heap->endCycle();
  EXPECT_EQ(heap->whiteFound(), 0u);
  EXPECT_EQ(heap->classify(q).kind, AddrKind::kSmall);
}

TEST_F(Collect, FreesDuringTheCycle) {
  populate(10);
  client.slowOnly();
  size_t expected = lost.size();
  auto takeHalf = [&](std::map<void*, Block>& from) {
    std::vector<void*> out;
    size_t i = 0;
    for (auto it = from.begin(); it != from.end();) {
      if (i++ % 4 == 0) {
        out.push_back(it->first);
        it = from.erase(it);
      } else {
        ++it;
      }
    }
    return out;
  };
  heap->beginCycle();
  heap->blackenCaches();
  markKept();
  for (void* p : takeHalf(lost)) {  // freed while marking: not lost any more
    ASSERT_TRUE(client.free(p));
    expected--;
  }
  for (void* p : takeHalf(kept)) ASSERT_TRUE(client.free(p));
  toSweep(SweepMode::kDetect);
  for (void* p : takeHalf(kept)) {  // freed before their spans are swept
    ASSERT_TRUE(client.free(p));
    ASSERT_FALSE(client.free(p));
  }
  heap->sweepAll();
  EXPECT_EQ(heap->whiteFound(), expected);
  for (void* p : takeHalf(kept)) ASSERT_TRUE(client.free(p));
  heap->endCycle();
  EXPECT_EQ(heap.broken(), "");
  expectIntact(kept);
  expectIntact(lost);
}

// The marker did not reach the block, but the program has its address and frees it: no leak.
TEST_F(Collect, BlockThatIsBeingFreedIsNotCounted) {
  void* p = client.alloc(64);
  void* keep = client.alloc(64);
  heap->beginCycle();
  heap->blackenCaches();
  markBlock(*heap, keep);
  toSweep(SweepMode::kDetect);
  EXPECT_TRUE(client.free(p));
  EXPECT_EQ(heap->classify(p).kind, AddrKind::kFreeSlot);
  heap->sweepAll();
  EXPECT_EQ(heap->whiteFound(), 0u);
  heap->endCycle();
  EXPECT_EQ(heap.broken(), "");
}

TEST_F(Collect, ReclaimMeetsTheProgramsOwnFree) {
  void* p = client.alloc(64);
  void* q = client.alloc(64);
  void* keep = client.alloc(64);
  heap->beginCycle();
  heap->blackenCaches();
  markBlock(*heap, keep);
  toSweep(SweepMode::kReclaim);
  EXPECT_TRUE(client.free(p)) << "sweeps the span and gives the slot back once";
  EXPECT_FALSE(client.free(p));
  EXPECT_FALSE(client.free(q)) << "reclaimed";
  EXPECT_TRUE(client.free(keep));
  heap->sweepAll();
  heap->endCycle();
  client.drain();
  EXPECT_EQ(heap.broken(), "");
}

TEST_F(Collect, EmptiedSpansKeepTheirShapeUntilTheEnd) {
  std::vector<void*> p;
  for (int i = 0; i < 5000; i++) p.push_back(client.alloc(100));
  std::map<Span*, uint32_t> shapes;
  for (void* q : p) shapes[spanOf(*heap, q)] = spanOf(*heap, q)->seq.loadRelaxed();
  ASSERT_GT(shapes.size(), 4u);
  client.slowOnly();
  heap->beginCycle();
  heap->blackenCaches();
  for (void* q : p) ASSERT_TRUE(client.free(q));
  client.drain();
  heap->trim();
  auto expectSame = [&] {
    for (auto [s, seq] : shapes) {
      EXPECT_EQ(s->seq.loadRelaxed(), seq);
      EXPECT_EQ(s->state.loadRelaxed(), SpanState::kSmall);
      EXPECT_EQ(s->nfree.loadRelaxed(), static_cast<int32_t>(s->nelems.loadRelaxed()));
    }
  };
  expectSame();
  EXPECT_EQ(heap.broken(), "");
  toSweep(SweepMode::kReclaim);
  EXPECT_EQ(heap->sweepAll(), 0u);
  heap->trim();
  expectSame();
  heap->endCycle();
  EXPECT_EQ(heap.broken(), "");
  EXPECT_LE(heap->stats().spans, 1u) << "released, one may be kept";
}

TEST_F(Collect, SpansEmptiedByReclaimAreReleased) {
  for (int i = 0; i < 5000; i++) client.alloc(100);
  heap->beginCycle();
  heap->blackenCaches();
  toSweep(SweepMode::kReclaim);
  EXPECT_GT(heap->sweepAll(), 4000u);
  EXPECT_GT(heap->stats().spans, 4u);
  heap->endCycle();
  EXPECT_LE(heap->stats().spans, 1u);
  EXPECT_EQ(heap.broken(), "");
}

TEST_F(Collect, NoSlotComesFromAnUnsweptSpan) {
  populate(11);
  Client late(*heap, heap->caches.acquire(4096, selfTid()));
  late.free(late.alloc(64));
  client.slowOnly();
  heap->beginCycle();
  heap->blackenCaches();
  markKept();
  heap->blackenCaches();
  heap->finishMark(SweepMode::kReclaim);
  heap->acknowledge(client.cache());
  ASSERT_FALSE(heap->allAcknowledged()) << "one cache is late";
  auto swept = [&](void* p) {
    return spanOf(*heap, p)->sweepgen.loadRelaxed() == heap->sweepGeneration();
  };
  for (int i = 0; i < 2000; i++) {
    void* p = client.alloc(static_cast<size_t>(i) % 700);
    ASSERT_NE(p, nullptr);
    ASSERT_TRUE(swept(p));
    ASSERT_EQ(kept.count(p) + lost.count(p), 0u);
  }
  EXPECT_EQ(heap->whiteFound(), 0u) << "nothing can be swept yet";
  heap->acknowledge(late.cache());
  ASSERT_TRUE(heap->allAcknowledged());
  for (int i = 0; i < 2000; i++) {
    void* p = client.alloc(static_cast<size_t>(i) % 700);
    ASSERT_TRUE(swept(p));
    ASSERT_EQ(kept.count(p), 0u);
  }
  EXPECT_GT(heap->whiteFound(), 0u) << "swept on the way, and counted";
  heap->sweepAll();
  EXPECT_EQ(heap->whiteFound(), lost.size());
  heap->endCycle();
  expectIntact(kept);
  EXPECT_EQ(heap.broken(), "");
}

TEST_F(Collect, SlowSpansAreNotPurged) {
  populate(12);
  client.drain();
  heap->beginCycle();
  markKept();
  toSweep(SweepMode::kDetect);
  EXPECT_EQ(heap->purgePartial(), 0u);
  heap->sweepAll();
  EXPECT_GT(heap->purgePartial(), 0u);
  heap->endCycle();
  expectIntact(kept);
  expectIntact(lost);
  EXPECT_EQ(heap.broken(), "");
}

// A thread that takes its first cache while spans are being swept holds nothing: it has nothing to
// acknowledge, and the collector, which is past its check, must not be stopped by it.
TEST_F(Collect, CacheTakenWhileSweepingCountsAsAcknowledged) {
  heap->beginCycle();
  toSweep(SweepMode::kDetect);
  ASSERT_TRUE(heap->allAcknowledged());
  Client late(*heap, heap->acquireCache(4096, selfTid()));
  EXPECT_TRUE(heap->allAcknowledged());
  heap->acknowledge(late.cache());
  heap->sweepAll();
  heap->endCycle();
}

// Two threads work through the slow path while cycles run: what they hold stays theirs.
TEST_F(Collect, CyclesUnderThreads) {
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::mutex world;  // held by a thread for each operation: taking it stops the world
  struct Worker {
    std::map<void*, Block> live;
    std::unique_ptr<Client> client;
  };
  Worker workers[2];
  auto work = [&](uint64_t id) {
    Worker& w = workers[id];
    {
      std::lock_guard<std::mutex> lock(world);
      w.client = std::make_unique<Client>(*heap);
      w.client->slowOnly();
    }
    Rng rng(id + 1);
    while (!stop) {
      std::lock_guard<std::mutex> lock(world);
      for (int i = 0; i < 50; i++) {
        if (w.live.size() < 200 || (w.live.size() < 2000 && rng.below(2) != 0)) {
          size_t size = rng.below(900) + 1;
          void* p = w.client->alloc(size);
          uint64_t tag = rng.next();
          fillPattern(p, size, tag);
          if (!w.live.emplace(p, Block{size, tag}).second) wrong++;
        } else {
          auto it = w.live.lower_bound(
              reinterpret_cast<void*>(heap->space.base() + rng.below(heap->space.limit())));
          if (it == w.live.end()) it = w.live.begin();
          if (!checkPattern(it->first, it->second.size, it->second.tag)) wrong++;
          if (!w.client->free(it->first)) wrong++;
          w.live.erase(it);
        }
      }
    }
  };
  std::thread a(work, 0), b(work, 1);
  uint64_t found = 0;
  constexpr uint64_t kLost = 37;
  for (uint64_t cycle = 0; cycle < 25; cycle++) {
    {
      std::lock_guard<std::mutex> lock(world);
      for (uint64_t i = 0; i < kLost; i++) client.alloc(50 * (i + 1));
      heap->beginCycle();
      heap->blackenCaches();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    {
      std::lock_guard<std::mutex> lock(world);
      for (Worker& w : workers) {
        for (auto& [p, blk] : w.live) markBlock(*heap, p);
      }
      heap->blackenCaches();
      heap->finishMark(SweepMode::kReclaim);
    }
    heap->acknowledge(client.cache());
    // The workers acknowledge on their own slow paths.
    for (int i = 0; i < 5000 && !heap->allAcknowledged(); i++) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ASSERT_TRUE(heap->allAcknowledged());
    heap->sweepAll();
    found += heap->whiteFound();
    heap->endCycle();
    std::lock_guard<std::mutex> lock(world);
    ASSERT_EQ(heap.broken(), "");
  }
  stop = true;
  a.join();
  b.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(found, 25 * kLost);
}

}  // namespace
}  // namespace graft::heap
