// Tests of validate() itself: each numbered invariant, once broken on purpose, is named; a sound
// heap in any state is not complained about.
#include <gtest/gtest.h>

#include "core/heap/heap.h"
#include "tests/unit/heap/test_peer.h"

namespace graft::heap {
namespace {

class Validate : public testing::Test {
 protected:
  Validate() : client(*heap) {
    for (int i = 0; i < 300; i++) blocks.push_back(client.alloc(200));
    for (int i = 0; i < 300; i += 3) client.free(blocks[static_cast<size_t>(i)]);
    client.drain();
    live = blocks[1];
    freed = blocks[0];
    span = heap->classify(live).span;
    cls = classFor(200);
  }
  ~Validate() override {
    // Whatever a test broke it has mended.
    EXPECT_EQ(heap.broken(), "");
  }
  bool complains(const char* word) {
    std::string bad = heap.broken();
    return bad.find(word) != std::string::npos;
  }

  TestHeap heap;
  Client client;
  std::vector<void*> blocks;
  void *live, *freed;
  Span* span;
  ClassId cls;
};

TEST_F(Validate, SoundHeapPasses) { EXPECT_EQ(heap.broken(), ""); }

TEST_F(Validate, PageMap) {
  PageId p = span->page.loadRelaxed() + 1;
  uint64_t e = heap->space.entry(p);
  heap->space.map()[p].storeRelaxed(0);
  EXPECT_TRUE(complains("INV-SPAN-1"));
  heap->space.map()[p].storeRelaxed(e ^ 1);
  EXPECT_TRUE(complains("class byte"));
  heap->space.map()[p].storeRelaxed(e);
}

TEST_F(Validate, FreeCount) {
  span->nfree.storeRelaxed(span->nfree.loadRelaxed() - 1);
  EXPECT_TRUE(complains("INV-SPAN-2"));
  span->nfree.storeRelaxed(span->nfree.loadRelaxed() + 1);
}

TEST_F(Validate, BitsBeyondTheLastSlot) {
  uint32_t n = span->nelems.loadRelaxed();
  if (n % 64 == 0) GTEST_SKIP() << "no spare bit";
  base::Atomic<uint64_t>& w = span->freeBits()[n / 64];
  uint64_t bit = uint64_t{1} << (n % 64);
  w.fetchOrRelaxed(bit);
  EXPECT_TRUE(complains("INV-SPAN-3"));
  w.fetchAndRelaxed(~bit);
}

TEST_F(Validate, KeyOfFreeSlots) {
  uint64_t& second = static_cast<uint64_t*>(freed)[1];
  second ^= 1;
  EXPECT_TRUE(complains("INV-SPAN-4"));
  second ^= 1;
}

TEST_F(Validate, UsedSlotOnAClosedPage) {
  auto open = span->open_pages.loadRelaxed();
  span->open_pages.storeRelaxed(0);
  EXPECT_TRUE(complains("INV-SPAN-5"));
  span->open_pages.storeRelaxed(open);
}

TEST_F(Validate, CentralList) {
  span->listed = 0;
  EXPECT_TRUE(complains("INV-SPAN-6"));
  span->listed = 1;
  heap->central[cls].spans++;
  EXPECT_TRUE(complains("span count"));
  heap->central[cls].spans--;
  heap->central[cls].empties++;
  EXPECT_TRUE(complains("kept empty"));
  heap->central[cls].empties--;
  SpanId tail = heap->central[cls].tail;
  heap->central[cls].tail = 0;
  EXPECT_TRUE(complains("tail"));
  heap->central[cls].tail = tail;
}

TEST_F(Validate, CachesHoldSlots) {
  client.free(live);
  ASSERT_EQ(*client.cache().top[cls], live);
  void* entry = live;
  *client.cache().top[cls] = static_cast<char*>(live) + 16;
  EXPECT_TRUE(complains("cache: entry is no slot"));
  *client.cache().top[cls] = freed;
  EXPECT_TRUE(complains("also free"));
  *client.cache().top[cls] = blocks[2];
  EXPECT_TRUE(complains("lost its key")) << "a live block in a cache";
  *client.cache().top[cls] = entry;
}

TEST_F(Validate, StatisticsOfPages) {
  // One page of a large block is taken away behind the page heap's back.
  void* large = client.alloc(100'000);
  Span* s = heap->classify(large).span;
  uint32_t n = s->npages.loadRelaxed();
  s->npages.storeRelaxed(n - 1);
  EXPECT_NE(heap.broken(), "");
  s->npages.storeRelaxed(n);
}

}  // namespace
}  // namespace graft::heap
