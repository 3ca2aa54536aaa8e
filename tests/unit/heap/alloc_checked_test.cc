// Tests of checked and stress mode: sound programs are never reported whatever route their blocks
// take, and a write to any byte of a freed block is.
#include <gtest/gtest.h>

#include "core/heap/heap.h"
#include "tests/unit/heap/test_peer.h"

namespace graft::heap {
namespace {

TEST(AllocChecked, FillPatternsSurviveEveryRoute) {
  TestHeap heap;
  heap->setChecks(1, 0);
  Client client(*heap);
  client.slowOnly();
  Rng rng(8);
  std::vector<std::pair<char*, size_t>> live;
  for (int i = 0; i < 30'000; i++) {
    if (live.size() < 300 || (live.size() < 3000 && rng.below(2) != 0)) {
      size_t size = rng.below(3000);
      char* p = static_cast<char*>(client.alloc(size));
      memset(p, 0x11, size);
      live.emplace_back(p, size);
    } else {
      std::swap(live[rng.below(live.size())], live.back());
      ASSERT_TRUE(client.free(live.back().first));
      live.pop_back();
    }
    if (i % 500 == 0) client.drain();
    ASSERT_EQ(heap.misuses(), 0u) << "a sound program is not reported";
  }
  EXPECT_EQ(heap.broken(), "");
}

// A free slot that lies across two pages, of which the second is given back: its fill is gone,
// which is no one's use after free.
TEST(AllocChecked, PurgeOfASlotsSecondPageIsNoMisuse) {
  TestHeap heap;
  heap->setChecks(1, 0);
  Client client(*heap);
  client.slowOnly();
  std::vector<char*> p;
  for (int i = 0; i < 16; i++) p.push_back(static_cast<char*>(client.alloc(3072)));
  for (int i = 1; i < 16; i++) client.free(p[static_cast<size_t>(i)]);
  client.drain();
  heap->purgePartial();
  for (int i = 1; i < 16; i++) client.alloc(3072);
  heap.expectMisuses(0);
}

TEST(AllocChecked, WriteAnywhereAfterFreeIsReported) {
  TestHeap heap;
  heap->setChecks(1, 0);
  Client client(*heap);
  client.slowOnly();
  for (size_t at : {0, 7, 8, 15, 16, 50, 79}) {
    char* p = static_cast<char*>(client.alloc(80));
    client.free(p);
    p[at] ^= 1;
    EXPECT_NE(client.alloc(80), p);
    heap.expectMisuses(1);
  }
}

TEST(AllocChecked, StressModeKeepsTheHeapWhole) {
  TestHeap heap;
  heap->setChecks(2, 3);
  Client client(*heap);
  client.slowOnly();
  Rng rng(9);
  std::vector<std::pair<char*, size_t>> live;
  for (int i = 0; i < 5000; i++) {
    if (live.size() < 100 || rng.below(2) != 0) {
      size_t size = rng.below(2000) + 1;
      char* p = static_cast<char*>(client.alloc(size));
      fillPattern(p, size, size);
      live.emplace_back(p, size);
    } else {
      std::swap(live[rng.below(live.size())], live.back());
      auto [p, size] = live.back();
      ASSERT_TRUE(checkPattern(p, size, size));
      ASSERT_TRUE(client.free(p));
      live.pop_back();
    }
    if (heap.misuses() != 0) break;
  }
  heap.expectMisuses(0);
  EXPECT_EQ(heap.broken(), "");
}

TEST(Alloc, StressModeWithoutChecksKeepsTheHeapWhole) {
  TestHeap heap;
  heap->setChecks(0, 2);
  Client client(*heap);
  client.slowOnly();
  Rng rng(10);
  std::vector<std::pair<char*, size_t>> live;
  for (int i = 0; i < 5000; i++) {
    if (live.size() < 100 || rng.below(2) != 0) {
      size_t size = rng.below(9000) + 1;
      char* p = static_cast<char*>(client.alloc(size));
      fillPattern(p, size, size);
      live.emplace_back(p, size);
    } else {
      std::swap(live[rng.below(live.size())], live.back());
      auto [p, size] = live.back();
      ASSERT_TRUE(checkPattern(p, size, size));
      ASSERT_TRUE(client.free(p));
      live.pop_back();
    }
  }
  EXPECT_EQ(heap.broken(), "");
}

}  // namespace
}  // namespace graft::heap
