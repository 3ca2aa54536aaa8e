// Set-up of mcaches and the immutable empty view; see mcache.h. Moving slots between a cache and
// the central lists is mcentral.cc's work.
#include "core/heap/mcache.h"

#include "core/base/bits.h"

namespace graft::heap {
namespace {

constinit void* no_slot_entry = const_cast<NoSlot*>(&kNoSlot);

consteval CacheHead makeEmptyCache() {
  CacheHead head{};
  for (size_t c = 0; c < kClassBytes; c++) head.top[c] = head.end[c] = &no_slot_entry;
  return head;
}

}  // namespace

constinit const NoSlot kNoSlot{{1, 1}};  // neither a key nor the empty view's, which is 0
constinit const CacheHead kEmptyCache = makeEmptyCache();

void MCache::init(uint32_t cache_index, const HeapFacts& facts) {
  index = cache_index;
  heap = facts;
  limit = 0;
  reads_freed = 1;
  for (size_t c = 0; c < kClassBytes; c++) key[c] = keyOfClass(facts.key, c);
  base::copyBytes(magic, kMagic.of, sizeof magic);
  base::copyBytes(fine, kClasses.fine, sizeof fine);
  top[0] = end[0] = top[kSlowByte] = end[kSlowByte] = &no_slot_entry;
  shrink();
}

void MCache::shrink() {
  for (size_t c = 1; c < kNumClasses; c++) {
    ClassId id = static_cast<ClassId>(c);
    void** floor = slots + kSlotLayout.start[c];
    storeSlot(floor, noSlot());
    __atomic_store_n(&floors[c], floor, __ATOMIC_RELEASE);  // [CACHE-A]
    __atomic_store_n(&top[c], floor, __ATOMIC_RELEASE);
    end[c] = floor;
    setCapacity(id, kClasses.info[c].cache_start);
  }
  room = 0;
}

void MCache::grow(ClassId c) {
  size_t have = capacity(c), cap = have * 2, most = kClasses.info[c].cache_max;
  void** large = slots + kSlotLayout.large[c];
  if (floor(c) != large) {
    storeSlot(large, noSlot());
    __atomic_store_n(&floors[c], large, __ATOMIC_RELEASE);  // [CACHE-A]
    __atomic_store_n(&top[c], large, __ATOMIC_RELEASE);
    end[c] = large + have;
  }
  setCapacity(c, cap < most ? cap : most);
}

void MCache::dropAll() {
  for (size_t c = 1; c < kNumClasses; c++)
    setTop(static_cast<ClassId>(c), floor(static_cast<ClassId>(c)));
}

uint64_t MCache::cachedBytes() {
  uint64_t bytes = 0;
  for (size_t c = 1; c < kNumClasses; c++) {
    bytes += uint64_t{classSize(static_cast<ClassId>(c))} * count(static_cast<ClassId>(c));
  }
  return bytes;
}

}  // namespace graft::heap
