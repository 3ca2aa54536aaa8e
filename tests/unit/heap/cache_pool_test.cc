// Tests of who holds which cache: the number is bounded, a thread pointer seen again brings its
// cache back, caches of ended threads are found, threads without one share, and fork keeps one
// owner.
#include "core/heap/cache_pool.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "tests/unit/heap/test_peer.h"

namespace graft::heap {
namespace {

Config poolConfig(size_t max_caches) {
  Config c = testConfig();
  c.max_caches = max_caches;
  return c;
}

constexpr uintptr_t kTp = 0x7000'0000'0000;  // thread pointers of nobody

// The tid of a thread that has ended.
uint32_t deadTid() {
  uint32_t tid = 0;
  std::thread t([&] { tid = selfTid(); });
  t.join();
  // The kernel clears the thread away a moment after join() returns.
  while (os::sys(SYS_tkill, static_cast<long>(tid), 0) == 0) std::this_thread::yield();
  return tid;
}

TEST(CachePool, NumberIsBounded) {
  TestHeap heap(poolConfig(5));
  ASSERT_TRUE(heap.ok());
  CachePool& pool = heap->caches;
  std::set<MCache*> made;
  for (uintptr_t i = 0; i < 5; i++) {
    MCache* c = pool.acquire(kTp + i * 4096, selfTid());
    ASSERT_NE(c, nullptr);
    EXPECT_EQ(c->owner_tp.loadRelaxed(), kTp + i * 4096);
    EXPECT_EQ(c->owner_tid.loadRelaxed(), selfTid());
    made.insert(c);
  }
  EXPECT_EQ(made.size(), 5u);
  for (int i = 0; i < 200; i++) EXPECT_EQ(pool.acquire(kTp + 0x100000, selfTid()), nullptr);
  EXPECT_EQ(pool.made(), 5u);
  EXPECT_EQ(pool.owned(), 5u);
  EXPECT_EQ(pool.limit(), 5u);
}

TEST(CachePool, TheSchedulersCachesAreItsOwnUntilItGivesThemBack) {
  TestHeap heap(poolConfig(5));
  CachePool& pool = heap->caches;
  MCache* a = pool.acquire(kMachineOwner, 0);
  MCache* b = pool.acquire(kMachineOwner, 0);
  ASSERT_NE(a, nullptr);
  EXPECT_NE(a, b) << "two Ms got one cache";
  int reaped = 0;
  pool.reapDead([&](MCache&) { reaped++; });
  EXPECT_EQ(reaped, 0);
  MCache* of_dead = pool.acquire(kTp, deadTid());
  pool.release(b);
  EXPECT_EQ(pool.owned(), 2u);
  MCache* again = pool.acquire(kMachineOwner, 0);
  EXPECT_TRUE(again == b || again == of_dead);
  EXPECT_NE(again, a);
}

TEST(CachePool, ThreadPointerSeenAgainBringsItsCacheBack) {
  TestHeap heap(poolConfig(5));
  CachePool& pool = heap->caches;
  MCache* a = pool.acquire(kTp, selfTid());
  MCache* b = pool.acquire(kTp + 4096, selfTid());
  EXPECT_NE(a, b);
  Client client(*heap, a);
  client.free(client.alloc(64));
  size_t kept = a->count(classFor(64));
  EXPECT_GT(kept, 0u);
  EXPECT_EQ(pool.acquire(kTp, 1'000'002), a);
  EXPECT_EQ(a->owner_tid.loadRelaxed(), 1'000'002u);
  EXPECT_EQ(a->count(classFor(64)), kept) << "with what is in it";
  EXPECT_EQ(pool.made(), 2u);
}

TEST(CachePool, DeadOwnersAreReapedLivingOnesAreNot) {
  TestHeap heap(poolConfig(5));
  CachePool& pool = heap->caches;
  MCache* mine = pool.acquire(kTp, selfTid());
  MCache* dead = pool.acquire(kTp + 4096, deadTid());
  Client client(*heap, dead);
  std::vector<void*> blocks;
  for (int i = 0; i < 100; i++) blocks.push_back(client.alloc(48));
  for (void* p : blocks) client.free(p);
  EXPECT_GT(dead->cachedBytes(), 0u);
  std::vector<MCache*> reaped;
  pool.reapDead([&](MCache& c) {
    reaped.push_back(&c);
    heap->drain(c);
  });
  ASSERT_EQ(reaped, std::vector<MCache*>{dead});
  EXPECT_EQ(dead->cachedBytes(), 0u);
  EXPECT_EQ(dead->owner_tp.loadRelaxed(), 0u);
  EXPECT_EQ(mine->owner_tp.loadRelaxed(), kTp);
  EXPECT_EQ(pool.owned(), 1u);
  EXPECT_EQ(pool.acquire(kTp + 8192, selfTid()), dead) << "free caches are used first";
  for (void*& p : blocks) ASSERT_NE(p = client.alloc(48), nullptr) << "as good as new";
  for (void* p : blocks) client.free(p);
  client.drain();
  pool.reapDead([&](MCache&) { FAIL() << "nobody else ended"; });
  EXPECT_EQ(heap.broken(), "");
}

TEST(CachePool, WhatAReleasedCacheHoldsIsTheNextOwners) {
  TestHeap heap(poolConfig(5));
  CachePool& pool = heap->caches;
  MCache* c = pool.acquire(kMachineOwner, 0);
  Client client(*heap, c);
  client.free(client.alloc(64));
  size_t kept = c->count(classFor(64));
  ASSERT_GT(kept, 0u);
  pool.release(c);
  EXPECT_EQ(pool.acquire(kMachineOwner, 0), c);
  EXPECT_EQ(c->count(classFor(64)), kept) << "slots would be lost";
  client.drain();
  EXPECT_EQ(heap.broken(), "");
}

TEST(CachePool, ShortPoolFindsTheDeadByItself) {
  TestHeap heap(poolConfig(2));
  CachePool& pool = heap->caches;
  pool.acquire(kTp, selfTid());
  MCache* dead = pool.acquire(kTp + 4096, deadTid());
  MCache* got = nullptr;
  int tries = 0;
  while (got == nullptr && ++tries <= 65) got = pool.acquire(kTp + 8192, selfTid());
  EXPECT_EQ(got, dead);
  EXPECT_LE(tries, 65);
}

TEST(CachePool, SharedCachesAreForThoseWithoutOne) {
  TestHeap heap(poolConfig(1));
  CachePool& pool = heap->caches;
  ASSERT_NE(pool.acquire(kTp, selfTid()), nullptr);
  std::set<MCache*> seen;
  std::set<SharedCache*> places;
  for (uintptr_t i = 0; i < 200; i++) {
    uintptr_t tp = kTp + i * 8392704;  // glibc's distance between two stacks
    SharedCache& s = pool.shared(tp);
    EXPECT_EQ(&pool.shared(tp), &s) << "a thread keeps its place";
    os::Lock lock(s.mu);
    MCache* c = pool.cacheOfShared(s);
    ASSERT_NE(c, nullptr);
    EXPECT_EQ(pool.cacheOfShared(s), c);
    EXPECT_EQ(c->owner_tp.loadRelaxed(), kSharedOwner);
    seen.insert(c);
    places.insert(&s);
  }
  EXPECT_EQ(seen.size(), places.size());
  EXPECT_GE(places.size(), kSharedCaches / 2) << "the load is spread";
  EXPECT_EQ(pool.made(), 1 + places.size());
  EXPECT_EQ(pool.owned(), 1u);
  // Shared caches do not count against the limit nor are they given to a thread.
  EXPECT_EQ(pool.acquire(kTp + 1, selfTid()), nullptr);
  pool.reapDead([&](MCache&) { FAIL() << "shared caches have no owner that ends"; });
}

TEST(CachePool, SharedCacheServesManyThreads) {
  TestHeap heap(poolConfig(1));
  CachePool& pool = heap->caches;
  ASSERT_NE(pool.acquire(kTp, selfTid()), nullptr);
  std::atomic<int> wrong{0};
  auto work = [&](unsigned id) {
    Rng rng(id);
    std::vector<std::pair<void*, size_t>> mine;
    for (int i = 0; i < 20'000; i++) {
      SharedCache& s = pool.shared(os::threadPointer());
      os::Lock lock(s.mu);
      Client client(*heap, pool.cacheOfShared(s));
      if (mine.size() < 50 || rng.below(2) != 0) {
        size_t n = 8 + rng.below(300);
        void* p = client.alloc(n);
        fillPattern(p, n, id);
        mine.emplace_back(p, n);
      } else {
        std::swap(mine[rng.below(mine.size())], mine.back());
        if (!checkPattern(mine.back().first, mine.back().second, id)) wrong++;
        if (!client.free(mine.back().first)) wrong++;
        mine.pop_back();
      }
      if (mine.size() > 200) {
        for (auto [p, n] : mine) client.free(p);
        mine.clear();
      }
    }
  };
  std::thread a(work, 1), b(work, 2), c(work, 3);
  a.join();
  b.join();
  c.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(heap.broken(), "");
}

TEST(CachePool, ThreadsThatComeAndGoKeepTheNumberSmall) {
  TestHeap heap(poolConfig(64));
  for (int i = 0; i < 300; i++) {
    std::thread t([&] {
      Client client(*heap);
      for (int k = 0; k < 20; k++) client.free(client.alloc(100));
    });
    t.join();
  }
  EXPECT_LE(heap->caches.made(), 4u) << "stacks are recycled, and with them thread pointers";
  EXPECT_EQ(heap.broken(), "");
}

// Threads that follow each other, each started before the last has ended: two caches do.
TEST(CachePool, NewThreadTakesTheCacheOfADeadOne) {
  TestHeap heap(poolConfig(5));
  CachePool& pool = heap->caches;
  constexpr uint32_t kNobody = 1'000'000'000;  // beyond any tid
  MCache* alive = pool.acquire(kTp, selfTid());
  MCache* dead = pool.acquire(kTp + 4096, kNobody);
  Client client(*heap, dead);
  client.free(client.alloc(64));
  size_t kept = dead->count(classFor(64));
  for (int i = 2; i < 20; i++) {
    EXPECT_EQ(pool.acquire(kTp + 4096 * static_cast<uintptr_t>(i), kNobody), dead);
  }
  EXPECT_EQ(dead->count(classFor(64)), kept) << "with what is in it";
  EXPECT_EQ(pool.acquire(kTp, selfTid()), alive);
  EXPECT_EQ(pool.made(), 2u);
}

TEST(CachePool, ForkChildKeepsOnlyTheCaller) {
  TestHeap heap(poolConfig(5));
  CachePool& pool = heap->caches;
  MCache* mine = pool.acquire(kTp, selfTid());
  MCache* other = pool.acquire(kTp + 4096, selfTid());
  for (MCache* c : {mine, other}) {
    Client client(*heap, c);
    client.free(client.alloc(64));
  }
  size_t cached = mine->count(classFor(64));
  EXPECT_GT(cached, 0u);
  uint32_t tid = static_cast<uint32_t>(getppid());  // of somebody who lives
  pool.forkChild(mine, tid);
  EXPECT_EQ(mine->owner_tid.loadRelaxed(), tid);
  EXPECT_EQ(mine->count(classFor(64)), cached);
  EXPECT_EQ(other->owner_tp.loadRelaxed(), 0u);
  EXPECT_EQ(other->cachedBytes(), 0u) << "its slots may be half popped: forgotten";
  EXPECT_EQ(pool.owned(), 1u);
  EXPECT_EQ(pool.acquire(kTp + 8192, selfTid()), other);
  EXPECT_EQ(heap.broken(), "");
  pool.forkChild(nullptr, 1);
  EXPECT_EQ(pool.owned(), 0u);
}

}  // namespace
}  // namespace graft::heap
