// What a cycle found white: counted by allocation site, and remembered per object, so that a later
// free() of one is noticed. Direct: no other white object holds a pointer to it; LSan's words. Both
// memories are arrays beside the heap of which only what is used is ever touched.
//
// find() runs on the collector's thread in a stopped world, between marking and finishMark(); the
// queries on any thread. No locks.
#pragma once

#include "core/gc/mark.h"
#include "core/heap/heap.h"

namespace graft::gc {

// A bit per 16 bytes of the heap: per object, by its first byte.
class ObjectBits {
 public:
  bool init(const heap::AddressSpace& space);
  void clear(const heap::AddressSpace& space);
  void set(Addr object) { word(object).fetchOrRelaxed(bit(object)); }
  bool has(Addr object) const { return (word(object).loadRelaxed() & bit(object)) != 0; }
  // True for one caller only.
  bool take(Addr object) {
    return has(object) && (word(object).fetchAndRelaxed(~bit(object)) & bit(object)) != 0;
  }
  Addr memory() const { return at_; }
  size_t bytes() const { return bytes_; }

 private:
  base::Atomic<uint64_t>& word(Addr a) const {
    return reinterpret_cast<base::Atomic<uint64_t>*>(at_)[(a - heap_) / 1024];
  }
  uint64_t bit(Addr a) const { return uint64_t{1} << ((a - heap_) / 16 % 64); }

  Addr at_ = 0, heap_ = 0;
  size_t bytes_ = 0;
};

struct SiteLeaks {
  uint64_t objects = 0, bytes = 0, direct_objects = 0, direct_bytes = 0;
  uint32_t newest = 0, oldest = 0;  // in cycles since they were first found white
  uint32_t late_frees = 0;  // of objects that a cycle had found white; kept over cycles
  uint32_t first_cycle = 0;  // in which the site had white objects, without a break since
};

class Leaks {
 public:
  static constexpr size_t kSites = 65536;

  // `table` holds kSites zeroed entries.
  bool init(heap::Heap& heap, SiteLeaks* table);
  struct Totals {
    uint64_t objects = 0, bytes = 0;
  };
  // by_site: also who points to whom among them, and the table.
  Totals find(heap::Heap& heap, uint32_t cycle, bool by_site, const Marker::Shared& marking);
  // The block is about to be freed. True: a cycle had called it leaked.
  bool freed(heap::Heap& heap, Addr object);
  uint64_t lateFrees() const { return late_frees_.loadRelaxed(); }
  const SiteLeaks& at(size_t site) const { return table_[site]; }
  template <class F>
  void forEachMemory(F f) const {
    f(white_.memory(), white_.bytes());
    f(pointed_.memory(), pointed_.bytes());
  }

 private:
  template <class F>
  static void forEachWhite(heap::Heap& heap, F f);
  void notePointers(heap::Heap& heap, Addr object, size_t size, const Marker::Shared& marking);
  void noteWords(heap::Heap& heap, Addr object, const uint64_t* from, size_t n, Filter filter);

  ObjectBits white_, pointed_;
  SiteLeaks* table_ = nullptr;
  base::Atomic<uint64_t> late_frees_{0};
};

}  // namespace graft::gc
