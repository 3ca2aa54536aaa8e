// Tests of running out of memory: with requests to the kernel failing now and then, and in a heap
// that is simply full, every allocation succeeds or says no, and no invariant breaks.
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "core/heap/heap.h"
#include "tests/unit/heap/test_peer.h"

namespace graft::heap {
namespace {

constexpr int kOps = kTsan || kAsan ? 1500 : 3000;

struct Live {
  void* p;
  size_t size;
  uint64_t tag;
};

// Random operations; returns how many allocations were refused.
uint64_t storm(Heap& heap, Client& client, std::vector<Live>& live, uint64_t seed, int ops,
               size_t most) {
  Rng rng(seed);
  uint64_t refused = 0;
  for (int i = 0; i < ops; i++) {
    uint64_t what = rng.below(100);
    if (what < 60 && live.size() < most) {
      size_t size = rng.below(10) == 0 ? rng.below(600'000) : rng.below(5000);
      bool zero = false;
      void* p = client.alloc(size, &zero);
      if (p == nullptr) {
        refused++;
        continue;
      }
      EXPECT_TRUE(!zero || allBytes(p, size, 0));
      uint64_t tag = rng.next();
      fillPattern(p, size, tag);
      live.push_back({p, size, tag});
    } else if (what < 90 && !live.empty()) {
      std::swap(live[rng.below(live.size())], live.back());
      EXPECT_TRUE(checkPattern(live.back().p, live.back().size, live.back().tag));
      EXPECT_TRUE(client.free(live.back().p));
      live.pop_back();
    } else if (what < 97 && !live.empty()) {
      Live& l = live[rng.below(live.size())];
      BlockInfo b = heap.classify(l.p);
      if (b.kind != AddrKind::kLarge) continue;
      size_t size = 33'000 + rng.below(2'000'000);
      if (heap.resizeLarge(b, size)) {
        EXPECT_TRUE(checkPattern(l.p, std::min(l.size, size), l.tag));
      } else if (void* q = size > b.size ? heap.moveLarge(b, size) : nullptr) {
        EXPECT_TRUE(checkPattern(q, l.size, l.tag));
        l.p = q;
      } else {
        EXPECT_TRUE(checkPattern(l.p, l.size, l.tag)) << "a refusal changes nothing";
        continue;
      }
      l.size = size;
      fillPattern(l.p, size, l.tag);
    } else if (what == 97) {
      client.drain();
    } else if (what == 98) {
      heap.trim();
    } else {
      heap.purgePartial();
    }
  }
  return refused;
}

TEST(Fault, EveryNthRequestFails) {
  uint64_t refused = 0;
  for (bool grow : {false, true}) {
    for (uint64_t every : {1, 2, 3, 4, 5, 7, 10, 30}) {
      Config c = testConfig();
      c.deny_reserve = grow;
      TestHeap heap(c);
      if (!heap.ok()) break;  // no fixed place for a heap that grows by mapping
      Client client(*heap);
      std::vector<Live> live;
      os::setFaultInjection(every);
      refused += storm(*heap, client, live, every, kOps, 400);
      os::setFaultInjection(0);
      ASSERT_EQ(heap.broken(), "") << every;
      ASSERT_EQ(heap.pagesAddUp(), "") << every;
      // When memory comes back so does the heap.
      ASSERT_EQ(storm(*heap, client, live, every + 1, 500, 400), 0u);
      ASSERT_EQ(heap.broken(), "") << every;
      for (Live& l : live) ASSERT_TRUE(client.free(l.p));
      client.drain();
      heap->trim();
      ASSERT_EQ(heap->stats().spans, 0u);
    }
  }
  EXPECT_GT(refused, 100u) << "the test has to run out";
}

TEST(Fault, ThreadsRunOutTogether) {
  TestHeap heap;
  os::setFaultInjection(3);
  std::vector<Live> live[3];
  auto work = [&](size_t i) {
    Client client(*heap);
    storm(*heap, client, live[i], 50 + i, kOps, 300);
    client.drain();
  };
  std::thread a(work, 0), b(work, 1), c(work, 2);
  a.join();
  b.join();
  c.join();
  os::setFaultInjection(0);
  EXPECT_EQ(heap.broken(), "");
  EXPECT_EQ(heap.pagesAddUp(), "");
  Client client(*heap);
  for (auto& l : live) {
    for (Live& one : l) {
      EXPECT_TRUE(checkPattern(one.p, one.size, one.tag));
      EXPECT_TRUE(client.free(one.p));
    }
  }
}

TEST(Fault, CachesThatCannotBeMadeAreDoneWithout) {
  TestHeap heap;
  ASSERT_NE(heap->caches.acquire(4096, selfTid()), nullptr);
  os::setFaultInjection(1);
  EXPECT_EQ(heap->caches.acquire(8192, selfTid()), nullptr);
  SharedCache& s = heap->caches.shared(8192);
  {
    os::Lock lock(s.mu);
    EXPECT_EQ(heap->caches.cacheOfShared(s), nullptr);
  }
  os::setFaultInjection(0);
  EXPECT_NE(heap->caches.acquire(8192, selfTid()), nullptr);
  EXPECT_EQ(heap.broken(), "");
}

TEST(Fault, FullHeapSaysNoAndRecovers) {
  Config c = testConfig();
  c.reserve_bytes = 64_MiB;  // grows by mapping
  c.deny_reserve = true;
  TestHeap heap(c);
  if (!heap.ok()) GTEST_SKIP() << "no fixed place for a heap that grows by mapping";
  Client client(*heap);
  std::vector<void*> p;
  for (size_t size : {1000, 20'000, 100'000, 64}) {
    while (void* q = client.alloc(size)) {
      memset(q, 1, size);
      p.push_back(q);
      ASSERT_LT(p.size(), 10'000'000u);
    }
    ASSERT_EQ(heap.broken(), "") << size;
  }
  EXPECT_EQ(client.alloc(16_MiB), nullptr);
  for (void* q : p) ASSERT_TRUE(client.free(q));
  // What a cache still holds is not in the way of a block of half the heap.
  void* half = client.alloc(40_MiB);
  EXPECT_NE(half, nullptr);
  EXPECT_EQ(heap.broken(), "");
  EXPECT_EQ(heap.pagesAddUp(), "");
}

TEST(Fault, InitWithoutMemoryLeavesAHeapThatRefuses) {
  auto heap = std::make_unique<Heap>();
  os::setFaultInjection(1);
  bool ok = heap->init(testConfig());
  os::setFaultInjection(0);
  EXPECT_FALSE(ok);
  EXPECT_FALSE(heap->ready());
}

}  // namespace
}  // namespace graft::heap
