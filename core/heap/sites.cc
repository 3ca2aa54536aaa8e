// Allocation-site ids: 16 bits per slot in an array beside the heap, indexed by the slot's address,
// written when a block is handed out while recording is on (HEAP.md H9). One entry per 16 bytes of
// address space, so no lookup is needed; only entries of slots in use are ever touched.
#include "core/heap/heap.h"
#include "core/os/mem.h"

namespace graft::heap {

bool Heap::enableSites() {
  if (sitesOn()) return true;
  // One entry of two bytes per 16 bytes: an eighth of the reservation, touched where used.
  site_base_ = os::reserve(space.reservedBytes() / 8, 0);
  if (site_base_ == 0) return false;
  if (!os::commit(site_base_, space.reservedBytes() / 8)) {
    os::release(site_base_, space.reservedBytes() / 8);
    site_base_ = 0;
    return false;
  }
  sites_.storeRelease(1);
  return true;
}

void Heap::setSite(const void* p, uint16_t site) {
  size_t off = reinterpret_cast<Addr>(p) - space.base();
  if (off < space.limit())
    reinterpret_cast<base::Atomic<uint16_t>*>(site_base_)[off / 16].storeRelaxed(site);
}

uint16_t Heap::siteOf(const void* p) {
  size_t off = reinterpret_cast<Addr>(p) - space.base();
  if (!sitesOn() || off >= space.limit()) return 0;
  return reinterpret_cast<base::Atomic<uint16_t>*>(site_base_)[off / 16].loadRelaxed();
}

}  // namespace graft::heap
