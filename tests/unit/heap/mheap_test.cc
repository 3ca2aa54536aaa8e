// Tests of the page heap on its own: runs of pages are handed out once, merged, aligned, resized in
// place, given back to the system by age; and a property test against a map of page ranges.
#include "core/heap/mheap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "core/os/clock.h"
#include "tests/unit/heap/test_peer.h"

namespace graft::heap {
namespace {

class MHeapTest : public testing::Test {
 protected:
  void SetUp() override {
    Config c = testConfig();
    c.cache_bytes = 64_KiB;
    ASSERT_TRUE(space.init(c));
    mheap.init(space, true);
  }
  void TearDown() override { EXPECT_EQ(broken(), ""); }
  std::string broken() {
    os::Lock lock(mheap.mutex());
    const char* bad = mheap.validateLocked();
    if (bad != nullptr) return bad;
    return "";
  }
  Span* large(size_t npages, size_t align = 1, bool* zero = nullptr) {
    bool z = false;
    return mheap.allocLarge(npages, align, zero != nullptr ? zero : &z);
  }
  bool free(Span* s) { return mheap.freeLarge(s, s->page.loadRelaxed(), now()); }
  char* at(Span* s) { return reinterpret_cast<char*>(space.addrOf(s->page.loadRelaxed())); }
  static uint32_t now() { return static_cast<uint32_t>(os::nowMs()); }
  size_t freeRuns() {
    size_t n = 0;
    os::Lock lock(mheap.mutex());
    mheap.forEachSpanLocked([&](Span* s) { n += s->isFreeRun(); });
    return n;
  }

