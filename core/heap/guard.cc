// Guards behind live blocks and fill patterns of free slots in checked mode; see guard.h for the
// layout of both. Called with memory that nobody else owns.
#include "core/heap/guard.h"

#include "core/base/bits.h"

namespace graft::heap {
namespace {

constexpr uint8_t kFreeFill = 0xdf, kGuardFill = 0xfd;

// Mixed so that a change of any bit of the guard gives a size that is out of all proportion:
// multiplication by an odd number, undone by its inverse modulo 2^64.
constexpr uint64_t kMix = 0x9e3779b97f4a7c15u, kUnmix = 0xf1de83e19937733du;
static_assert(kMix * kUnmix == 1);

bool all(const uint8_t* p, size_t n, uint8_t value) {
  for (size_t i = 0; i < n; i++) {
    if (p[i] != value) return false;
  }
  return true;
}

}  // namespace

void armGuard(void* block, size_t requested, size_t room, uint64_t key) {
  uint8_t* p = static_cast<uint8_t*>(block);
  uint64_t word = (requested ^ key) * kMix;
  base::fillBytes(p + requested, kGuardFill, room - kGuardBytes - requested);
  base::copyBytes(p + room - kGuardBytes, &word, kGuardBytes);
}

size_t guardedSize(const void* block, size_t room, uint64_t key) {
  const uint8_t* p = static_cast<const uint8_t*>(block);
  uint64_t word;
  base::copyBytes(&word, p + room - kGuardBytes, kGuardBytes);
  size_t requested = (word * kUnmix) ^ key;
  if (requested > room - kGuardBytes) return ~size_t{0};
  bool intact = all(p + requested, room - kGuardBytes - requested, kGuardFill);
  return intact ? requested : ~size_t{0};
}

void fillFreed(void* slot, size_t size) {
  uint8_t* p = static_cast<uint8_t*>(slot);
  base::fillBytes(p, kFreeFill, 8);
  if (size > 16) base::fillBytes(p + 16, kFreeFill, size - 16);
}

bool freedIntact(const void* slot, size_t size, uint64_t key) {
  const uint8_t* p = static_cast<const uint8_t*>(slot);
  uint64_t word;
  base::copyBytes(&word, p + 8, 8);
  return word == key && all(p, 8, kFreeFill) && all(p + 16, size - 16, kFreeFill);
}

}  // namespace graft::heap
