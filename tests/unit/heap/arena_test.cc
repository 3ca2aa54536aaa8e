// Tests of the heap's address space: reservation and growth by mapping, denial and limits, records,
// page-map entries, and what is left standing when the kernel refuses memory.
#include "core/heap/arena.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

#include "core/os/mem.h"
#include "tests/unit/heap/test_peer.h"

namespace graft::heap {
namespace {

Config config() {
  Config c = testConfig();
  c.cache_bytes = 64_KiB;
  return c;
}
Config growConfig() {
  Config c = config();
  c.deny_reserve = true;
  c.reserve_bytes = 1_GiB;
  return c;
}
// Growing by mapping needs one of a few fixed places, and a sanitizer may hold them all.
#define NEED_GROW_MODE(space, c) \
  if (!(space).init(c)) GTEST_SKIP() << "no fixed place for a heap that grows by mapping"

struct Faults {
  explicit Faults(uint64_t every) { os::setFaultInjection(every); }
  ~Faults() { os::setFaultInjection(0); }
};

TEST(Region, CommitsInStepsUpToItsSize) {
  Addr at = os::reserve(64_KiB, 0);
  ASSERT_NE(at, 0u);
  Region r;
  r.init(at, 64_KiB, 24_KiB);
  EXPECT_TRUE(r.ensure(1));
  EXPECT_EQ(r.committed(), roundUp(1, 24_KiB));
  memset(reinterpret_cast<void*>(at), 1, r.committed());
  EXPECT_TRUE(r.ensure(64_KiB));
  EXPECT_EQ(r.committed(), 64_KiB);
  memset(reinterpret_cast<void*>(at), 1, 64_KiB);
  EXPECT_FALSE(r.ensure(64_KiB + 1));
  EXPECT_TRUE(r.ensure(100));
  os::release(at, 64_KiB);
}

TEST(Region, TakesLessWhenAStepIsRefused) {
  Addr at = os::reserve(1_MiB, 0);
  Region r;
  r.init(at, 1_MiB, 64_KiB);
  {
    Faults f(1);
    EXPECT_FALSE(r.ensure(1));
  }
  EXPECT_EQ(r.committed(), 0u);
  {
    Faults f(2);
    EXPECT_TRUE(r.ensure(1));
    EXPECT_EQ(r.committed(), 64_KiB);
    EXPECT_TRUE(r.ensure(64_KiB + 1));  // the step fails, the pages that are needed do not
    EXPECT_EQ(r.committed(), 64_KiB + kOsPage);
  }
  os::release(at, 1_MiB);
}

TEST(Region, ShrinkKeepsWhatIsCommitted) {
  Addr at = os::reserve(1_MiB, 0);
  Region r;
  r.init(at, 1_MiB, 64_KiB);
  ASSERT_TRUE(r.ensure(128_KiB));
  r.shrink(1);
  EXPECT_EQ(r.size(), 128_KiB);
  memset(reinterpret_cast<void*>(at), 1, 128_KiB);
  EXPECT_FALSE(r.ensure(128_KiB + 1));
  r.shrink(1_MiB);
  EXPECT_EQ(r.size(), 128_KiB) << "shrink never grows";
  // The rest is the system's again: it can be had at that very address.
  EXPECT_EQ(os::reserve(1_MiB - 128_KiB, at + 128_KiB), at + 128_KiB);
  os::release(at, 1_MiB);
}

TEST(Arena, StartsEmpty) {
  TestSpace s;
  ASSERT_TRUE(s.init(config()));
  EXPECT_FALSE(s.growsByMapping());
  EXPECT_EQ(s.limit(), 0u);
  EXPECT_EQ(s.base() % kPageSize, 0u);
  EXPECT_FALSE(s.contains(s.base()));
  EXPECT_TRUE(s.inReservation(s.base()));
  EXPECT_TRUE(s.inReservation(s.base() + s.reservedBytes() - 1));
  EXPECT_FALSE(s.inReservation(s.base() + s.reservedBytes()));
  EXPECT_FALSE(s.inReservation(s.base() - 1));
  // ThreadSanitizer's own mappings, at random places, do not always leave room for all of it.
  if (!kTsan) {
    EXPECT_EQ(s.reservedBytes(), config().reserve_bytes);
  }
  EXPECT_LE(s.reservedBytes(), config().reserve_bytes);
}

TEST(Arena, ExtendHandsOutFreshPagesInOrder) {
  TestSpace s;
  ASSERT_TRUE(s.init(config()));
  PageId next = 1;  // page 0 stays unused
  for (size_t pages : {1ul, 32ul, 33ul, 1000ul, 1ul, 9000ul}) {
    size_t got = 0;
    PageId p = s.extend(pages, &got);
    ASSERT_EQ(p, next);
    ASSERT_GE(got, pages);
    next = p + static_cast<PageId>(got);
    EXPECT_EQ(s.limit(), size_t{next} << kPageShift);
    uint64_t* words = reinterpret_cast<uint64_t*>(s.addrOf(p));
    size_t n = (got << kPageShift) / sizeof(uint64_t);
    EXPECT_EQ(words[0], 0u);
    EXPECT_EQ(words[n - 1], 0u);
    words[0] = words[n - 1] = 1;
    EXPECT_EQ(s.entry(p), 0u);
    EXPECT_EQ(s.entry(next - 1), 0u);
    EXPECT_TRUE(s.contains(s.addrOf(next) - 1));
    EXPECT_FALSE(s.contains(s.addrOf(next)));
    EXPECT_EQ(s.pageOf(s.addrOf(p) + kPageSize - 1), p);
  }
}

TEST(Arena, ExhaustionIsExact) {
  if (kTsan) GTEST_SKIP() << "needs a small reservation";
  TestSpace s;
  Config c = config();
  c.reserve_bytes = 1_GiB;
  ASSERT_TRUE(s.init(c));
  size_t all = s.reservedBytes() >> kPageShift, got = 0;
  EXPECT_EQ(s.extend(all + 1, &got), 0u);
  EXPECT_EQ(s.extend(all, &got), 0u) << "page 0 is not for use";
  EXPECT_EQ(s.limit(), 0u);
  size_t sum = 1;
  while (PageId p = s.extend(1000, &got)) {
    ASSERT_EQ(p, sum);
    sum += got;
  }
  while (PageId p = s.extend(1, &got)) {
    ASSERT_EQ(p, sum);
    sum += got;
  }
  EXPECT_EQ(sum, all) << "the last page is usable";
  EXPECT_EQ(s.limit(), s.reservedBytes());
  *reinterpret_cast<char*>(s.base() + s.limit() - 1) = 1;
}

TEST(Arena, RefusedMemoryChangesNothing) {
  TestSpace s;
  ASSERT_TRUE(s.init(config()));
  size_t got = 0;
  ASSERT_EQ(s.extend(5, &got), 1u);
  size_t limit = s.limit();
  {
    Faults f(1);
    EXPECT_EQ(s.extend(5000, &got), 0u);
    EXPECT_EQ(s.limit(), limit);
  }
  PageId p = s.extend(5000, &got);
  EXPECT_EQ(p, limit >> kPageShift);
  memset(reinterpret_cast<void*>(s.addrOf(p)), 1, got << kPageShift);
}

TEST(Arena, InitFailsCleanlyWithoutAddressSpace) {
  Faults f(1);
  TestSpace s;
  EXPECT_FALSE(s.init(config()));
}

TEST(Arena, EntriesNameRecordAndOffset) {
  TestSpace s;
  ASSERT_TRUE(s.init(config()));
  Span* a = s.newRecord(1);
  Span* b = s.newRecord(64);
  for (Span* r : {a, b}) {
    for (PageId p : {1u, 12'345u, 4'000'000'000u}) {
      uint64_t e = s.makeEntry(s.idOf(r), p, 17);
      EXPECT_EQ(s.spanOfEntry(e), r);
      EXPECT_EQ(static_cast<uint8_t>(e), 17);
      EXPECT_NE(e, 0u);
    }
  }
}

TEST(Arena, RecordsAreDistinctAndTypeStable) {
  TestSpace s;
  ASSERT_TRUE(s.init(config()));
  std::vector<Span*> made;
  std::set<std::pair<Addr, Addr>> ranges;
  for (int i = 0; i < 3000; i++) {
    uint32_t want = i % 64 + 1;
    Span* r = s.newRecord(want);
    ASSERT_NE(r, nullptr);
    ASSERT_NE(s.idOf(r), 0u) << "id 0 means none";
    ASSERT_EQ(s.span(s.idOf(r)), r);
    ASSERT_GE(r->words, want);
    ASSERT_TRUE(isPow2(r->words));
    Addr from = reinterpret_cast<Addr>(r);
    ranges.emplace(from, from + kSpanUnit + 16 * r->words);
    memset(static_cast<void*>(r->freeBits()), 0xff, 16 * r->words);
    made.push_back(r);
  }
  Addr last = 0;
  for (auto [from, to] : ranges) {
    ASSERT_GE(from, last);
    last = to;
  }
  // Freed records serve requests of their size again, and keep their capacity and sequence.
  uint32_t used = s.recordsUsed();
  for (Span* r : made) {
    uint32_t seq = r->seq.loadRelaxed(), words = r->words;
    s.freeRecord(r);
    EXPECT_EQ(r->state.loadRelaxed(), SpanState::kUnused);
    EXPECT_EQ(r->npages.loadRelaxed(), 0u);
    EXPECT_GT(r->seq.loadRelaxed(), seq);
    EXPECT_EQ(r->seq.loadRelaxed() % 2, 0u);
    EXPECT_EQ(r->words, words);
  }
  std::set<Span*> again;
  for (int i = 0; i < 3000; i++) again.insert(s.newRecord(i % 64 + 1));
  EXPECT_EQ(again, std::set<Span*>(made.begin(), made.end()));
  EXPECT_EQ(s.recordsUsed(), used);
}

TEST(Arena, RecordsRunOutGently) {
  if (kTsan) GTEST_SKIP() << "needs a small reservation";
  TestSpace s;
  Config c = config();
  c.reserve_bytes = 1_GiB;
  ASSERT_TRUE(s.init(c));
  size_t n = 0;
  Span* last = nullptr;
  while (Span* r = s.newRecord(64)) {
    last = r;
    n++;
  }
  EXPECT_GT(n, size_t{1_GiB} / 32 / (kSpanUnit + 1024) - 2);
  s.freeRecord(last);
  EXPECT_EQ(s.newRecord(64), last);
  EXPECT_EQ(s.newRecord(64), nullptr);
}

TEST(ArenaGrow, DeniedReservationGrowsByMapping) {
  TestSpace s;
  NEED_GROW_MODE(s, growConfig());
  EXPECT_TRUE(s.growsByMapping());
  EXPECT_EQ(s.reservedBytes(), 1_GiB);
  size_t got = 0;
  ASSERT_EQ(s.extend(100, &got), 1u);
  memset(reinterpret_cast<void*>(s.addrOf(1)), 1, got << kPageShift);
  // What lies beyond is not ours: someone else can have it.
  Addr beyond = s.base() + s.limit();
  EXPECT_EQ(os::reserve(64_KiB, beyond), beyond);
  os::release(beyond, 64_KiB);
}

TEST(ArenaGrow, StepsOverForeignMappings) {
  TestSpace s;
  NEED_GROW_MODE(s, growConfig());
  size_t got = 0;
  ASSERT_EQ(s.extend(10, &got), 1u);
  Addr foreign = s.base() + s.limit() + 64_KiB;
  ASSERT_EQ(os::reserve(64_KiB, foreign), foreign);
  PageId p = s.extend(100, &got);
  ASSERT_NE(p, 0u);
  EXPECT_EQ(s.addrOf(p) % kArena, s.base() % kArena) << "the next arena";
  EXPECT_GT(s.addrOf(p), foreign);
  memset(reinterpret_cast<void*>(s.addrOf(p)), 1, got << kPageShift);
  EXPECT_EQ(s.entry(s.pageOf(foreign)), 0u);
}

TEST(ArenaGrow, EndsAtItsSize) {
  TestSpace s;
  Config c = growConfig();
  c.reserve_bytes = kArena;
  NEED_GROW_MODE(s, c);
  size_t got = 0, sum = 1;
  while (PageId p = s.extend(100, &got)) {
    ASSERT_EQ(p, sum);
    sum += got;
  }
  EXPECT_GT(sum, (kArena >> kPageShift) - 100);
  EXPECT_LE(s.limit(), kArena);
}

TEST(Arena, FitToKeepsTheCommittedAndGrowsByMapping) {
  TestSpace s;
  ASSERT_TRUE(s.init(config()));
  size_t got = 0;
  ASSERT_EQ(s.extend(100, &got), 1u);
  Span* r = s.newRecord(1);
  s.map()[1].storeRelaxed(s.makeEntry(s.idOf(r), 1, 3));
  memset(reinterpret_cast<void*>(s.addrOf(1)), 7, got << kPageShift);
  size_t limit = s.limit();
  s.fitTo(s.reservedBytes());
  EXPECT_FALSE(s.growsByMapping()) << "more than there is: no change";
  s.fitTo(200_MiB);
  EXPECT_TRUE(s.growsByMapping());
  EXPECT_LE(s.reservedBytes(), limit + 200_MiB + kArena);
  EXPECT_GE(s.reservedBytes(), limit + 200_MiB);
  EXPECT_EQ(s.limit(), limit);
  EXPECT_EQ(s.spanOfEntry(s.entry(1)), r);
  EXPECT_TRUE(allBytes(reinterpret_cast<void*>(s.addrOf(1)), 100 << kPageShift, 7));
  // What was given back can be mapped by others; growth steps over it.
  Addr foreign = s.base() + limit;
  EXPECT_EQ(os::reserve(64_KiB, foreign), foreign);
  PageId p = s.extend(1000, &got);
  ASSERT_NE(p, 0u);
  memset(reinterpret_cast<void*>(s.addrOf(p)), 1, got << kPageShift);
  EXPECT_NE(s.newRecord(64), nullptr);
  // And it still ends.
  size_t sum = 0;
  while (s.extend(1000, &got) != 0) sum += got;
  EXPECT_GT(sum, (100_MiB >> kPageShift));
  EXPECT_LE(s.limit(), s.reservedBytes());
}

// RLIM_INFINITY and its neighbours are no limit.
TEST(Arena, FitToInfinityChangesNothing) {
  for (size_t limit : {~size_t{0}, ~size_t{0} - 1, ~size_t{0} - 100_MiB, ~size_t{0} / 2}) {
    TestSpace s;
    ASSERT_TRUE(s.init(config()));
    size_t got = 0;
    ASSERT_EQ(s.extend(100, &got), 1u);
    size_t reserved = s.reservedBytes();  // under ThreadSanitizer less than asked for now and then
    s.fitTo(limit);
    EXPECT_FALSE(s.growsByMapping()) << limit;
    EXPECT_EQ(s.reservedBytes(), reserved) << limit;
  }
}

TEST(Arena, RlimitBoundsTheReservation) {
  if (kTsan || kAsan) GTEST_SKIP() << "sanitizers need their address space";
  pid_t pid = fork();
  if (pid == 0) {
    rlimit lim{1_GiB, 1_GiB};
    if (setrlimit(RLIMIT_AS, &lim) != 0) _exit(9);
    TestSpace s;
    if (!s.init(config())) _exit(1);
    if (!s.growsByMapping() || s.reservedBytes() > 1_GiB) _exit(2);
    size_t got = 0, sum = 0;
    while (PageId p = s.extend(1000, &got)) {
      *reinterpret_cast<char*>(s.addrOf(p)) = 1;
      sum += got;
    }
    _exit(sum << kPageShift > 500_MiB ? 0 : 3);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace graft::heap
