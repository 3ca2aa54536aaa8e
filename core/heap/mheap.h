// mheap: runs of pages. Free runs lie in bins by length, dirty ones (old contents, maybe resident)
// apart from clean ones (zero, not resident); dirty runs are preferred, and are also queued by the
// time they were freed so that the scavenger returns the oldest first. Neighbours of one kind are
// merged at once through the page map. A record (span.h) describes each run, free or used.
//
// Lock: mu_, rank below the class locks (a central list may ask for a span while locked). madvise
// runs without it: a run being purged is in no bin.
// Source: tcmalloc's PageHeap and jemalloc's extents for the bins and decay queue; the names and
// the levels are Go's (mheap.go). Go finds runs by a radix tree of summaries; here the page map
// already gives both neighbours of a run, so bins need no tree.
#pragma once

#include "core/heap/arena.h"
#include "core/heap/span.h"
#include "core/os/mutex.h"

namespace graft::heap {

struct MHeapStats {
  uint64_t dirty_pages = 0;
  uint64_t clean_pages = 0;
  uint64_t small_pages = 0;
  uint64_t large_pages = 0;
  uint64_t large_blocks = 0;
  uint64_t purged_pages = 0;  // all that were ever given back
  uint64_t committed_pages = 0;
};

class MHeap {
 public:
  void init(AddressSpace& as, bool purge_allowed) {
    as_ = &as;
    purge_fails_.storeRelaxed(purge_allowed ? 0 : 1);
  }

  // A span for slots of class c, every page closed, no free bits set. nullptr: no memory.
  Span* allocSmall(ClassId c, size_t npages);
  // One block of whole pages, first page a multiple of align_pages. *zero: contents are zero.
  Span* allocLarge(size_t npages, size_t align_pages, bool* zero);
  // Whether a dirty run of that many pages exists.
  bool fitsDirty(size_t npages) {
    os::Lock lock(mu_);
    return findIn(dirty_, npages) != nullptr;
  }
  // Takes back a span that nobody uses. Small ones: class lock held by the caller.
  void freeSmall(Span* s);
  // Takes back the block that starts at page p; false when there is none (already freed).
  bool freeLarge(Span* s, PageId p, uint32_t now_ms);
  // Changes the length of a large block in place; false when what follows is not free.
  bool resizeLarge(Span* s, size_t npages, uint32_t now_ms);

  // Gives dirty runs back that were freed at least min_age_ms ago, oldest first; returns pages.
  size_t scavenge(uint32_t now_ms, uint32_t min_age_ms, size_t max_pages);
  MHeapStats stats();
  uint64_t dirtyPages() const { return dirty_pages_.loadRelaxed(); }
  bool purgeWorks() const { return purge_fails_.loadRelaxed() == 0; }
  void notePurged(size_t pages);

  os::Mutex& mutex() GRAFT_RETURNS_LOCK(mu_) { return mu_; }
  // Walks all runs and checks INV-SPAN-1 and INV-SPAN-7; returns a text or nullptr.
  const char* validateLocked() GRAFT_REQUIRES(mu_);
  template <class F>
  void forEachSpanLocked(F f) GRAFT_REQUIRES(mu_) {
    size_t end = as_->limit() >> kPageShift;
    for (size_t p = 1; p < end;) {
      Span* s = spanAt(static_cast<PageId>(p));
      if (s == nullptr || s->page.loadRelaxed() != p) {
        p++;
        continue;
      }
      uint32_t n = s->npages.loadRelaxed();
      f(s);
      p += n != 0 ? n : 1;
    }
  }
  // Small first spans until the process has shown that it is not a small one.
  bool processIsSmall() const { return smallBytes() < 2_MiB; }
  size_t smallBytes() const { return small_pages_.loadRelaxed() * kPageSize; }

 private:
  static constexpr size_t kExactBins = 128;
  static constexpr size_t kBins = kExactBins + 8 * 20;
  struct Bins {
    SpanId head[kBins] = {};
    uint64_t used[(kBins + 63) / 64] = {};
  };
  static size_t binOf(size_t npages);

  Span* spanAt(PageId p) const;  // the record that covers page p, or nullptr
  Span* takeRun(size_t npages, size_t align, bool* zero) GRAFT_REQUIRES(mu_);
  Span* findIn(Bins& bins, size_t npages) GRAFT_REQUIRES(mu_);
  Span* grow(size_t npages) GRAFT_REQUIRES(mu_);
  bool trim(Span* s, size_t head, size_t npages) GRAFT_REQUIRES(mu_);
  void insertRun(Span* s, SpanState kind, uint32_t now_ms) GRAFT_REQUIRES(mu_);
  void removeRun(Span* s) GRAFT_REQUIRES(mu_);
  Span* absorb(Span* s, PageId neighbour, SpanState kind) GRAFT_REQUIRES(mu_);
  void countDirty(int64_t pages) GRAFT_REQUIRES(mu_) {
    stats_.dirty_pages += static_cast<uint64_t>(pages);
    dirty_pages_.storeRelaxed(stats_.dirty_pages);
  }
  void lruAppend(Span* s) GRAFT_REQUIRES(mu_);
  void lruRemove(Span* s) GRAFT_REQUIRES(mu_);
  Span* lighten(Span* s) GRAFT_REQUIRES(mu_);
  void setEntries(PageId p, size_t n, uint64_t entry) {
    for (size_t i = 0; i < n; i++) as_->map()[p + i].storeRelease(entry);
  }
  Bins& binsFor(SpanState kind) { return kind == SpanState::kFreeDirty ? dirty_ : clean_; }

  os::Mutex mu_;
  AddressSpace* as_ = nullptr;
  Bins dirty_ GRAFT_GUARDED_BY(mu_), clean_ GRAFT_GUARDED_BY(mu_);
  SpanId lru_head_ GRAFT_GUARDED_BY(mu_) = 0, lru_tail_ GRAFT_GUARDED_BY(mu_) = 0;
  MHeapStats stats_ GRAFT_GUARDED_BY(mu_);
  base::Atomic<uint64_t> small_pages_{0};
  base::Atomic<uint64_t> dirty_pages_{0};  // stats_.dirty_pages for readers without the lock
  base::Atomic<uint32_t> purge_fails_{0};  // locked memory, or not allowed
};

}  // namespace graft::heap
