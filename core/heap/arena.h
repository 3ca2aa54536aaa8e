// The heap's address space: one reservation that is committed from the bottom up, the page map
// over it, and the pool of span records. "Is it ours" is one subtraction and compare.
//
//   base                limit                        base + size
//   | committed arenas  | (limit only grows)  ...PROT_NONE... |
//
// The page map has one 64-bit entry per page: the span's record in the upper half; in the lower
// half the span's offset mod 2^32 (a multiple of the page size) plus its class byte, from which
// free() gets class and slot offset with one load. Entry 0: no span, or one that free() must not
// touch.
//
// Where a large reservation cannot be had (RLIMIT_AS, GRAFT_DENY=reserve) the heap maps each piece
// as it grows; addresses inside the range that are not mapped by us have entry 0.
//
// Locks: extend() and Records are called with the page-heap lock held; lookups take no lock.
// Source: Go's heapArena and spanOf (mheap.go); flat map as in tcmalloc's pagemap.h.
#pragma once

#include "core/base/atomic.h"
#include "core/base/types.h"
#include "core/heap/span.h"

namespace graft::heap {

inline constexpr size_t kArena = 64_MiB;  // address space is handed out in pieces of this size

struct Config {
  size_t reserve_bytes = 1024_GiB;
  size_t max_caches = 256;
  size_t cache_bytes = 0;  // filled in by Heap
  bool deny_reserve = false;  // as if the reservation had failed
  bool deny_nohugepage = false;
  bool deny_mremap = false;
  bool deny_purge = false;
};

// A growing prefix of reserved address space for metadata.
class Region {
 public:
  void init(Addr base, size_t size, size_t step) {
    base_ = base;
    size_ = size;
    step_ = step;
  }
  // Makes the first `bytes` usable; false when the kernel or the region has no more.
  bool ensure(size_t bytes);
  // Gives address space beyond `bytes` (or what is committed, if more) back to the system.
  void shrink(size_t bytes);
  Addr base() const { return base_; }
  size_t size() const { return size_; }
  size_t committed() const { return committed_; }

 private:
  Addr base_ = 0;
  size_t size_ = 0, step_ = 0, committed_ = 0;
};

class AddressSpace {
 public:
  bool init(const Config& config);

  // Fast-path facts. base and map never change after init; limit only grows [ARENA-A].
  Addr base() const { return base_; }
  size_t limit() const { return limit_.loadAcquire(); }
  base::Atomic<uint64_t>* map() const { return map_; }

  bool contains(Addr a) const { return a - base_ < limit(); }
  Addr addrOf(PageId p) const { return base_ + (size_t{p} << kPageShift); }
  PageId pageOf(Addr a) const { return static_cast<PageId>((a - base_) >> kPageShift); }
  uint64_t entry(PageId p) const { return map_[p].loadAcquire(); }
  Span* spanOfEntry(uint64_t e) const { return span(static_cast<SpanId>(e >> 32)); }
  Span* span(SpanId id) const {
    return reinterpret_cast<Span*>(records_.base() + size_t{id} * kSpanUnit);
  }
  SpanId idOf(const Span* s) const {
    return static_cast<SpanId>((reinterpret_cast<Addr>(s) - records_.base()) / kSpanUnit);
  }
  uint64_t makeEntry(SpanId id, PageId first_page, uint8_t class_byte) const {
    uint32_t low = static_cast<uint32_t>((size_t{first_page} << kPageShift) + class_byte);
    return (uint64_t{id} << 32) | low;
  }

  // Commits at least `pages` more pages; returns the first and sets *got. 0: exhausted.
  PageId extend(size_t pages, size_t* got);
  // The program is about to limit its address space: keeps what is committed, grows by mapping from
  // now on, and keeps only as much of the metadata reservation as `limit` bytes of heap can need.
  void fitTo(size_t limit);
  // Records: page-heap lock. nullptr: no memory for metadata.
  Span* newRecord(uint32_t words);
  void freeRecord(Span* s);

  Region& caches() { return caches_; }
  size_t metadataCommitted() const {
    return map_region_.committed() + records_.committed() + caches_.committed();
  }
  size_t reservedBytes() const { return size_; }
  bool growsByMapping() const { return grow_; }
  bool mremapAllowed() const { return !deny_mremap_; }
  bool noHugePages() const { return no_huge_; }
  bool inReservation(Addr a) const { return a - base_ < size_; }
  // Before fitTo() gave some of it back.
  size_t reservedAtStart() const { return size_at_start_; }
  template <class F>
  void forEachMetadata(F f) const {
    f(map_region_.base(), map_region_.size());
    f(records_.base(), records_.size());
    f(caches_.base(), caches_.size());
  }
  uint32_t recordsUsed() const { return next_record_; }

 private:
  bool placeHeap(const Config& config);
  bool placeMetadata(const Config& config);
  bool commitHeap(size_t from, size_t bytes);

  Addr base_ = 0;
  base::Atomic<uint64_t>* map_ = nullptr;
  base::Atomic<size_t> limit_{0};
  size_t size_ = 0, size_at_start_ = 0;
  bool grow_ = false, no_huge_ = false, deny_mremap_ = false;
  Region map_region_, records_, caches_;
  uint32_t next_record_ = 0;  // 1 from placeMetadata on: record 0 means no span
  SpanId free_records_[8] = {};  // by log2(words)
};

}  // namespace graft::heap
