// The marker against the reference of reference.h: the same set on random heaps that change between
// cycles, for every filter, any number of workers and with hardly any memory for grey objects; and
// what an object's words count for, one kind of pointer at a time.
#include "core/gc/mark.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include "tests/unit/gc/reference.h"

namespace graft::gc {
namespace {

using heap::Client;
using heap::Heap;
using heap::TestHeap;

struct How {
  uint32_t workers;
  FilterKind filter;
  size_t chunks;  // 0: as many as wanted
};

class Against : public testing::TestWithParam<How> {};

TEST_P(Against, ReferenceOnRandomHeaps) {
  How how = GetParam();
  if (filterOf(how.filter) == nullptr) GTEST_SKIP() << "this processor has no such filter";
  for (uint64_t seed = 1; seed <= 3; seed++) {
    TestHeap heap;
    RandomHeap random(*heap, seed * 100 + how.workers);
    MarkRun run;
    ASSERT_TRUE(run.ok());
    if (how.chunks != 0) run.pool().limitForTest(how.chunks);
    random.grow(4000);
    for (int round = 0; round < 4; round++) {
      std::vector<uint64_t> roots = random.roots(5 + static_cast<size_t>(round) * 20);
      std::set<Addr> expected = reachable(*heap, roots);
      heap->beginCycle();
      heap->blackenCaches();
      MarkCounts counts = run.mark(*heap, roots, how.workers, how.filter);
      ASSERT_EQ(random.compare(expected), "") << "seed " << seed << " round " << round;
      EXPECT_EQ(counts.objects, expected.size());
      if (how.chunks == 1 && round == 3) {
        EXPECT_GT(run.rescans(), 0u) << "it had to overflow";
      }
      uint64_t small_white = MarkRun::sweep(*heap);
      EXPECT_LE(small_white + expected.size(), random.size());
      EXPECT_EQ(heap.broken(), "");
      random.mutate();
      random.grow(500);
    }
  }
}

// Byte by byte, tagged and mangled, across the pieces that large blocks are read in.
TEST(Confirm, AgreesWithTheReference) {
  for (uint64_t seed = 1; seed <= 4; seed++) {
    TestHeap heap;
    RandomHeap random(*heap, seed);
    heap::Rng rng(seed);
    MarkRun run;
    ASSERT_TRUE(run.ok());
    random.grow(800);
    random.hide(1500, MarkRun::kGuard);
    std::vector<uint64_t> roots = random.roots(4);
    for (uint64_t& w : roots) w &= (uint64_t{1} << 47) - 1;
    std::set<Addr> plain = reachable(*heap, roots);
    std::set<Addr> expected = reachable(*heap, roots, true, MarkRun::kGuard);
    EXPECT_GT(expected.size(), plain.size() + 50) << "many are hidden";
    heap->beginCycle();
    heap->blackenCaches();
    run.mark(*heap, roots, 1 + static_cast<uint32_t>(seed % 2), bestFilter(), true);
    ASSERT_EQ(random.compare(expected), "") << "seed " << seed;
    MarkRun::sweep(*heap);
  }
}

std::string nameOf(const testing::TestParamInfo<How>& of) {
  const How& h = of.param;
  return std::string(kFilterNames[static_cast<size_t>(h.filter)]) + "_" +
         std::to_string(h.workers) + "_workers_" + std::to_string(h.chunks) + "_chunks";
}

INSTANTIATE_TEST_SUITE_P(
    All, Against,
    testing::Values(How{1, FilterKind::kPortable, 0}, How{1, FilterKind::kAvx2, 0},
                    How{1, FilterKind::kAvx512, 0}, How{2, FilterKind::kAvx2, 0},
                    How{4, FilterKind::kPortable, 0}, How{1, FilterKind::kPortable, 1},
                    How{3, FilterKind::kPortable, 4}),
    nameOf);

class MarkOne : public testing::Test {
 protected:
  MarkOne() : client(*heap) {}
  // Whether p's object is marked when `word` is the only root.
  bool marks(uint64_t word, const void* p) {
    heap->beginCycle();
    heap->blackenCaches();
    run.mark(*heap, {word}, 1);
    heap::ObjectRef o;
    EXPECT_TRUE(heap->findObject(reinterpret_cast<Addr>(p), &o));
    bool marked = Heap::isMarked(o.span, o.index);
    MarkRun::sweep(*heap);
    return marked;
  }
  TestHeap heap;
  Client client;
  MarkRun run;
};

uint64_t bits(const void* p) { return reinterpret_cast<uint64_t>(p); }

TEST_F(MarkOne, EveryByteOfAnObjectAndNoOther) {
  for (size_t size : {16ul, 48ul, 112ul, 1000ul, 5000ul, 32768ul}) {
    char* p = static_cast<char*>(client.alloc(size));
    size_t usable = heap::classSize(heap::classFor(size));
    for (size_t at : {0ul, 1ul, 7ul, 8ul, usable / 2, usable - 1}) {
      EXPECT_TRUE(marks(bits(p) + at, p)) << size << " at " << at;
    }
    EXPECT_FALSE(marks(bits(p) - 1, p)) << size;
    EXPECT_FALSE(marks(bits(p) + usable, p)) << size;
  }
}

TEST_F(MarkOne, LargeBlocksAreWholeAndTheirUntouchedPagesStayAway) {
  constexpr size_t kSize = 512_MiB;
  char* p = static_cast<char*>(client.alloc(kSize));
  ASSERT_NE(p, nullptr);
  void* at_front = client.alloc(64);
  void* at_end = client.alloc(64);
  memcpy(p + 8, &at_front, 8);
  memcpy(p + kSize - 8, &at_end, 8);
  EXPECT_TRUE(marks(bits(p), at_front));
  EXPECT_TRUE(marks(bits(p) + kSize / 2 + 3, at_end));
  EXPECT_TRUE(marks(bits(p) + kSize - 1, p));
  EXPECT_FALSE(marks(bits(p) + kSize, p));
  unsigned char resident[2];
  ASSERT_EQ(mincore(p + kSize / 2, 2 * kOsPage, resident), 0);
  EXPECT_EQ(resident[0] & 1, 0) << "the marker made a page";
}

TEST_F(MarkOne, FreedObjectsAndCachedSlotsAreNotFollowed) {
  void* hidden = client.alloc(64);
  char* freed = static_cast<char*>(client.alloc(200));
  memcpy(freed + 64, &hidden, 8);
  client.free(freed);
  EXPECT_FALSE(marks(bits(freed), hidden)) << "in a cache";
  client.drain();
  EXPECT_FALSE(marks(bits(freed), hidden)) << "in its span";
}

// A guard page in the middle of a block, as coroutine libraries make them.
TEST_F(MarkOne, BlocksWithUnreadablePages) {
  char* p = static_cast<char*>(client.alloc(64_KiB + kOsPage));
  char* page = reinterpret_cast<char*>(roundUp(bits(p) + 8_KiB, kOsPage));
  void* inside = client.alloc(64);
  void* behind = client.alloc(64);
  memcpy(page + 16, &inside, 8);
  memcpy(page + kOsPage, &behind, 8);
  ASSERT_EQ(mprotect(page, kOsPage, PROT_NONE), 0);
  EXPECT_TRUE(marks(bits(p), behind));
  EXPECT_TRUE(marks(bits(p), inside)) << "the kernel can read what the program cannot";
  ASSERT_EQ(mprotect(page, kOsPage, PROT_READ | PROT_WRITE), 0);
}

}  // namespace
}  // namespace graft::gc
