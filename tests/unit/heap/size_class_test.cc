// Tests of the size classes: every request fits its class tightly, the rounding loss keeps its
// bound, and the multiplication that recognises slot starts agrees with division at every offset of
// a span, computed from a page-map entry just as free() does it.
#include "core/heap/size_class.h"

#include <gtest/gtest.h>

#include "core/heap/arena.h"

namespace graft::heap {
namespace {

TEST(SizeClass, SizesGrowInSteps) {
  for (unsigned c = 1; c < kNumClasses; c++) {
    EXPECT_EQ(classSizeOf(c) % 16, 0u);
    EXPECT_EQ(classSize(static_cast<ClassId>(c)), classSizeOf(c));
    if (c > 1) {
      EXPECT_GT(classSizeOf(c), classSizeOf(c - 1));
    }
  }
  EXPECT_EQ(classSizeOf(1), 16u);
  EXPECT_EQ(classSizeOf(8), 128u);
  EXPECT_EQ(classSizeOf(9), 144u);
  EXPECT_EQ(classSizeOf(16), 256u);
  EXPECT_EQ(classSizeOf(72), kMaxSmall);
}

TEST(SizeClass, EverySizeGetsTheSmallestClassThatHoldsIt) {
  for (size_t size = 0; size <= kMaxSmall; size++) {
    ClassId c = classFor(size);
    ASSERT_GE(c, 1) << size;
    ASSERT_LT(c, kNumClasses) << size;
    ASSERT_GE(classSize(c), size);
    if (c > 1) {
      ASSERT_LT(classSize(static_cast<ClassId>(c - 1)), size);
    }
  }
}

TEST(SizeClass, AlignedRequestsGetTheSmallestClassThatAligns) {
  for (size_t align = 1; align <= 2 * kPageSize; align *= 2) {
    for (size_t size = 0; size <= kMaxSmall + 16; size += 8) {
      unsigned want = 0;
      for (unsigned c = kNumClasses - 1; c > 0 && size <= kMaxSmall && align <= kPageSize; c--) {
        if (classSizeOf(c) >= size && classSizeOf(c) % align == 0) want = c;
      }
      ASSERT_EQ(classForAligned(size, align), want) << size << " at " << align;
    }
  }
}

TEST(SizeClass, RoundingLossIsBounded) {
  double sum = 0;
  for (size_t size = 129; size <= kMaxSmall; size++) {
    size_t slot = classSize(classFor(size));
    ASSERT_LT((slot - size) * 9, slot) << size;  // 1/9 = 11.1 %
    sum += static_cast<double>(slot - size) / static_cast<double>(slot);
  }
  EXPECT_LT(sum / (kMaxSmall - 128), 0.045);
}

TEST(SizeClass, SpansAndCachesFitTheirTables) {
  for (unsigned c = 1; c < kNumClasses; c++) {
    const ClassInfo& info = kClasses.info[c];
    size_t span = size_t{info.span_pages} << kPageShift,
           first = size_t{info.first_pages} << kPageShift;
    EXPECT_LE(first, span) << c;
    EXPECT_GE(first / info.size, 4u) << c;
    EXPECT_LE(span / info.size, 4096u) << c;
    EXPECT_LE(info.span_pages, 64) << "one bit per page in Span::open_pages";
    if (info.size <= 8_KiB) {
      EXPECT_LE(span % info.size * 1000, span * 86) << c;
    }
    EXPECT_GE(info.cache_start, 2) << c;
    EXPECT_LE(info.cache_start, info.cache_max) << c;
    EXPECT_LE(size_t{info.cache_max} * info.size, 64_KiB) << c;
  }
}

// As freeFast: the offset of a span within the heap comes back out of the page-map entry.
bool passes(uint32_t entry, size_t offset_in_heap) {
  uint8_t cls = static_cast<uint8_t>(entry);
  uint64_t in_span = static_cast<uint32_t>(offset_in_heap) - (entry & ~uint32_t{kPageSize - 1});
  return startsSlot(kMagic.of[cls], in_span);
}

TEST(SizeClass, MagicAcceptsExactlySlotStarts) {
  AddressSpace space;
  // The last one lies across a 4 GiB border of the heap, where the entry's lower half wraps.
  const PageId first_pages[] = {1, 77'777, (1u << 19) - 3};
  for (unsigned c = 1; c < kNumClasses; c++) {
    uint32_t size = classSizeOf(c);
    size_t bytes = size_t{kClasses.info[c].span_pages} << kPageShift;
    for (PageId first : first_pages) {
      uint32_t entry =
          static_cast<uint32_t>(space.makeEntry(0xabcdef, first, static_cast<uint8_t>(c)));
      ASSERT_EQ(static_cast<uint8_t>(entry), c);
      size_t base = size_t{first} << kPageShift;
      size_t start = 0;  // of the slot that holds `offset`
      for (size_t offset = 0; offset < bytes; offset++) {
        if (offset == start + size) start = offset;
        ASSERT_EQ(passes(entry, base + offset), offset == start) << c << " + " << offset;
      }
    }
  }
}

// Offset 0 does pass: MCache.StackOfNoClassIsFull shows what stops it.
TEST(SizeClass, OnlyOffsetZeroPassesWithoutAClass) {
  AddressSpace space;
  for (unsigned byte : {0u, unsigned{kSlowByte}}) {
    uint32_t entry = static_cast<uint32_t>(space.makeEntry(5, 9, static_cast<uint8_t>(byte)));
    size_t base = size_t{9} << kPageShift;
    for (size_t offset = 1; offset < 256_KiB; offset++) {
      ASSERT_FALSE(passes(entry, base + offset)) << byte;
      ASSERT_FALSE(passes(0, base + offset));
    }
  }
}

TEST(SizeClass, SlotIndexEqualsDivision) {
  for (unsigned c = 1; c < kNumClasses; c++) {
    uint32_t size = classSizeOf(c), bytes = uint32_t{kClasses.info[c].span_pages} << kPageShift;
    uint32_t index = 0, left = size;
    for (uint32_t offset = 0; offset < bytes; offset++) {
      ASSERT_EQ(slotIndex(static_cast<ClassId>(c), offset), index) << c << " + " << offset;
      if (--left == 0) {
        index++;
        left = size;
      }
    }
  }
}

}  // namespace
}  // namespace graft::heap
