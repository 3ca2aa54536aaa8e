// Tests of bit arithmetic and block copies against their obvious slow forms, and of the rounding
// helpers that every layer shares.
#include "core/base/bits.h"

#include <gtest/gtest.h>
#include <string.h>

#include <bit>
#include <string>
#include <vector>

#include "core/base/types.h"

namespace graft::base {
namespace {

std::vector<uint64_t> samples() {
  std::vector<uint64_t> v = {0, 1, 2, 3, ~uint64_t{0}, uint64_t{1} << 63, 0x5555555555555555u};
  for (unsigned i = 0; i < 64; i++) {
    v.push_back(uint64_t{1} << i);
    v.push_back(~(uint64_t{1} << i));
  }
  uint64_t x = 88172645463325252u;
  for (int i = 0; i < 2000; i++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    v.push_back(x);
    v.push_back(x & (x >> 5) & (x << 9));
  }
  return v;
}

TEST(Bits, CountsAndPositions) {
  for (uint64_t x : samples()) {
    EXPECT_EQ(popcount(x), static_cast<unsigned>(std::popcount(x))) << x;
    if (x == 0) continue;
    EXPECT_EQ(lowestBit(x), static_cast<unsigned>(std::countr_zero(x))) << x;
    EXPECT_EQ(highestBit(x), 63u - static_cast<unsigned>(std::countl_zero(x))) << x;
  }
}

TEST(Bits, LowestBitsTakesNoMoreThanThereAre) {
  for (uint64_t x : samples()) {
    for (unsigned n : {0u, 1u, 2u, 7u, 63u, 64u, 100u}) {
      uint64_t slow = 0;
      unsigned left = n;
      for (unsigned i = 0; i < 64 && left != 0; i++) {
        if ((x >> i & 1) == 0) continue;
        slow |= uint64_t{1} << i;
        left--;
      }
      ASSERT_EQ(lowestBits(x, n), slow) << x << ' ' << n;
    }
  }
}

TEST(Bits, MaskBelow) {
  EXPECT_EQ(maskBelow(0), 0u);
  for (unsigned n = 1; n <= 63; n++) EXPECT_EQ(maskBelow(n), ~uint64_t{0} >> (64 - n));
  EXPECT_EQ(maskBelow(64), ~uint64_t{0});
  EXPECT_EQ(maskBelow(1000), ~uint64_t{0});
}

TEST(Bits, CopyAndFillTouchExactlyTheirRange) {
  for (size_t n : {0ul, 1ul, 7ul, 8ul, 100ul, 4096ul}) {
    std::string from(n + 16, 'f'), to(n + 16, 't');
    copyBytes(to.data() + 8, from.data() + 8, n);
    EXPECT_EQ(to, std::string(8, 't') + std::string(n, 'f') + std::string(8, 't'));
    fillBytes(to.data() + 8, 'x', n);
    EXPECT_EQ(to, std::string(8, 't') + std::string(n, 'x') + std::string(8, 't'));
  }
}

TEST(Bits, StringLength) {
  EXPECT_EQ(stringLength(""), 0u);
  EXPECT_EQ(stringLength("abc\0def"), 3u);
}

TEST(Types, Rounding) {
  for (size_t to : {1ul, 16ul, 4096ul, size_t{64_MiB}}) {
    for (size_t n : {0ul, 1ul, 15ul, 16ul, 17ul, 4095ul, 4096ul, 4097ul, 1'000'000ul}) {
      EXPECT_EQ(roundUp(n, to), (n + to - 1) / to * to);
      EXPECT_EQ(roundDown(n, to), n / to * to);
    }
  }
  EXPECT_FALSE(isPow2(0));
  EXPECT_TRUE(isPow2(1));
  EXPECT_TRUE(isPow2(size_t{1} << 63));
  EXPECT_FALSE(isPow2(3));
  EXPECT_EQ(pagesFor(0), 0u);
  EXPECT_EQ(pagesFor(1), 1u);
  EXPECT_EQ(pagesFor(kPageSize), 1u);
  EXPECT_EQ(pagesFor(kPageSize + 1), 2u);
  EXPECT_EQ(kPageSize % kOsPage, 0u);
}

}  // namespace
}  // namespace graft::base
