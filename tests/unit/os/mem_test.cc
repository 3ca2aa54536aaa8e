// Tests of the wrappers over mmap and its relatives: what is reserved, committed, purged or moved
// is exactly that, nothing of anybody else's is ever replaced, and every N-th request fails when
// asked.
#include "core/os/mem.h"

#include <gtest/gtest.h>
#include <string.h>
#include <sys/mman.h>

namespace graft::os {
namespace {

constexpr size_t kSize = 1_MiB;

bool mapped(Addr at) {
  unsigned char in;
  return mincore(reinterpret_cast<void*>(at), kOsPage, &in) == 0;
}
char* at(Addr a) { return reinterpret_cast<char*>(a); }
bool zero(Addr a, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (at(a)[i] != 0) return false;
  }
  return true;
}

TEST(Mem, ReserveCommitRelease) {
  Addr a = reserve(kSize, 0);
  ASSERT_NE(a, 0u);
  EXPECT_EQ(a % kOsPage, 0u);
  ASSERT_TRUE(commit(a, kSize / 2));
  EXPECT_TRUE(zero(a, kSize / 2));
  memset(at(a), 1, kSize / 2);
  release(a, kSize);
  EXPECT_FALSE(mapped(a));
  EXPECT_FALSE(commit(a, kOsPage)) << "nothing is reserved there";
}

TEST(MemDeathTest, ReservedIsNotReadable) {
  Addr a = reserve(kSize, 0);
  ASSERT_TRUE(commit(a, kOsPage));
  EXPECT_DEATH(*static_cast<volatile char*>(at(a) + kOsPage) = 1, "");
  release(a, kSize);
}

TEST(Mem, HintIsGotExactlyOrNotAtAll) {
  Addr a = reserve(kSize, 0);
  EXPECT_EQ(reserve(kSize, a), 0u) << "taken";
  EXPECT_EQ(reserve(kOsPage, a + kSize - kOsPage), 0u) << "taken in part";
  release(a, kSize);
  EXPECT_EQ(reserve(kSize, a), a);
  release(a, kSize);
}

TEST(Mem, MapFreshNeverReplaces) {
  Addr a = reserve(kSize, 0);
  ASSERT_TRUE(commit(a, kSize));
  memset(at(a), 7, kSize);
  EXPECT_FALSE(mapFresh(a, kSize));
  EXPECT_FALSE(mapFresh(a + kSize - kOsPage, kOsPage));
  EXPECT_EQ(at(a)[kSize - 1], 7);
  release(a, kSize);
  EXPECT_TRUE(mapFresh(a, kSize));
  EXPECT_TRUE(zero(a, kSize));
  memset(at(a), 1, kSize);
  release(a, kSize);
}

TEST(Mem, PurgedAndRemappedPagesAreZero) {
  Addr a = reserve(kSize, 0);
  ASSERT_TRUE(commit(a, kSize));
  memset(at(a), 7, kSize);
  ASSERT_TRUE(purge(a + kOsPage, kOsPage));
  EXPECT_TRUE(zero(a + kOsPage, kOsPage));
  EXPECT_EQ(at(a)[kOsPage - 1], 7);
  EXPECT_EQ(at(a)[2 * kOsPage], 7);
  ASSERT_TRUE(remapZero(a, kOsPage));
  EXPECT_TRUE(zero(a, 2 * kOsPage));
  EXPECT_EQ(at(a)[2 * kOsPage], 7);
  at(a)[0] = 1;
  release(a, kSize);
  EXPECT_FALSE(purge(a, kOsPage));
}

TEST(Mem, MovedPagesLeaveZeroBehind) {
  Addr a = reserve(kSize, 0), b = reserve(kSize, 0);
  ASSERT_TRUE(commit(a, kSize) && commit(b, kSize));
  memset(at(a), 7, kSize);
  memset(at(b), 9, kSize);
  if (!movePages(a, b, kSize / 2)) GTEST_SKIP() << "the kernel lacks MREMAP_DONTUNMAP";
  EXPECT_EQ(at(b)[0], 7);
  EXPECT_EQ(at(b)[kSize / 2 - 1], 7);
  EXPECT_EQ(at(b)[kSize / 2], 9);
  EXPECT_TRUE(zero(a, kSize / 2)) << "still mapped";
  EXPECT_EQ(at(a)[kSize / 2], 7);
  at(a)[0] = 1;
  release(a, kSize);
  release(b, kSize);
}

TEST(Mem, EveryNthRequestFails) {
  for (uint64_t n : {1, 2, 3, 10}) {
    setFaultInjection(n);
    for (uint64_t i = 1; i <= 3 * n; i++) {
      Addr a = reserve(kOsPage, 0);
      EXPECT_EQ(a == 0, i % n == 0) << n << ' ' << i;
      if (a != 0) release(a, kOsPage);
    }
    setFaultInjection(0);
  }
  // The four kinds of request share one count; giving back never fails on purpose.
  Addr a = reserve(kSize, 0), b = reserve(kSize, 0);
  ASSERT_TRUE(commit(b, kSize));
  setFaultInjection(1);
  EXPECT_FALSE(commit(a, kSize));
  EXPECT_FALSE(movePages(b, a, kSize));
  EXPECT_TRUE(purge(b, kSize));
  EXPECT_TRUE(remapZero(b, kSize));
  release(a, kSize);
  EXPECT_FALSE(mapFresh(a, kSize));
  setFaultInjection(0);
  EXPECT_TRUE(mapFresh(a, kSize));
  release(a, kSize);
  release(b, kSize);
}

TEST(Mem, NoHugePagesIsAccepted) {
  Addr a = reserve(4_MiB, 0);
  if (!noHugePages(a, 4_MiB)) GTEST_SKIP() << "the kernel has no huge pages";
  ASSERT_TRUE(commit(a, 4_MiB));
  at(a)[0] = 1;
  release(a, 4_MiB);
  EXPECT_FALSE(noHugePages(a, 4_MiB));
}

}  // namespace
}  // namespace graft::os
