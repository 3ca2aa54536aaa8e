// Size classes: multiples of 16 up to 128, then eight per doubling up to 32 KiB, 72 in all. Above
// 128 bytes the worst rounding loss is 11.1 %, on average 4.4 % (HEAP.md section 4.3; Go has 67
// classes with 5.4 %, jemalloc four per doubling with 8.5 %). Class 0 means "no class": a block of
// whole pages. Everything about a class is computed here, at compile time, and nowhere else.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/base/types.h"

namespace graft::heap {

using ClassId = uint8_t;

inline constexpr size_t kNumClasses = 73;  // including class 0
inline constexpr size_t kMaxSmall = 32_KiB;
inline constexpr size_t kFineLimit = 1024;  // below: table in steps of 16, above: steps of 128
inline constexpr size_t kFineSteps = kFineLimit / 16 + 1;
inline constexpr ClassId kSlowByte =
    kNumClasses;  // class byte of a page whose frees need the slow path

constexpr uint32_t classSizeOf(unsigned c) {
  if (c <= 8) return c * 16;
  unsigned doubling = (c - 9) / 8, step = (c - 9) % 8 + 1;
  return (128u << doubling) + step * (16u << doubling);
}

struct ClassInfo {
  uint32_t size;  // bytes of a slot
  uint16_t span_pages;  // pages of a span once the class is in real use
  uint16_t first_pages;  // pages of the first spans of a class, small for small processes
  uint16_t cache_start;  // slots a cache may hold of a class that is little used
  uint16_t cache_max;  // and of one that keeps running dry
};

struct ClassTables {
  ClassInfo info[kNumClasses];
  uint8_t fine[kFineSteps];  // (size + 15) / 16 -> class
  uint8_t coarse[kMaxSmall / 128 + 1];  // (size + 127) / 128 -> class
};

consteval ClassInfo makeClass(unsigned c) {
  uint32_t size = classSizeOf(c);
  // 64 KiB spans waste at most 8.6 % at the tail up to 8 KiB; larger slots get 128 or 256 KiB,
  // whose tail pages are never touched and so never resident.
  uint32_t span = size <= 8_KiB ? 64_KiB : size <= 16_KiB ? 128_KiB : 256_KiB;
  uint32_t first = 16_KiB;
  while (first < 4 * size && first < span) first *= 2;
  auto fit = [size](uint32_t bytes, uint32_t most) {
    uint32_t n = bytes / size;
    return static_cast<uint16_t>(n > most ? most : n < 2 ? 2 : n);
  };
  return {size, static_cast<uint16_t>(span >> kPageShift),
          static_cast<uint16_t>(first >> kPageShift), fit(2_KiB, 16), fit(32_KiB, 512)};
}

consteval ClassTables makeTables() {
  ClassTables t{};
  for (unsigned c = 1; c < kNumClasses; c++) t.info[c] = makeClass(c);
  unsigned c = 1;
  for (size_t i = 0; i < kFineSteps; i++) {
    while (classSizeOf(c) < i * 16) c++;
    t.fine[i] = static_cast<uint8_t>(c);
  }
  c = 1;
  for (size_t i = 0; i <= kMaxSmall / 128; i++) {
    while (classSizeOf(c) < i * 128) c++;
    t.coarse[i] = static_cast<uint8_t>(c);
  }
  return t;
}

inline constexpr ClassTables kClasses = makeTables();

// Alignments of 32 bytes to a page: the smallest class at or above c whose size is a multiple of
// 2^shift, 0 if there is none. Slots lie at multiples of their size from a page boundary, so such a
// class aligns every slot.
inline constexpr unsigned kFirstAlignShift = 5;
struct AlignTable {
  uint8_t of[kPageShift - kFirstAlignShift + 1][kNumClasses];
};
consteval AlignTable makeAligned() {
  AlignTable t{};
  for (unsigned shift = kFirstAlignShift; shift <= kPageShift; shift++) {
    for (unsigned c = kNumClasses - 1, best = 0; c > 0; c--) {
      if (classSizeOf(c) % (1u << shift) == 0) best = c;
      t.of[shift - kFirstAlignShift][c] = static_cast<uint8_t>(best);
    }
  }
  return t;
}
inline constexpr AlignTable kAligned = makeAligned();

// The class for a request; size must be at most kMaxSmall. Size 0 gets the smallest slot.
constexpr ClassId classFor(size_t size) {
  if (size <= kFineLimit) return kClasses.fine[(size + 15) >> 4];
  return kClasses.coarse[(size + 127) >> 7];
}
// The class for a request with an alignment (a power of two), 0 for whole pages.
constexpr ClassId classForAligned(size_t size, size_t align) {
  if (size > kMaxSmall || align > kPageSize) return 0;
  ClassId c = classFor(size);
  if (align < (size_t{1} << kFirstAlignShift)) return c;
  return kAligned.of[static_cast<unsigned>(__builtin_ctzl(align)) - kFirstAlignShift][c];
}
constexpr uint32_t classSize(ClassId c) { return kClasses.info[c].size; }

// What free() needs to recognise the start of a slot, indexed by the class byte of a page-map entry
// (Lemire, Kaser, Kurz, "Faster remainder by direct computation", 2019). With mul = ceil(2^64 /
// size) and offset = q * size + r in a span, offset * mul mod 2^64 is q * (mul * size - 2^64),
// below 2^18, for r = 0, and at least mul, above 2^48, for any other r. For bytes that are no class
// mul is 2^32: no offset but 0 passes, and for those the cache's stack is always full.
inline constexpr size_t kClassBytes = kNumClasses + 1;  // values of a class byte
struct MagicTable {
  uint64_t of[kClassBytes];
};
consteval MagicTable makeMagic() {
  MagicTable t{};
  t.of[0] = t.of[kSlowByte] = uint64_t{1} << 32;
  for (unsigned c = 1; c < kNumClasses; c++) {
    t.of[c] = ~uint64_t{0} / classSizeOf(c) + 1;  // ceil(2^64 / size) for every size >= 2
  }
  return t;
}
constexpr bool startsSlot(uint64_t magic, uint64_t offset) { return (offset * magic) >> 32 == 0; }
inline constexpr MagicTable kMagic = makeMagic();

// The second word of every free slot of a class, made of the heap's key, whose low byte is 0. Each
// class has its own, so that a stale entry of a cache never passes for a slot of another class.
constexpr uint64_t keyOfClass(uint64_t key, size_t c) { return key + c; }
static_assert(kClassBytes <= 256);

// Index of the slot that contains byte `offset` of a span of class c.
constexpr uint32_t slotIndex(ClassId c, uint32_t offset) {
  return static_cast<uint32_t>((static_cast<unsigned __int128>(kMagic.of[c]) * offset) >> 64);
}

static_assert(classSizeOf(kNumClasses - 1) == kMaxSmall);
static_assert(classFor(0) == 1 && classFor(16) == 1 && classFor(17) == 2 &&
              classFor(kMaxSmall) == 72);

}  // namespace graft::heap
