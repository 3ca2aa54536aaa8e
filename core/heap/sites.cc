// Allocation-site ids: 16 bits per slot in an array beside the heap, indexed by the slot's address,
// written when a block is handed out while recording is on (HEAP.md H9). One entry per 16 bytes of
// address space, so no lookup is needed; only entries of slots in use are ever touched. Behind it
// lies, per id, the address that the id was made from.
#include "core/heap/heap.h"
#include "core/os/mem.h"

namespace graft::heap {

bool Heap::enableSites() {
  if (sitesOn()) return true;
  // One entry of two bytes per 16 bytes: an eighth of the reservation, touched where used.
  site_base_ = os::reserve(siteBytes(), 0);
  if (site_base_ == 0) return false;
  if (!os::commit(site_base_, siteBytes())) {
    os::release(site_base_, siteBytes());
    site_base_ = 0;
    return false;
  }
  Addr pcs = site_base_ + space.reservedAtStart() / 8;
  site_pcs_ = reinterpret_cast<base::Atomic<uintptr_t>*>(pcs);
  sites_.storeRelease(1);
  return true;
}

uint16_t Heap::siteFor(const void* caller) {
  uintptr_t pc = reinterpret_cast<uintptr_t>(caller);
  uint16_t site = static_cast<uint16_t>((pc * 0x9e3779b97f4a7c15u) >> 48);
  uintptr_t first = site_pcs_[site].loadRelaxed();
  if (first == 0 && site_pcs_[site].casRelaxed(first, pc)) return site;
  if (first != pc) site_collisions_.fetchAddRelaxed(1);
  return site;
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
