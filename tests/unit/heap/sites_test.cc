// Tests of allocation-site ids: sixteen bits per slot beside the heap, one place per block, nothing
// for foreign memory.
#include <gtest/gtest.h>

#include "core/heap/heap.h"
#include "tests/unit/heap/test_peer.h"

namespace graft::heap {
namespace {

TEST(Sites, OffUntilEnabled) {
  TestHeap heap;
  Client client(*heap);
  void* p = client.alloc(10);
  EXPECT_FALSE(heap->sitesOn());
  EXPECT_EQ(heap->siteOf(p), 0);
}

TEST(Sites, EachBlockHasItsOwn) {
  TestHeap heap;
  Client client(*heap);
  if (!heap->enableSites()) GTEST_SKIP() << "no address space for site ids";
  EXPECT_TRUE(heap->enableSites()) << "twice is once";
  std::vector<void*> p;
  Rng rng(1);
  for (uint32_t i = 0; i < 20'000; i++) {
    p.push_back(client.alloc(i % 100 == 0 ? 40'000 : rng.below(200)));
    EXPECT_EQ(heap->siteOf(p.back()), 0) << "unset";
    heap->setSite(p.back(), static_cast<uint16_t>(i + 1));
  }
  for (uint32_t i = 0; i < p.size(); i++) {
    ASSERT_EQ(heap->siteOf(p[i]), static_cast<uint16_t>(i + 1));
  }
  int local = 0;
  heap->setSite(&local, 7);
  EXPECT_EQ(heap->siteOf(&local), 0);
  EXPECT_EQ(local, 0);
  for (void* q : p) client.free(q);
  EXPECT_EQ(heap.broken(), "");
}

TEST(Sites, RefusedMemoryLeavesThemOff) {
  TestHeap heap;
  for (uint64_t every : {1, 2}) {
    os::setFaultInjection(every);
    bool on = heap->enableSites();
    os::setFaultInjection(0);
    EXPECT_FALSE(on) << every;
    EXPECT_FALSE(heap->sitesOn());
  }
}

}  // namespace
}  // namespace graft::heap
