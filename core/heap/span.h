// A span is a run of pages: free, one large block, or cut into slots of one size class. Its record
// lies outside the pages it describes (no metadata is ever visible to a conservative marker) and is
// type-stable: once made, a record is a record for ever and its memory is never unmapped, so a
// racing reader may follow any page-map entry (Go's spanOf/spanOfHeap rely on the same property).
//
// Memory of a record: 64 bytes of header, then `words` 64-bit words of free bits (1 = the slot is
// in the span and free; 0 = handed out or in a cache) and as many of mark bits.
//
// Who may touch what: each field names its guard. "shape" fields (page, npages, nelems, cls, state)
// change only under the PageHeap lock between beginShape() and endShape(), and only while no slot
// of the span is handed out; readers without the lock check `seq` before and after [SPAN-A].
//
// Invariants (checked by Heap::validate):
//  INV-SPAN-1  page-map entries of all pages of a small or large span name its record.
//  INV-SPAN-2  nfree <= number of set free bits <= nelems; equal when no flush is in flight.
//  INV-SPAN-3  bits at and above nelems are 0.
//  INV-SPAN-4  a free slot that starts on an open page carries the key of its class in its second
//  word. INV-SPAN-5  no handed-out or cached slot touches a page that is not open. INV-SPAN-6  a
//  small span is on its central list exactly when nfree > 0. INV-SPAN-7  two free runs of one kind
//  are never neighbours. INV-SPAN-8  no page of a free run has a class byte: free() would take it
//  for a slot.
#pragma once

#include "core/base/atomic.h"
#include "core/base/types.h"
#include "core/heap/size_class.h"

namespace graft::heap {

inline constexpr size_t kSpanUnit = 64;  // a SpanId counts these
inline constexpr size_t kMaxSpanWords = 64;
inline constexpr uint32_t kMaxSpanSlots = kMaxSpanWords * 64;

enum class SpanState : uint8_t {
  kUnused = 0,  // the record describes nothing (it is on the record free list)
  kFreeDirty,  // free run whose pages may be resident and hold old data
  kFreeClean,  // free run of zero pages, none resident
  kPurging,  // free run in the scavenger's hands, in no bin
  kSmall,  // slots of class `cls`
  kLarge,  // one block of `npages`
};

struct Span {
  base::Atomic<uint32_t> seq;  // odd while the shape changes [SPAN-A]
  base::Atomic<SpanState> state;  // shape
  base::Atomic<ClassId> cls;  // shape
  uint8_t listed;  // small: on the central list; class lock
  uint8_t flag;  // large: pages came by mremap (block owner);
                 // small: counted in MCentral::empties (class lock)
  base::Atomic<PageId> page;  // shape: first page
  base::Atomic<uint32_t> npages;  // shape; a large block's owner may also move it (resize)
  base::Atomic<uint32_t> nelems;  // shape: slots
  base::Atomic<int32_t> nfree;  // flushers add, class-lock holders subtract [SPAN-B]
  SpanId next, prev;  // central list (class lock) or page-heap bin (page-heap lock)
  SpanId lru_next, lru_prev;  // dirty runs, oldest first; page-heap lock
  base::Atomic<uint64_t> open_pages;  // small: bit per page in use by slots; class lock
  base::Atomic<uint32_t> sweepgen;  // generation of the last sweep; class lock
  uint32_t stamp;  // dirty runs: when freed, coarse ms (page-heap lock);
                   // small: nfree at the scavenger's last look (class lock)
  uint16_t words;  // capacity of each bit array; constant for the record's life
  uint8_t zero;  // small: pages that are not open are zero; class lock
  uint8_t cursor;  // small: first word worth looking at; class lock
  base::Atomic<uint8_t> slow;  // small: every free takes the slow path (HZ-FREE); class lock

  bool isOpen(uint32_t page_index) const {
    return (open_pages.loadRelaxed() >> page_index & 1) != 0;
  }
  void setOpen(uint32_t page_index, bool open) {
    uint64_t bit = uint64_t{1} << page_index, old = open_pages.loadRelaxed();
    open_pages.storeRelaxed(open ? old | bit : old & ~bit);
  }

  base::Atomic<uint64_t>* freeBits() {
    return reinterpret_cast<base::Atomic<uint64_t>*>(reinterpret_cast<char*>(this) + kSpanUnit);
  }
  base::Atomic<uint64_t>* markBits() { return freeBits() + words; }

  uint32_t bitWords() const { return (nelems.loadRelaxed() + 63) / 64; }
  bool isFreeRun() const {
    SpanState s = state.loadRelaxed();
    return s == SpanState::kFreeDirty || s == SpanState::kFreeClean;
  }

  // Writers' side of [SPAN-A], page-heap lock held.
  void beginShape() {
    seq.storeRelaxed(seq.loadRelaxed() + 1);
    base::fenceRelease();
  }
  void endShape() { seq.storeRelease(seq.loadRelaxed() + 1); }
};
static_assert(sizeof(Span) == kSpanUnit);
static_assert(256_KiB >> kPageShift <= 64,
              "open_pages has a bit for each page of the longest span");

}  // namespace graft::heap
