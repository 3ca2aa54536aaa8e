// The memory of object_table.h: reserved once, committed as the heap grows. See there for callers.
#include "core/gc/object_table.h"

#include "core/base/bits.h"
#include "core/os/mem.h"

namespace graft::gc {

bool ObjectBits::init(const heap::AddressSpace& space) {
  heap_ = space.base();
  bytes_ = roundUp(space.reservedBytes() / 128, kOsPage);
  at_ = os::reserve(bytes_, 0);
  return at_ != 0 && os::commit(at_, bytes_);
}

void ObjectBits::clear(const heap::AddressSpace& space) {
  size_t used = roundUp(space.limit() / 128 + 8, kOsPage);
  if (os::purge(at_, used < bytes_ ? used : bytes_)) return;
  base::fillBytes(reinterpret_cast<void*>(at_), 0, used < bytes_ ? used : bytes_);
}

bool ObjectRecords::init(const heap::AddressSpace& space) {
  heap_ = space.base();
  bytes_ = roundUp(space.reservedBytes() / 4, kOsPage);
  at_ = os::reserve(bytes_, 0);
  return at_ != 0;
}

bool ObjectRecords::fit(const heap::AddressSpace& space) {
  constexpr size_t kStep = 16_MiB;
  size_t want = roundUp(space.limit() / 4 + 1, kStep);
  if (want > bytes_) want = bytes_;
  if (want <= committed_) return true;
  if (!os::commit(at_ + committed_, want - committed_)) return false;
  committed_ = want;
  return true;
}

}  // namespace graft::gc
