// Tests of large blocks and of memory that is said to be zero: alignment, absurd sizes, moving by
// page tables and by copying, and every route by which a run of old pages might pass for a fresh
// one.
#include <gtest/gtest.h>

#include "core/heap/heap.h"
#include "tests/unit/heap/test_peer.h"

namespace graft::heap {
namespace {

TEST(AllocLarge, AlignmentAndZero) {
  TestHeap heap;
  for (size_t align = 16; align <= 64_MiB; align *= 4) {
    bool zero = false;
    char* p = static_cast<char*>(heap->allocLarge(100'000, align, &zero));
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(reinterpret_cast<Addr>(p) % align, 0u);
    EXPECT_TRUE(!zero || allBytes(p, 100'000, 0));
    memset(p, 1, 100'000);
    EXPECT_EQ(heap->classify(p).kind, AddrKind::kLarge);
    ASSERT_TRUE(heap->freeLarge(heap->classify(p)));
  }
  EXPECT_EQ(heap.broken(), "");
}

TEST(AllocLarge, AbsurdSizesAreRefused) {
  TestHeap heap;
  bool zero = false;
  for (size_t size : {~size_t{0} / 2, size_t{1} << 62, size_t{1} << 44, 2048_GiB}) {
    EXPECT_EQ(heap->allocLarge(size, 16, &zero), nullptr) << size;
  }
  for (size_t align : {size_t{1} << 63, size_t{1} << 50, 4096_GiB}) {
    EXPECT_EQ(heap->allocLarge(100, align, &zero), nullptr) << align;
  }
  EXPECT_EQ(heap.broken(), "");
}

TEST(AllocLarge, SizesNearTheEndOfTheAddressSpaceAreRefused) {
  TestHeap heap;
  bool zero = false;
  for (size_t less : {0, 1, 8190, 8191, 100'000}) {
    EXPECT_EQ(heap->allocLarge(~size_t{0} - less, 16, &zero), nullptr) << less;
  }
}

TEST(AllocLarge, MoveKeepsTheContents) {
  for (bool deny : {false, true}) {
    Config c = testConfig();
    c.deny_mremap = deny;
    TestHeap heap(c);
    Client client(*heap);
    char* p = static_cast<char*>(client.alloc(3_MiB));
    char* wall = static_cast<char*>(client.alloc(40'000));
    fillPattern(p, 3_MiB, 5);
    BlockInfo b = heap->classify(p);
    EXPECT_FALSE(heap->resizeLarge(b, 6_MiB)) << "the wall";
    char* q = static_cast<char*>(heap->moveLarge(b, 6_MiB));
    EXPECT_EQ(q == nullptr, deny);
    if (q == nullptr) continue;
    EXPECT_TRUE(checkPattern(q, 3_MiB, 5));
    memset(q + 3_MiB, 1, 3_MiB);
    EXPECT_EQ(heap->classify(p).kind, AddrKind::kFreePages);
    EXPECT_EQ(heap.broken(), "");
    // Again and again, and what was moved can be freed, merged and handed out.
    for (int i = 0; i < 5; i++) {
      b = heap->classify(q);
      q = static_cast<char*>(heap->moveLarge(b, b.size + 1_MiB));
      ASSERT_NE(q, nullptr);
      ASSERT_TRUE(checkPattern(q, 3_MiB, 5));
    }
    EXPECT_TRUE(client.free(q));
    EXPECT_TRUE(client.free(wall));
    EXPECT_EQ(heap.broken(), "");
    bool zero = false;
    char* all = static_cast<char*>(client.alloc(8_MiB, &zero));
    EXPECT_TRUE(!zero || allBytes(all, 8_MiB, 0));
  }
}

TEST(AllocLarge, MoveSurvivesRefusedRemaps) {
  TestHeap heap;
  Client client(*heap);
  for (uint64_t every : {1, 2, 3}) {
    char* p = static_cast<char*>(client.alloc(2_MiB));
    fillPattern(p, 2_MiB, every);
    client.alloc(40'000);
    client.free(client.alloc(16_MiB));  // room, so that only the remap can fail
    os::setFaultInjection(every);
    char* q = static_cast<char*>(heap->moveLarge(heap->classify(p), 4_MiB));
    os::setFaultInjection(0);
    char* now = q != nullptr ? q : p;
    EXPECT_TRUE(checkPattern(now, 2_MiB, every)) << every;
    EXPECT_EQ(heap->classify(now).kind, AddrKind::kLarge);
    EXPECT_EQ(heap.broken(), "");
    client.free(now);
  }
}

// What is left over when a moved block shrinks must be as good as any free run.
TEST(AllocLarge, MovedBlocksShrinkAndGrow) {
  TestHeap heap;
  Client client(*heap);
  char* p = static_cast<char*>(client.alloc(4_MiB));
  fillPattern(p, 4_MiB, 9);
  client.alloc(40'000);
  char* q = static_cast<char*>(heap->moveLarge(heap->classify(p), 8_MiB));
  ASSERT_NE(q, nullptr);
  ASSERT_TRUE(heap->resizeLarge(heap->classify(q), 1_MiB));
  EXPECT_TRUE(checkPattern(q, 1_MiB, 9));
  EXPECT_EQ(heap.broken(), "");
  heap->trim();
  bool zero = false;
  char* r = static_cast<char*>(client.alloc(6_MiB, &zero));
  EXPECT_TRUE(!zero || allBytes(r, 6_MiB, 0));
  memset(r, 2, 6_MiB);
  EXPECT_TRUE(checkPattern(q, 1_MiB, 9));
  client.free(q);
  client.free(r);
  EXPECT_EQ(heap.broken(), "");
}

// A span cut from a dirty run, used a little, purged and emptied: pages that it never opened still
// hold what the run held before, so the run must not count as zero.
TEST(AllocZero, SpanCutFromADirtyRunIsNotZeroAfterPurge) {
  TestHeap heap;
  Client client(*heap);
  char* p = static_cast<char*>(client.alloc(256_KiB));
  memset(p, 0xaa, 256_KiB);
  client.free(p);
  void* small = client.alloc(64);
  ASSERT_LT(reinterpret_cast<Addr>(small) - reinterpret_cast<Addr>(p), 256_KiB);
  client.free(small);
  client.drain();
  heap->purgePartial();
  heap->trim();
  bool zero = false;
  char* q = static_cast<char*>(client.alloc(64_KiB, &zero));
  for (size_t i = 0; i < 64_KiB && zero; i++) ASSERT_EQ(q[i], 0) << "calloc would return this";
}

// The same through the collector: during a cycle emptied spans stay, and trim purges them.
TEST(AllocZero, SpanPurgedDuringACycleIsNotZero) {
  TestHeap heap;
  Client client(*heap);
  char* p = static_cast<char*>(client.alloc(256_KiB));
  memset(p, 0xaa, 256_KiB);
  client.free(p);
  void* small = client.alloc(64);
  client.slowOnly();
  heap->beginCycle();
  client.free(small);
  client.drain();
  heap->trim();
  heap->blackenCaches();
  heap->finishMark(SweepMode::kDetect);
  heap->acknowledge(client.cache());
  heap->sweepAll();
  heap->endCycle();
  bool zero = false;
  char* q = static_cast<char*>(client.alloc(64_KiB, &zero));
  for (size_t i = 0; i < 64_KiB && zero; i++) ASSERT_EQ(q[i], 0) << "calloc would return this";
}

// Slots of many pages: data also lies on pages where no slot starts.
TEST(AllocZero, PagesInsideALongSlotAreNotZeroAfterPurge) {
  for (size_t size : {6000, 9000, 20'000, 32'768}) {
    TestHeap heap;
    Client client(*heap);
    void* p = client.alloc(size);
    memset(p, 0xaa, size);
    client.free(p);
    client.drain();
    heap->purgePartial();
    heap->trim();
    EXPECT_EQ(heap->stats().spans, 0u);
    bool zero = false;
    char* q = static_cast<char*>(client.alloc(256_KiB, &zero));
    for (size_t i = 0; i < 256_KiB && zero; i++) {
      ASSERT_EQ(q[i], 0) << "calloc would return this, slots of " << size;
    }
  }
}

}  // namespace
}  // namespace graft::heap
