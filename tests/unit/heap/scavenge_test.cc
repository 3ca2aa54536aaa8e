// Tests of giving memory back: pages inside spans that are in use, decay by age, trim. What is
// still in use keeps its contents, what was freed stays known as freed, and residency really falls.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <chrono>
#include <thread>

#include "core/heap/heap.h"
#include "tests/unit/heap/test_peer.h"

namespace graft::heap {
namespace {

// Resident bytes of the heap's committed part.
size_t resident(Heap& heap) {
  size_t pages = heap.space.limit() / kOsPage;
  std::vector<unsigned char> in(pages);
  if (mincore(reinterpret_cast<void*>(heap.space.base()), pages * kOsPage, in.data()) != 0)
    return 0;
  size_t n = 0;
  for (unsigned char c : in) n += c & 1;
  return n * kOsPage;
}

TEST(PurgePartial, ClosesFreePagesAndKeepsNeighbours) {
  for (size_t size : {16, 48, 144, 1000, 3000, 5000, 12'000}) {
    TestHeap heap;
    Client client(*heap);
    Rng rng(size);
    std::vector<char*> live, freed, all;
    for (size_t i = 0; i < 2_MiB / size; i++) {
      all.push_back(static_cast<char*>(client.alloc(size)));
      fillPattern(all.back(), size, i);
    }
    // Runs of freed blocks, so that whole pages come free, between live ones.
    for (size_t i = 0; i < all.size(); i++) {
      bool keep = i * size / 20'000 % 3 == 0;
      (keep ? live : freed).push_back(all[i]);
    }
    for (char* p : freed) ASSERT_TRUE(client.free(p));
    client.drain();
    size_t before = resident(*heap);
    size_t pages = heap->purgePartial();
    EXPECT_GT(pages, 20u) << size;
    EXPECT_LE(resident(*heap), before - pages * kPageSize + 64_KiB);
    EXPECT_EQ(heap.broken(), "") << size;
    EXPECT_EQ(heap->stats().pages.purged_pages, pages);
    for (size_t i = 0; i < all.size(); i++) {
      if (i * size / 20'000 % 3 == 0) {
        ASSERT_TRUE(checkPattern(all[i], size, i)) << size;
      }
    }
    // A second free of what was on a purged page is still one.
    for (char* p : freed) {
      ASSERT_EQ(heap->classify(p).kind, AddrKind::kFreeSlot);
      ASSERT_FALSE(client.free(p)) << size;
    }
    EXPECT_EQ(heap->purgePartial(), 0u) << "nothing left to do";
    // All of it can be had again.
    for (size_t i = 0; i < freed.size(); i++) fillPattern(client.alloc(size), size, 1);
    for (size_t i = 0; i < all.size(); i++) {
      if (i * size / 20'000 % 3 == 0) {
        ASSERT_TRUE(checkPattern(all[i], size, i)) << size;
      }
    }
    EXPECT_EQ(heap.broken(), "");
  }
}

// Free slots of many pages give back all their pages, not only those on which they start.
TEST(PurgePartial, LongSlotsGiveAllTheirPagesBack) {
  TestHeap heap;
  Client client(*heap);
  std::vector<char*> p;
  for (int i = 0; i < 8; i++) {
    p.push_back(static_cast<char*>(client.alloc(32'768)));
    memset(p.back(), 1, 32'768);
  }
  for (int i = 1; i < 8; i++) client.free(p[static_cast<size_t>(i)]);
  client.drain();
  heap->purgePartial();
  EXPECT_LE(resident(*heap), 2 * 32_KiB);
  EXPECT_TRUE(allBytes(p[0], 32'768, 1));
}

TEST(PurgePartial, DeniedPurgeDoesNothing) {
  Config c = testConfig();
  c.deny_purge = true;
  TestHeap heap(c);
  Client client(*heap);
  std::vector<void*> p;
  for (int i = 0; i < 5000; i++) p.push_back(client.alloc(100));
  for (void* q : p) client.free(q);
  client.drain();
  EXPECT_EQ(heap->purgePartial(), 0u);
  EXPECT_EQ(heap->trim(), 0u);
  EXPECT_EQ(heap->stats().pages.purged_pages, 0u);
  EXPECT_EQ(heap.broken(), "");
}

// Pages that the kernel will not give up (mlock) are not zero afterwards and must not pass for it.
TEST(PurgePartial, LockedPagesAreNotZero) {
  TestHeap heap;
  Client client(*heap);
  char* p = static_cast<char*>(client.alloc(64));
  Addr page = heap->space.addrOf(heap->space.pageOf(reinterpret_cast<Addr>(p)));
  if (mlock(reinterpret_cast<void*>(page), kPageSize) != 0) GTEST_SKIP() << "mlock is not allowed";
  memset(p, 0xaa, 64);
  client.free(p);
  client.drain();
  heap->purgePartial();
  heap->trim();
  bool zero = false;
  char* q = static_cast<char*>(client.alloc(64_KiB, &zero));
  EXPECT_TRUE(!zero || allBytes(q, 64_KiB, 0)) << "calloc would return this";
  EXPECT_EQ(heap.broken(), "");
}

TEST(Decay, OldRunsGoYoungOnesStay) {
  TestHeap heap;
  heap->setDecay(100);
  Client client(*heap);
  char* p = static_cast<char*>(client.alloc(4_MiB));
  client.alloc(40'000);
  memset(p, 1, 4_MiB);
  auto freed = std::chrono::steady_clock::now();
  client.free(p);
  heap->tick();
  bool young = std::chrono::steady_clock::now() - freed < std::chrono::milliseconds(90);
  EXPECT_TRUE(heap->stats().pages.purged_pages == 0 || !young);
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (heap->stats().pages.purged_pages == 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    heap->tick();
  }
  EXPECT_EQ(heap->stats().pages.purged_pages, 4_MiB >> kPageShift);
  EXPECT_LT(resident(*heap), 1_MiB);
}

TEST(Decay, NeverMeansNever) {
  TestHeap heap;
  heap->setDecay(-1);
  Client client(*heap);
  client.free(client.alloc(4_MiB));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  heap->tick();
  EXPECT_EQ(heap->stats().pages.purged_pages, 0u);
}

TEST(Decay, TickFindsTheCachesOfEndedThreads) {
  TestHeap heap;
  heap->setDecay(10);
  Client client(*heap);
  std::thread t([&] {
    Client mine(*heap);
    for (int i = 0; i < 10; i++) mine.free(mine.alloc(64));
  });
  t.join();
  EXPECT_EQ(heap->caches.owned(), 2u);
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (heap->caches.owned() != 1 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    heap->tick();
  }
  EXPECT_EQ(heap->caches.owned(), 1u);
  EXPECT_EQ(heap->stats().cached, 0u);
}

TEST(Trim, GivesEverythingThatIsFreeBack) {
  TestHeap heap;
  Client client(*heap);
  std::vector<void*> p;
  Rng rng(6);
  for (int i = 0; i < 30'000; i++) {
    size_t size = rng.below(1000);
    p.push_back(client.alloc(size));
    memset(p.back(), 1, size);
  }
  char* large = static_cast<char*>(client.alloc(3_MiB));
  memset(large, 1, 3_MiB);
  EXPECT_GT(resident(*heap), 10_MiB);
  for (void* q : p) client.free(q);
  client.free(large);
  client.drain();
  EXPECT_GT(heap->trim(), 10_MiB >> kPageShift);
  EXPECT_LE(resident(*heap), 64_KiB);
  EXPECT_EQ(heap->trim(), 0u) << "there is nothing more";
  EXPECT_EQ(heap->stats().pages.dirty_pages, 0u);
  EXPECT_EQ(heap.broken(), "");
  EXPECT_EQ(heap.pagesAddUp(), "");
}

// A program that trims all the time spends a small part of it looking at spans; dirty pages go back
// each time, and so does everything when memory is short.
TEST(Scavenge, TrimmingOftenLooksAtSpansNowAndThen) {
  TestHeap heap;
  Client client(*heap);
  std::vector<void*> keep;
  for (int i = 0; i < 200'000; i++) keep.push_back(client.alloc(500));
  auto freeMost = [&](size_t from) {
    for (size_t i = from; i < from + 50'000; i++) {
      if (i % 100 != 0) client.free(keep[i]);
    }
    client.drain();
  };
  freeMost(0);
  EXPECT_GT(heap->trim(Heap::Trim::kOften), 1000u) << "the first time";
  freeMost(50'000);
  EXPECT_EQ(heap->trim(Heap::Trim::kOften), 0u) << "at once again";
  void* large = client.alloc(1_MiB);
  client.free(large);
  EXPECT_GE(heap->trim(Heap::Trim::kOften), 1_MiB >> kPageShift);
  EXPECT_GT(heap->trim(), 1000u) << "memory is short";
  EXPECT_EQ(heap.broken(), "");
}

}  // namespace
}  // namespace graft::heap
