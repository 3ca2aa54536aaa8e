// Allocation, freeing, merging and scavenging of page runs; see mheap.h. Slow paths of any thread,
// under the page-heap lock.
#include "core/heap/mheap.h"

#include "core/base/bits.h"
#include "core/base/check.h"
#include "core/base/plant.h"
#include "core/os/clock.h"
#include "core/os/mem.h"

namespace graft::heap {

size_t MHeap::binOf(size_t npages) {
  if (npages <= kExactBins) return npages - 1;
  unsigned top = base::highestBit(npages);  // >= 7
  size_t bin = kExactBins + (top - 7) * 8 + ((npages >> (top - 3)) & 7);
  return bin < kBins ? bin : kBins - 1;
}

Span* MHeap::spanAt(PageId p) const {
  uint64_t e = as_->entry(p);
  if (e == 0) return nullptr;
  Span* s = as_->spanOfEntry(e);
  PageId first = s->page.loadRelaxed();
  bool covers = p >= first && p - first < s->npages.loadRelaxed();
  return covers && s->state.loadRelaxed() != SpanState::kUnused ? s : nullptr;
}

void MHeap::lruAppend(Span* s) {
  SpanId id = as_->idOf(s);
  s->lru_prev = lru_tail_;
  s->lru_next = 0;
  if (lru_tail_ != 0) {
    as_->span(lru_tail_)->lru_next = id;
  } else {
    lru_head_ = id;
  }
  lru_tail_ = id;
}

void MHeap::lruRemove(Span* s) {
  if (s->lru_prev != 0) {
    as_->span(s->lru_prev)->lru_next = s->lru_next;
  } else {
    lru_head_ = s->lru_next;
  }
  if (s->lru_next != 0) {
    as_->span(s->lru_next)->lru_prev = s->lru_prev;
  } else {
    lru_tail_ = s->lru_prev;
  }
  s->lru_next = s->lru_prev = 0;
}

void MHeap::removeRun(Span* s) {
  SpanState kind = s->state.loadRelaxed();
  Bins& bins = binsFor(kind);
  size_t bin = binOf(s->npages.loadRelaxed());
  if (s->prev != 0) {
    as_->span(s->prev)->next = s->next;
  } else {
    bins.head[bin] = s->next;
    if (s->next == 0) bins.used[bin / 64] &= ~(uint64_t{1} << (bin % 64));
  }
  if (s->next != 0) as_->span(s->next)->prev = s->prev;
  s->next = s->prev = 0;
  if (kind == SpanState::kFreeDirty) {
    lruRemove(s);
    countDirty(-static_cast<int64_t>(s->npages.loadRelaxed()));
  } else {
    stats_.clean_pages -= s->npages.loadRelaxed();
  }
}

// Merges the free run of the same kind that covers page `neighbour`, if any, into s.
Span* MHeap::absorb(Span* s, PageId neighbour, SpanState kind) {
  if (neighbour == 0 || neighbour >= as_->limit() >> kPageShift) return s;
  if (base::planted(base::Plant::kNoCoalesce)) return s;
  Span* other = spanAt(neighbour);
  if (other == nullptr || other->state.loadRelaxed() != kind) return s;
  removeRun(other);
  PageId first = s->page.loadRelaxed(), other_first = other->page.loadRelaxed();
  s->page.storeRelaxed(first < other_first ? first : other_first);
  s->npages.storeRelaxed(s->npages.loadRelaxed() + other->npages.loadRelaxed());
  as_->freeRecord(other);
  return s;
}

// A free run needs no bit arrays: give a big record back where a small one can be had.
Span* MHeap::lighten(Span* s) {
  if (s->words <= 1) return s;
  Span* light = as_->newRecord(1);
  if (light == nullptr) return s;
  light->beginShape();
  light->page.storeRelaxed(s->page.loadRelaxed());
  light->npages.storeRelaxed(s->npages.loadRelaxed());
  light->nelems.storeRelaxed(0);
  light->endShape();
  as_->freeRecord(s);
  return light;
}

void MHeap::insertRun(Span* s, SpanState kind, uint32_t now_ms) {
  s->beginShape();
  s->state.storeRelaxed(SpanState::kUnused);
  s->nelems.storeRelaxed(0);
  s->cls.storeRelaxed(0);
  s = absorb(s, s->page.loadRelaxed() - 1, kind);
  s = absorb(s, s->page.loadRelaxed() + s->npages.loadRelaxed(), kind);
  s->state.storeRelaxed(kind);
  s->endShape();
  PageId first = s->page.loadRelaxed();
  uint32_t n = s->npages.loadRelaxed();
  uint64_t entry = as_->makeEntry(as_->idOf(s), first, 0);
  setEntries(first, 1, entry);
  setEntries(first + n - 1, 1, entry);

  Bins& bins = binsFor(kind);
  size_t bin = binOf(n);
  SpanId id = as_->idOf(s);
  s->prev = 0;
  s->next = bins.head[bin];
  if (s->next != 0) as_->span(s->next)->prev = id;
  bins.head[bin] = id;
  bins.used[bin / 64] |= uint64_t{1} << (bin % 64);
  if (kind == SpanState::kFreeDirty) {
    s->stamp = now_ms;
    lruAppend(s);
    countDirty(n);
  } else {
    stats_.clean_pages += n;
  }
}

// Best fit by bin; within a bin the lowest address of the first few, which keeps the heap dense.
Span* MHeap::findIn(Bins& bins, size_t npages) {
  constexpr int kLook = 16;
  size_t bin = binOf(npages);
  for (size_t w = bin / 64; w < sizeof bins.used / sizeof bins.used[0]; w++) {
    uint64_t used = bins.used[w];
    if (w == bin / 64) used &= ~base::maskBelow(static_cast<unsigned>(bin % 64));
    for (; used != 0; used &= used - 1) {
      size_t b = w * 64 + base::lowestBit(used);
      Span* best = nullptr;
      bool exact = b < kExactBins;
      int look = kLook;
      for (SpanId id = bins.head[b]; id != 0 && (look > 0 || best == nullptr); look--) {
        Span* s = as_->span(id);
        id = s->next;
        uint32_t n = s->npages.loadRelaxed();
        if (n < npages) continue;
        bool better =
            best == nullptr || (!exact && n < best->npages.loadRelaxed()) ||
            (n == best->npages.loadRelaxed() && s->page.loadRelaxed() < best->page.loadRelaxed());
        if (better) best = s;
      }
      if (best != nullptr) return best;
    }
  }
  return nullptr;
}

Span* MHeap::grow(size_t npages) {
  Span* s = as_->newRecord(1);
  if (s == nullptr) return nullptr;
  size_t got = 0;
  PageId first = as_->extend(npages, &got);
  if (first == 0) {
    as_->freeRecord(s);
    return nullptr;
  }
  stats_.committed_pages += got;
  s->beginShape();
  s->page.storeRelaxed(first);
  s->npages.storeRelaxed(static_cast<uint32_t>(got));
  s->endShape();
  insertRun(s, SpanState::kFreeClean, 0);
  return findIn(clean_, npages);
}

// Cuts a run that is in no bin down to `npages` from `head` pages on; the rest goes back.
bool MHeap::trim(Span* s, size_t head, size_t npages) {
  SpanState kind = s->state.loadRelaxed();
  PageId first = s->page.loadRelaxed();
  size_t total = s->npages.loadRelaxed(), tail = total - head - npages;
  Span* before = head != 0 ? as_->newRecord(1) : nullptr;
  Span* after = tail != 0 ? as_->newRecord(1) : nullptr;
  if ((head != 0 && before == nullptr) || (tail != 0 && after == nullptr)) {
    if (before != nullptr) as_->freeRecord(before);
    if (after != nullptr) as_->freeRecord(after);
    return false;
  }
  s->beginShape();
  s->state.storeRelaxed(SpanState::kUnused);
  s->page.storeRelaxed(static_cast<PageId>(first + head));
  s->npages.storeRelaxed(static_cast<uint32_t>(npages));
  s->endShape();
  auto putBack = [&](Span* part, size_t at, size_t n) GRAFT_NO_LOCK_ANALYSIS {
    if (part == nullptr) return;
    part->beginShape();
    part->page.storeRelaxed(static_cast<PageId>(at));
    part->npages.storeRelaxed(static_cast<uint32_t>(n));
    part->endShape();
    insertRun(part, kind, s->stamp);
  };
  putBack(before, first, head);
  putBack(after, first + head + npages, tail);
  s->state.storeRelaxed(kind);
  return true;
}

Span* MHeap::takeRun(size_t npages, size_t align, bool* zero) {
  size_t need = npages + align - 1;
  Span* s = findIn(dirty_, need);
  if (s == nullptr) s = findIn(clean_, need);
  if (s == nullptr) s = grow(need);
  if (s == nullptr) return nullptr;
  *zero =
      s->state.loadRelaxed() == SpanState::kFreeClean || base::planted(base::Plant::kDirtyIsZero);
  removeRun(s);
  size_t head = 0;
  if (align > 1) {
    Addr at = as_->addrOf(s->page.loadRelaxed());
    head = (roundUp(at, align << kPageShift) - at) >> kPageShift;
  }
  if (s->npages.loadRelaxed() != npages && !trim(s, head, npages)) {
    insertRun(s, s->state.loadRelaxed(), s->stamp);
    return nullptr;
  }
  return s;
}

Span* MHeap::allocSmall(ClassId c, size_t npages) {
  uint32_t nelems = static_cast<uint32_t>((npages << kPageShift) / classSize(c));
  if (nelems > kMaxSpanSlots) nelems = kMaxSpanSlots;
  uint32_t words = 1;
  while (words * 64 < nelems) words *= 2;
  os::Lock lock(mu_);
  bool zero = false;
  Span* s = takeRun(npages, 1, &zero);
  if (s == nullptr) return nullptr;
  if (s->words != words) {
    Span* fit = as_->newRecord(words);
    if (fit == nullptr) {
      insertRun(s, s->state.loadRelaxed(), s->stamp);
      return nullptr;
    }
    fit->page.storeRelaxed(s->page.loadRelaxed());
    as_->freeRecord(s);
    s = fit;
  }
  s->beginShape();
  s->npages.storeRelaxed(static_cast<uint32_t>(npages));
  s->nelems.storeRelaxed(nelems);
  s->cls.storeRelaxed(c);
  s->nfree.storeRelaxed(0);
  s->open_pages.storeRelaxed(0);
  s->slow.storeRelaxed(0);
  s->listed = 0;
  s->flag = 0;
  s->stamp = 0;
  s->zero = zero ? 1 : 0;
  s->cursor = 0;
  for (uint32_t w = 0; w < words; w++) {
    s->freeBits()[w].storeRelaxed(0);
    s->markBits()[w].storeRelaxed(0);
  }
  s->state.storeRelaxed(SpanState::kSmall);
  s->endShape();
  PageId first = s->page.loadRelaxed();
  setEntries(first, npages, as_->makeEntry(as_->idOf(s), first, kSlowByte));
  stats_.small_pages += npages;
  small_pages_.storeRelaxed(stats_.small_pages);
  return s;
}

Span* MHeap::allocLarge(size_t npages, size_t align_pages, bool* zero) {
  os::Lock lock(mu_);
  Span* s = takeRun(npages, align_pages, zero);
  if (s == nullptr) return nullptr;
  s->beginShape();
  s->nelems.storeRelaxed(1);
  s->cls.storeRelaxed(0);
  s->nfree.storeRelaxed(0);
  s->flag = 0;
  s->freeBits()[0].storeRelaxed(0);
  s->markBits()[0].storeRelaxed(0);
  s->state.storeRelaxed(SpanState::kLarge);
  s->endShape();
  PageId first = s->page.loadRelaxed();
  setEntries(first, npages, as_->makeEntry(as_->idOf(s), first, 0));
  stats_.large_pages += npages;
  stats_.large_blocks++;
  return s;
}

void MHeap::freeSmall(Span* s) {
  os::Lock lock(mu_);
  // free() trusts the class byte alone, so every entry has to go before the pages are anyone's.
  if (!base::planted(base::Plant::kStalePageMap)) {
    setEntries(s->page.loadRelaxed(), s->npages.loadRelaxed(), 0);
  }
  stats_.small_pages -= s->npages.loadRelaxed();
  small_pages_.storeRelaxed(stats_.small_pages);
  bool clean = s->zero != 0 && s->open_pages.loadRelaxed() == 0;
  s->beginShape();
  s->state.storeRelaxed(SpanState::kUnused);
  s->endShape();
  insertRun(lighten(s), clean ? SpanState::kFreeClean : SpanState::kFreeDirty,
            static_cast<uint32_t>(os::nowMs()));
}

bool MHeap::freeLarge(Span* s, PageId p, uint32_t now_ms) {
  constexpr size_t kPurgeAtOnce = 64_MiB;
  mu_.lock();
  if (s->state.loadRelaxed() != SpanState::kLarge || s->page.loadRelaxed() != p) {
    mu_.unlock();
    return false;
  }
  size_t npages = s->npages.loadRelaxed();
  stats_.large_pages -= npages;
  stats_.large_blocks--;
  bool huge = npages << kPageShift >= kPurgeAtOnce && purgeWorks();
  SpanState kind = SpanState::kFreeDirty;
  if (s->flag != 0 || huge) {
    s->beginShape();
    s->state.storeRelaxed(SpanState::kPurging);
    s->endShape();
    mu_.unlock();
    Addr at = as_->addrOf(p);
    bool zero = s->flag != 0 ? os::remapZero(at, npages << kPageShift)
                             : os::purge(at, npages << kPageShift);
    mu_.lock();
    if (zero) {
      kind = SpanState::kFreeClean;
      stats_.purged_pages += npages;
    }
  }
  insertRun(s, kind, now_ms);
  mu_.unlock();
  return true;
}

bool MHeap::resizeLarge(Span* s, size_t npages, uint32_t now_ms) {
  os::Lock lock(mu_);
  PageId first = s->page.loadRelaxed();
  size_t have = s->npages.loadRelaxed();
  if (npages == have) return true;
  if (npages < have) {
    Span* rest = as_->newRecord(1);
    if (rest == nullptr) return true;  // keeping more than asked for is correct
    s->npages.storeRelease(static_cast<uint32_t>(npages));
    rest->beginShape();
    rest->page.storeRelaxed(static_cast<PageId>(first + npages));
    rest->npages.storeRelaxed(static_cast<uint32_t>(have - npages));
    rest->endShape();
    stats_.large_pages -= have - npages;
    insertRun(rest, SpanState::kFreeDirty, now_ms);
    return true;
  }
  size_t more = npages - have;
  if (first + npages > as_->limit() >> kPageShift) return false;
  Span* next = spanAt(static_cast<PageId>(first + have));
  if (next == nullptr || !next->isFreeRun() || next->npages.loadRelaxed() < more) return false;
  removeRun(next);
  if (next->npages.loadRelaxed() != more && !trim(next, 0, more)) {
    insertRun(next, next->state.loadRelaxed(), next->stamp);
    return false;
  }
  as_->freeRecord(next);
  setEntries(static_cast<PageId>(first + have), more, as_->makeEntry(as_->idOf(s), first, 0));
  s->npages.storeRelease(static_cast<uint32_t>(npages));
  stats_.large_pages += more;
  return true;
}

size_t MHeap::scavenge(uint32_t now_ms, uint32_t min_age_ms, size_t max_pages) {
  size_t done = 0;
  mu_.lock();
  while (purgeWorks() && lru_head_ != 0 && done < max_pages) {
    Span* s = as_->span(lru_head_);
    // Signed: a run may have been freed after the caller read the clock.
    if (static_cast<int32_t>(now_ms - s->stamp) < static_cast<int32_t>(min_age_ms)) break;
    removeRun(s);
    s->beginShape();
    s->state.storeRelaxed(SpanState::kPurging);
    s->endShape();
    size_t n = s->npages.loadRelaxed();
    Addr at = as_->addrOf(s->page.loadRelaxed());
    mu_.unlock();
    bool zero = os::purge(at, n << kPageShift);
    mu_.lock();
    if (!zero) purge_fails_.storeRelaxed(1);  // locked memory (mlockall): the kernel keeps it
    insertRun(s, zero ? SpanState::kFreeClean : SpanState::kFreeDirty, now_ms);
    if (zero) stats_.purged_pages += n;
    done += n;
  }
  mu_.unlock();
  return done;
}

void MHeap::notePurged(size_t pages) {
  os::Lock lock(mu_);
  stats_.purged_pages += pages;
}

MHeapStats MHeap::stats() {
  os::Lock lock(mu_);
  return stats_;
}

const char* MHeap::validateLocked() {
  uint64_t dirty = 0, clean = 0, small = 0, large = 0;
  const char* bad = nullptr;
  SpanState last = SpanState::kUnused;
  PageId last_end = 0;
  forEachSpanLocked([&](Span* s) {
    SpanState state = s->state.loadRelaxed();
    uint32_t n = s->npages.loadRelaxed();
    PageId first = s->page.loadRelaxed();
    if (s->isFreeRun() && last == state && last_end == first)
      bad = "INV-SPAN-7: unmerged free runs";
    last = state;
    last_end = first + n;
    if (state == SpanState::kFreeDirty) dirty += n;
    if (state == SpanState::kFreeClean) clean += n;
    if (state == SpanState::kSmall) small += n;
    if (state == SpanState::kLarge) large += n;
    bool used = state == SpanState::kSmall || state == SpanState::kLarge;
    for (uint32_t i = 0; i < n; i++) {
      bool edge = i == 0 || i + 1 == n;
      if (!used && static_cast<uint8_t>(as_->entry(first + i)) != 0 &&
          state != SpanState::kUnused) {
        bad = "INV-SPAN-8: page of a free run has a class byte";
      }
      if ((used || edge) && spanAt(first + i) != s) bad = "INV-SPAN-1: page map names another span";
    }
  });
  if (bad != nullptr) return bad;
  if (dirty != stats_.dirty_pages) return "dirty page count is wrong";
  if (clean != stats_.clean_pages) return "clean page count is wrong";
  if (small != stats_.small_pages) return "small page count is wrong";
  if (large != stats_.large_pages) return "large page count is wrong";
  return nullptr;
}

}  // namespace graft::heap
