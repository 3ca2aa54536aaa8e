// Tests of one mcache: its layout, its start, the empty view that every thread without a cache
// shares, and that dropping and counting touch pointers only.
#include "core/heap/mcache.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/unit/heap/test_peer.h"

namespace graft::heap {
namespace {

std::unique_ptr<MCache> newCache() {
  auto c = std::make_unique<MCache>();
  memset(static_cast<void*>(c.get()), 0, sizeof *c);  // as fresh pages are
  c->init(7, {});
  return c;
}

TEST(MCache, StacksAreDisjointAndLargeEnough) {
  uint32_t next = 0;
  for (unsigned c = 1; c < kNumClasses; c++) {
    EXPECT_EQ(kSlotLayout.start[c], next);
    next += kClasses.info[c].cache_start + 1u;
  }
  for (unsigned c = 1; c < kNumClasses; c++) {
    EXPECT_EQ(kSlotLayout.large[c], next);
    next += kClasses.info[c].cache_max + 1u;
  }
  EXPECT_EQ(next, kSlotLayout.total);
}

TEST(MCache, StartsEmptyWithASmallCapacity) {
  auto c = newCache();
  EXPECT_EQ(c->index, 7u);
  for (unsigned i = 1; i < kNumClasses; i++) {
    ClassId cls = static_cast<ClassId>(i);
    EXPECT_TRUE(c->empty(cls));
    EXPECT_EQ(c->count(cls), 0u);
    EXPECT_GE(c->capacity(cls), 2u);
    EXPECT_LE(c->capacity(cls), kClasses.info[i].cache_max);
    EXPECT_EQ(*c->top[cls], noSlot()) << "malloc looks at the entry below the first slot";
  }
  EXPECT_EQ(c->cachedBytes(), 0u);
}

TEST(MCache, StackOfNoClassIsFull) {
  auto c = newCache();
  for (size_t none : {size_t{0}, size_t{kSlowByte}}) {
    EXPECT_EQ(c->top[none], c->end[none]);
    EXPECT_EQ(*c->top[none], noSlot());
  }
}

TEST(MCache, GrowsByMovingWhileEmpty) {
  auto c = newCache();
  for (unsigned i = 1; i < kNumClasses; i++) {
    ClassId cls = static_cast<ClassId>(i);
    size_t most = kClasses.info[i].cache_max, cap = c->capacity(cls);
    while (cap < most) {
      c->grow(cls);
      cap = cap * 2 < most ? cap * 2 : most;
      ASSERT_EQ(c->capacity(cls), cap);
      ASSERT_TRUE(c->empty(cls));
      ASSERT_EQ(*c->top[cls], noSlot());
    }
    char slots[512];
    for (size_t k = 0; k < cap; k++) *++c->top[cls] = &slots[k];
    size_t seen = 0;
    ASSERT_EQ(c->forEachSlot(cls, [&](void* p) { seen += p == &slots[seen]; }), cap);
    ASSERT_EQ(seen, cap);
  }
  for (unsigned i = 1; i < kNumClasses; i++) {
    EXPECT_EQ(c->count(static_cast<ClassId>(i)), kClasses.info[i].cache_max) << "undisturbed";
  }
}

TEST(MCache, CountsAndDrops) {
  auto c = newCache();
  char slots[3][64];
  for (char* s : slots) *++c->top[4] = s;
  *++c->top[2] = slots[0];
  EXPECT_EQ(c->count(4), 3u);
  EXPECT_EQ(c->cachedBytes(), 3 * 64 + 32u);
  c->setCapacity(4, 3);
  EXPECT_EQ(c->top[4], c->end[4]);
  c->dropAll();
  EXPECT_TRUE(c->empty(4));
  EXPECT_TRUE(c->empty(2));
  EXPECT_EQ(c->capacity(4), 3u);
}

TEST(MCache, EmptyViewTakesAndGivesNothing) {
  TestHeap heap;
  ASSERT_TRUE(heap.ok());
  Client client(*heap);
  void* live = client.alloc(100);
  CacheHead& empty =
      const_cast<CacheHead&>(kEmptyCache);  // in read-only memory: a write would crash
  for (unsigned c = 0; c < kClassBytes; c++) {
    EXPECT_EQ(mallocFast(empty, c), nullptr);
    EXPECT_EQ(empty.top[c], empty.end[c]);
  }
  EXPECT_FALSE(freeFast(empty, live));
  EXPECT_TRUE(client.free(live));
  for (unsigned c = 0; c < kClassBytes; c++) {
    EXPECT_NE(kNoSlot.words[1], heap->keyOf(static_cast<ClassId>(c)));
    EXPECT_NE(kNoSlot.words[1], kEmptyCache.key[c]);
  }
}

// A thread that has no cache yet sees no heap.
TEST(MCache, HeapBeforeStartServesNothing) {
  auto heap = std::make_unique<Heap>();
  EXPECT_FALSE(heap->ready());
  CacheHead& empty = const_cast<CacheHead&>(kEmptyCache);
  EXPECT_EQ(mallocFast(empty, 3), nullptr);
  alignas(16) char x[64] = {};
  EXPECT_FALSE(freeFast(empty, x));
  EXPECT_FALSE(freeFast(empty, nullptr));
  EXPECT_EQ(usableFast(*heap, x), 0u);
}

}  // namespace
}  // namespace graft::heap
