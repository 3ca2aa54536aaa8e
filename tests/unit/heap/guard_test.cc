// Tests of the guards and fill patterns of checked mode: every byte past a block's end and every
// byte of a freed slot counts.
#include "core/heap/guard.h"

#include <gtest/gtest.h>
#include <string.h>

#include <vector>

namespace graft::heap {
namespace {

constexpr uint64_t kKey = 0x8123456789abcdefu;

TEST(Guard, RemembersTheRequestedSize) {
  for (size_t room : {16, 32, 128, 4096}) {
    std::vector<unsigned char> block(room);
    for (size_t requested = 0; requested + kGuardBytes <= room; requested += room / 16) {
      armGuard(block.data(), requested, room, kKey);
      EXPECT_EQ(guardedSize(block.data(), room, kKey), requested) << room;
    }
    armGuard(block.data(), room - kGuardBytes, room, kKey);
    EXPECT_EQ(guardedSize(block.data(), room, kKey), room - kGuardBytes);
  }
}

TEST(Guard, EveryByteBehindTheBlockCounts) {
  std::vector<unsigned char> block(128, 0);
  for (size_t requested : {0ul, 1ul, 50ul, 119ul, 120ul}) {
    for (size_t at = 0; at < 128; at++) {
      armGuard(block.data(), requested, 128, kKey);
      block[at] ^= 0xa0;
      size_t got = guardedSize(block.data(), 128, kKey);
      if (at < requested) {
        EXPECT_EQ(got, requested) << "the program's own bytes";
      } else {
        EXPECT_EQ(got, ~size_t{0}) << requested << " @ " << at;
      }
    }
  }
}

// A write that hits only the word at the very end must not pass for another requested size.
TEST(Guard, EveryBitOfTheSizeWordCounts) {
  std::vector<unsigned char> block(128, 0);
  for (size_t requested : {0ul, 1ul, 50ul, 119ul, 120ul}) {
    for (size_t bit = 0; bit < 64; bit++) {
      armGuard(block.data(), requested, 128, kKey);
      block[120 + bit / 8] ^= static_cast<unsigned char>(1u << (bit % 8));
      ASSERT_EQ(guardedSize(block.data(), 128, kKey), ~size_t{0}) << requested << ", bit " << bit;
    }
  }
}

TEST(Guard, LeavesTheBlockAlone) {
  std::vector<unsigned char> block(64, 0x42);
  armGuard(block.data(), 40, 64, kKey);
  for (size_t i = 0; i < 40; i++) EXPECT_EQ(block[i], 0x42);
}

TEST(Guard, AnotherKeyDoesNotPass) {
  std::vector<unsigned char> block(64);
  armGuard(block.data(), 40, 64, kKey);
  EXPECT_EQ(guardedSize(block.data(), 64, kKey ^ 0xff00), ~size_t{0});
}

TEST(Guard, EveryByteOfAFreedSlotCounts) {
  for (size_t size : {16ul, 32ul, 144ul}) {
    std::vector<unsigned char> slot(size);
    for (size_t at = 0; at < size; at++) {
      memcpy(slot.data() + 8, &kKey, 8);
      fillFreed(slot.data(), size);
      ASSERT_TRUE(freedIntact(slot.data(), size, kKey)) << "the key is left alone";
      slot[at] ^= 1;
      EXPECT_FALSE(freedIntact(slot.data(), size, kKey)) << size << " @ " << at;
    }
  }
}

}  // namespace
}  // namespace graft::heap
