// Tests of the figures: they agree with what the test has allocated, byte by byte.
#include <gtest/gtest.h>

#include "core/heap/heap.h"
#include "tests/unit/heap/test_peer.h"

namespace graft::heap {
namespace {

TEST(Stats, NothingBeforeStart) {
  auto heap = std::make_unique<Heap>();
  HeapStats st = heap->stats();
  EXPECT_EQ(st.spans, 0u);
  EXPECT_EQ(st.reserved, 0u);
}

TEST(Stats, AddUpAtEveryStep) {
  TestHeap heap;
  Client client(*heap);
  Rng rng(12);
  std::vector<void*> blocks;
  uint64_t small = 0, large = 0;
  for (int i = 0; i < 20'000; i++) {
    if (blocks.empty() || (i / 3000 % 2 == 0 ? rng.below(10) < 7 : rng.below(10) < 4)) {
      void* p = client.alloc(rng.below(50) == 0 ? 33'000 + rng.below(100'000) : rng.below(4000));
      BlockInfo b = heap->classify(p);
      (b.kind == AddrKind::kLarge ? large : small) += b.size;
      blocks.push_back(p);
    } else {
      std::swap(blocks[rng.below(blocks.size())], blocks.back());
      BlockInfo b = heap->classify(blocks.back());
      (b.kind == AddrKind::kLarge ? large : small) -= b.size;
      client.free(blocks.back());
      blocks.pop_back();
    }
    if (i % 500 != 0) continue;
    HeapStats st = heap->stats();
    ASSERT_EQ(st.small_used, small);
    ASSERT_EQ(st.large_used, large);
    ASSERT_EQ(st.cached, client.cache().cachedBytes());
    ASSERT_EQ(st.pages.large_pages << kPageShift, large);
    uint64_t slots = st.small_used + st.small_free + st.cached;
    ASSERT_LE(slots, st.pages.small_pages << kPageShift);
    ASSERT_GE(slots * 100, (st.pages.small_pages << kPageShift) * 80) << "tails are short";
    ASSERT_EQ(heap.pagesAddUp(), "");
    uint64_t in_slots = 0, open = 0;
    for (size_t c = 1; c < kNumClasses; c++) {
      const ClassStats& of = st.classes[c];
      ASSERT_EQ(of.cached, client.cache().count(static_cast<ClassId>(c)));
      ASSERT_LE(of.open, of.pages);
      in_slots += (of.slots - of.free - of.cached) * classSize(static_cast<ClassId>(c));
      open += of.open;
    }
    ASSERT_EQ(in_slots, small);
    ASSERT_GE(open << kPageShift, small) << "what is used lies on open pages";
  }
  HeapStats st = heap->stats();
  EXPECT_GT(st.refills, 0u);
  EXPECT_GT(st.flushes, 0u);
  EXPECT_EQ(st.caches, 1u);
  EXPECT_EQ(st.caches_owned, 1u);
  EXPECT_EQ(st.reserved, heap->space.reservedBytes());
  EXPECT_GT(st.metadata_bytes, 0u);
  uint64_t spans = 0, blocks_large = 0;
  heap->forEachSpan([&](Span* s) {
    spans +=
        s->state.loadRelaxed() == SpanState::kSmall || s->state.loadRelaxed() == SpanState::kLarge;
    blocks_large += s->state.loadRelaxed() == SpanState::kLarge;
  });
  EXPECT_EQ(st.spans, spans);
  EXPECT_EQ(st.pages.large_blocks, blocks_large);
}

// What the heap keeps about itself: less than 4 % of a heap full of the smallest blocks.
TEST(Stats, MetadataIsSmall) {
  TestHeap heap;
  Client client(*heap);
  for (size_t i = 0; i < 64_MiB / 16; i++) client.alloc(16);
  HeapStats st = heap->stats();
  EXPECT_LT(st.metadata_bytes, 64_MiB * 4 / 100);
}

}  // namespace
}  // namespace graft::heap