  TestSpace space;
  MHeap mheap;
};

TEST_F(MHeapTest, SmallSpanStartsClosed) {
  for (ClassId c : {ClassId{1}, ClassId{8}, ClassId{40}, ClassId{72}}) {
    size_t npages = kClasses.info[c].span_pages;
    Span* s = mheap.allocSmall(c, npages);
    ASSERT_NE(s, nullptr);
    EXPECT_EQ(s->state.loadRelaxed(), SpanState::kSmall);
    EXPECT_EQ(s->cls.loadRelaxed(), c);
    EXPECT_EQ(s->npages.loadRelaxed(), npages);
    EXPECT_EQ(s->nelems.loadRelaxed(), (npages << kPageShift) / classSize(c));
    EXPECT_GE(s->words * 64, s->nelems.loadRelaxed());
    EXPECT_EQ(s->nfree.loadRelaxed(), 0);
    EXPECT_EQ(s->open_pages.loadRelaxed(), 0u);
    for (uint32_t w = 0; w < s->words; w++) {
      EXPECT_EQ(s->freeBits()[w].loadRelaxed(), 0u);
      EXPECT_EQ(s->markBits()[w].loadRelaxed(), 0u);
    }
    for (PageId i = 0; i < npages; i++) {
      uint64_t e = space.entry(s->page.loadRelaxed() + i);
      EXPECT_EQ(space.spanOfEntry(e), s);
      EXPECT_EQ(static_cast<uint8_t>(e), kSlowByte);
    }
  }
}

TEST_F(MHeapTest, FreeSmallClearsEveryEntry) {
  Span* s = mheap.allocSmall(20, 8);
  Span* after = large(1);
  PageId first = s->page.loadRelaxed();
  s->open_pages.storeRelaxed(1);
  mheap.freeSmall(s);
  for (PageId i = 1; i < 7; i++) EXPECT_EQ(space.entry(first + i), 0u);
  EXPECT_EQ(static_cast<uint8_t>(space.entry(first)), 0);
  EXPECT_EQ(static_cast<uint8_t>(space.entry(first + 7)), 0);
  EXPECT_EQ(mheap.stats().small_pages, 0u);
  free(after);
}

TEST_F(MHeapTest, FreshIsZeroAndReusedIsNot) {
  bool zero = false;
  Span* s = large(16, 1, &zero);
  EXPECT_TRUE(zero);
  EXPECT_TRUE(allBytes(at(s), 16 * kPageSize, 0));
  memset(at(s), 1, 16 * kPageSize);
  char* before = at(s);
  EXPECT_TRUE(free(s));
  s = large(16, 1, &zero);
  EXPECT_EQ(at(s), before) << "dirty runs are preferred";
  EXPECT_FALSE(zero);
}

TEST_F(MHeapTest, SecondFreeIsRefused) {
  Span* s = large(4);
  Span* keep = large(1);
  PageId p = s->page.loadRelaxed();
  EXPECT_FALSE(mheap.freeLarge(s, p + 1, now()));
  EXPECT_TRUE(mheap.freeLarge(s, p, now()));
  EXPECT_FALSE(mheap.freeLarge(s, p, now()));
  EXPECT_TRUE(free(keep));
  EXPECT_EQ(mheap.stats().large_blocks, 0u);
  EXPECT_EQ(mheap.stats().large_pages, 0u);
}

TEST_F(MHeapTest, NeighboursMergeInAnyOrder) {
  const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  for (const auto& order : orders) {
    Span* wall1 = large(1);
    Span* s[3] = {large(3), large(5), large(7)};
    Span* wall2 = large(1);
    ASSERT_EQ(wall2->page.loadRelaxed() - wall1->page.loadRelaxed(), 16u);
    char* start = at(s[0]);
    for (int i : order) free(s[i]);
    EXPECT_EQ(broken(), "");
    Span* all = large(15);
    EXPECT_EQ(at(all), start);
    free(all);
    free(wall1);
    free(wall2);
  }
  EXPECT_EQ(freeRuns(), 2u) << "one dirty, one clean";
}

TEST_F(MHeapTest, AlignmentHolds) {
  std::vector<Span*> made;
  for (size_t align = 1; align <= 4096; align *= 2) {
    for (size_t n : {1ul, 3ul, 100ul}) {
      Span* s = large(n, align);
      ASSERT_NE(s, nullptr);
      EXPECT_EQ(reinterpret_cast<Addr>(at(s)) % (align << kPageShift), 0u);
      EXPECT_EQ(s->npages.loadRelaxed(), n);
      made.push_back(s);
    }
    EXPECT_EQ(broken(), "");
  }
  for (Span* s : made) free(s);
  mheap.scavenge(now(), 0, ~size_t{0});
  EXPECT_EQ(freeRuns(), 1u) << "dirty and clean runs are one once all are clean";
}

TEST_F(MHeapTest, ResizeInPlace) {
  Span* s = large(100);
  Span* wall = large(1);
  at(s)[0] = 1;
  at(s)[kPageSize * 40 - 1] = 2;
  EXPECT_TRUE(mheap.resizeLarge(s, 100, now()));
  EXPECT_TRUE(mheap.resizeLarge(s, 40, now()));
  EXPECT_EQ(s->npages.loadRelaxed(), 40u);
  EXPECT_EQ(mheap.stats().large_pages, 41u);
  EXPECT_EQ(mheap.stats().dirty_pages, 60u);
  EXPECT_EQ(broken(), "");
  EXPECT_TRUE(mheap.resizeLarge(s, 70, now()));
  EXPECT_EQ(broken(), "");
  EXPECT_FALSE(mheap.resizeLarge(s, 101, now())) << "the wall is in the way";
  EXPECT_EQ(s->npages.loadRelaxed(), 70u);
  EXPECT_TRUE(mheap.resizeLarge(s, 100, now()));
  EXPECT_EQ(mheap.stats().dirty_pages, 0u);
  EXPECT_EQ(at(s)[0], 1);
  EXPECT_EQ(at(s)[kPageSize * 40 - 1], 2);
  for (PageId i = 0; i < 100; i++) {
    EXPECT_EQ(space.spanOfEntry(space.entry(s->page.loadRelaxed() + i)), s);
  }
  free(s);
  free(wall);
}

TEST_F(MHeapTest, ScavengeGivesOldRunsBack) {
  Span* s = large(64);
  Span* wall = large(1);
  memset(at(s), 1, 64 * kPageSize);
  char* start = at(s);
  uint32_t freed = now();
  mheap.freeLarge(s, s->page.loadRelaxed(), freed);
  EXPECT_EQ(mheap.scavenge(freed + 99, 100, ~size_t{0}), 0u) << "too young";
  EXPECT_EQ(mheap.stats().dirty_pages, 64u);
  EXPECT_EQ(mheap.scavenge(freed + 100, 100, ~size_t{0}), 64u);
  EXPECT_EQ(mheap.stats().dirty_pages, 0u);
  EXPECT_EQ(mheap.stats().purged_pages, 64u);
  EXPECT_EQ(broken(), "");
  bool zero = false;
  Span* again = large(64, 1, &zero);
  EXPECT_EQ(at(again), start);
  EXPECT_TRUE(zero);
  EXPECT_TRUE(allBytes(at(again), 64 * kPageSize, 0));
  free(again);
  free(wall);
}

TEST_F(MHeapTest, ScavengeTakesTheOldestFirst) {
  Span* s[4];
  Span* walls[4];
  for (int i = 0; i < 4; i++) {
    s[i] = large(10);
    walls[i] = large(1);
  }
  const int order[4] = {2, 0, 3, 1};
  char* starts[4];
  for (uint32_t i = 0; i < 4; i++) {
    starts[i] = at(s[order[i]]);
    memset(starts[i], 1, 8);
    mheap.freeLarge(s[order[i]], s[order[i]]->page.loadRelaxed(), 1000 + i);
  }
  for (uint32_t i = 0; i < 4; i++) {
    EXPECT_EQ(mheap.scavenge(2000, 0, 1), 10u);
    for (uint32_t k = 0; k < 4; k++) EXPECT_EQ(*starts[k] == 0, k <= i) << i << ' ' << k;
  }
  for (Span* w : walls) free(w);
}

// A thread that read the clock before another freed a run must not take that run for ancient.
TEST_F(MHeapTest, RunFreedAfterTheClockWasReadIsYoung) {
  Span* s = large(10);
  Span* wall = large(1);
  mheap.freeLarge(s, s->page.loadRelaxed(), 5001);
  EXPECT_EQ(mheap.scavenge(5000, 1000, ~size_t{0}), 0u);
  free(wall);
}

TEST_F(MHeapTest, HugeBlocksAreGivenBackAtOnce) {
  constexpr size_t kPages = 64_MiB >> kPageShift;
  Span* s = large(kPages);
  at(s)[12345] = 1;
  free(s);
  EXPECT_EQ(mheap.stats().dirty_pages, 0u);
  EXPECT_EQ(mheap.stats().purged_pages, kPages);
  bool zero = false;
  s = large(kPages, 1, &zero);
  EXPECT_TRUE(zero);
  EXPECT_EQ(at(s)[12345], 0);
  free(s);
}

TEST_F(MHeapTest, WithoutPurgeNothingBecomesClean) {
  mheap.init(space, false);
  Span* s = large(64_MiB >> kPageShift);
  memset(at(s), 1, 64);
  size_t n = s->npages.loadRelaxed();
  free(s);
  EXPECT_EQ(mheap.stats().dirty_pages, n);
  EXPECT_EQ(mheap.scavenge(now() + 5000, 0, ~size_t{0}), 0u);
  bool zero = true;
  s = large(n, 1, &zero);
  EXPECT_FALSE(zero);
  free(s);
}

TEST_F(MHeapTest, TooMuchIsRefused) {
  EXPECT_EQ(large(space.reservedBytes() >> kPageShift), nullptr);
  EXPECT_EQ(large(10, space.reservedBytes() >> kPageShift), nullptr);
  Span* s = large(10);
  EXPECT_NE(s, nullptr);
  EXPECT_FALSE(mheap.resizeLarge(s, space.reservedBytes() >> kPageShift, now()));
  free(s);
}

// Fault injection at every step: a call succeeds or leaves everything as it was.
TEST_F(MHeapTest, RefusedMemoryLeavesTheHeapWhole) {
  std::vector<Span*> made;
  Rng rng(5);
  for (uint64_t every : {1, 2, 3, 5, 7}) {
    os::setFaultInjection(every);
    for (int i = 0; i < 400; i++) {
      size_t n = 1 + rng.below(300);
      Span* s = rng.below(2) != 0 ? large(n, size_t{1} << rng.below(6))
                                  : mheap.allocSmall(static_cast<ClassId>(1 + rng.below(72)), 16);
      if (s != nullptr) made.push_back(s);
      if (made.size() > 100) {
        std::swap(made[rng.below(made.size())], made.back());
        Span* victim = made.back();
        made.pop_back();
        if (victim->state.loadRelaxed() == SpanState::kSmall) {
          mheap.freeSmall(victim);
        } else {
          ASSERT_TRUE(free(victim));
        }
      }
    }
    os::setFaultInjection(0);
    ASSERT_EQ(broken(), "") << every;
  }
  EXPECT_GT(made.size(), 50u);
}

// --- the reference: used page ranges by first page ---

struct Used {
  Span* span;
  size_t npages;
  uint64_t tag;
};

class Reference {
 public:
  // True when the range touches no used one.
  bool isFree(PageId first, size_t n) const {
    auto next = used.lower_bound(first);
    if (next != used.end() && next->first < first + n) return false;
    if (next == used.begin()) return true;
    auto before = std::prev(next);
    return before->first + before->second.npages <= first;
  }
  size_t pages() const {
    size_t n = 0;
    for (const auto& [first, u] : used) n += u.npages;
    return n;
  }
  std::map<PageId, Used> used;
};

class MHeapProperty : public MHeapTest {
 protected:
  // First and last word of each page carry the tag; the rest of a page is left alone.
  void stamp(Span* s, size_t from, size_t to, uint64_t tag) {
    for (size_t i = from; i < to; i++) {
      uint64_t* w = reinterpret_cast<uint64_t*>(at(s) + i * kPageSize);
      w[0] = w[kPageSize / 8 - 1] = tag + i;
    }
  }
  bool stamped(Span* s, size_t n, uint64_t tag) {
    for (size_t i = 0; i < n; i++) {
      uint64_t* w = reinterpret_cast<uint64_t*>(at(s) + i * kPageSize);
      if (w[0] != tag + i || w[kPageSize / 8 - 1] != tag + i) return false;
    }
    return true;
  }
  bool zeroed(Span* s, size_t n) {
    for (size_t i = 0; i < n; i++) {
      uint64_t* w = reinterpret_cast<uint64_t*>(at(s) + i * kPageSize);
      if (w[0] != 0 || w[kPageSize / 8 - 1] != 0) return false;
    }
    return true;
  }
  void add(Span* s, size_t n) {
    ASSERT_NE(s, nullptr);
    ASSERT_EQ(s->npages.loadRelaxed(), n);
    PageId first = s->page.loadRelaxed();
    ASSERT_GE(first, 1u);
    ASSERT_LE((size_t{first} + n) << kPageShift, space.limit());
    ASSERT_TRUE(ref.isFree(first, n)) << "handed out twice";
    uint64_t tag = rng.next();
    ref.used[first] = {s, n, tag};
    stamp(s, 0, n, tag);
  }
  std::map<PageId, Used>::iterator pick() {
    auto it = ref.used.lower_bound(static_cast<PageId>(rng.below(space.limit() >> kPageShift)));
    return it != ref.used.end() ? it : ref.used.begin();
  }
  void allocate() {
    size_t n = rng.below(10) != 0 ? 1 + rng.below(40) : 1 + rng.below(700);
    if (rng.below(3) == 0) {
      ClassId c = static_cast<ClassId>(1 + rng.below(72));
      size_t pages = kClasses.info[c].span_pages;
      Span* s = mheap.allocSmall(c, pages);
      add(s, pages);
      // A real span has opened a page once it held data.
      if (s != nullptr) s->open_pages.storeRelaxed(1);
      return;
    }
    size_t align = rng.below(4) == 0 ? size_t{1} << rng.below(7) : 1;
    bool zero = false;
    Span* s = large(n, align, &zero);
    if (s != nullptr) {
      ASSERT_EQ(reinterpret_cast<Addr>(at(s)) % (align << kPageShift), 0u);
      if (zero) {
        ASSERT_TRUE(zeroed(s, n)) << "said to be zero";
      }
    }
    add(s, n);
  }
  void release() {
    auto it = pick();
    auto [s, n, tag] = it->second;
    ASSERT_TRUE(stamped(s, n, tag)) << "someone wrote to a used run";
    if (s->state.loadRelaxed() == SpanState::kSmall) {
      mheap.freeSmall(s);
    } else {
      ASSERT_TRUE(mheap.freeLarge(s, it->first, ++clock));
      ASSERT_FALSE(mheap.freeLarge(s, it->first, clock));
    }
    ref.used.erase(it);
  }
  void resize() {
    auto it = pick();
    Used& u = it->second;
    if (u.span->state.loadRelaxed() != SpanState::kLarge) return;
    size_t n = rng.below(2) != 0 ? 1 + rng.below(u.npages + 50) : u.npages + rng.below(4);
    bool room =
        n <= u.npages || ref.isFree(it->first + static_cast<PageId>(u.npages), n - u.npages);
    bool ok = mheap.resizeLarge(u.span, n, ++clock);
    if (n <= u.npages) {
      ASSERT_TRUE(ok);
    }
    if (!room) {
      ASSERT_FALSE(ok) << "grew into a used run";
    }
    if (!ok) return;
    ASSERT_EQ(u.span->npages.loadRelaxed(), n);
    if (n > u.npages) stamp(u.span, u.npages, n, u.tag);
    u.npages = n;
  }
  void check() {
    ASSERT_EQ(broken(), "");
    MHeapStats st = mheap.stats();
    ASSERT_EQ(st.small_pages + st.large_pages, ref.pages());
    ASSERT_EQ(st.small_pages + st.large_pages + st.dirty_pages + st.clean_pages,
              st.committed_pages);
  }

  Reference ref;
  Rng rng{20240229};
  uint32_t clock = now();
};

TEST_F(MHeapProperty, AgreesWithAMapOfRanges) {
  constexpr int kOps = 120'000;
  for (int i = 0; i < kOps && !HasFatalFailure(); i++) {
    uint64_t what = rng.below(100);
    // The number of used runs drifts up and down, so that the heap fills and empties.
    uint64_t bias = i / 20'000 % 2 == 0 ? 55 : 40;
    if (ref.used.empty() || what < bias) {
      if (ref.used.size() < 1500) allocate();
    } else if (what < 90) {
      release();
    } else if (what < 99) {
      resize();
    } else {
      clock += 10;
      mheap.scavenge(clock, static_cast<uint32_t>(rng.below(200)), rng.below(500));
    }
    if (i % 1000 == 999) check();
  }
  while (!ref.used.empty() && !HasFatalFailure()) release();
  check();
  EXPECT_LE(freeRuns() * 2, (space.limit() >> kPageShift) + 2);
  mheap.scavenge(std::max(clock, now()), 0, ~size_t{0});
  EXPECT_EQ(freeRuns(), 1u) << "everything came back and merged";
}

}  // namespace
}  // namespace graft::heap
