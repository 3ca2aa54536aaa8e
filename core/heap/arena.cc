// Reservation, growth and record pool of the heap's address space; see arena.h. Runs at first use
// and on the page heap's slow path, under its lock.
#include "core/heap/arena.h"

#include <sys/resource.h>

#include "core/base/bits.h"
#include "core/base/check.h"
#include "core/os/mem.h"
#include "core/os/sys.h"

namespace graft::heap {
namespace {

// Where Go puts its arenas; far from what ld.so, stacks and mmap use, then anywhere.
constexpr Addr kHints[] = {0xc0'0000'0000, 0x1c0'0000'0000, 0x2c0'0000'0000, 0x4c0'0000'0000};
constexpr size_t kGrowModeMax = 64_GiB;
constexpr size_t kRecordShare = 32;  // the densest spans need 2 % for records

size_t addressSpaceLimit() {
  struct {
    uint64_t cur, max;
  } lim{};
  if (os::failed(os::sys(SYS_prlimit64, 0, RLIMIT_AS, 0, os::arg(&lim)))) return ~size_t{0};
  return lim.cur;
}

}  // namespace

bool Region::ensure(size_t bytes) {
  if (bytes <= committed_) return true;
  size_t want = roundUp(bytes, step_);
  if (want > size_) want = size_;
  if (bytes > want) return false;
  if (!os::commit(base_ + committed_, want - committed_)) {
    want = roundUp(bytes, kOsPage);
    if (!os::commit(base_ + committed_, want - committed_)) return false;
  }
  committed_ = want;
  return true;
}

void Region::shrink(size_t bytes) {
  size_t keep = roundUp(bytes > committed_ ? bytes : committed_, kOsPage);
  if (keep >= size_) return;
  os::release(base_ + keep, size_ - keep);
  size_ = keep;
}

bool AddressSpace::init(const Config& config) {
  deny_mremap_ = config.deny_mremap;
  if (!placeHeap(config) || !placeMetadata(config)) return false;
  size_at_start_ = size_;
  if (!grow_ && !config.deny_nohugepage) no_huge_ = os::noHugePages(base_, size_);
  return true;
}

bool AddressSpace::placeHeap(const Config& config) {
  size_t limit = addressSpaceLimit();
  bool limited = limit != ~size_t{0};
  if (!config.deny_reserve && !limited) {
    for (size_ = roundUp(config.reserve_bytes, kArena); size_ >= 1_GiB; size_ /= 4) {
      for (Addr hint : kHints) {
        base_ = os::reserve(size_, hint);
        if (base_ != 0) return true;
      }
      Addr any = os::reserve(size_ + kPageSize, 0);
      if (any != 0) {
        base_ = roundUp(any, kPageSize);
        return true;
      }
    }
  }
  grow_ = true;
  size_ = kGrowModeMax;
  if (limited && limit < size_) size_ = roundUp(limit, kArena);
  if (config.reserve_bytes < size_) size_ = roundUp(config.reserve_bytes, kArena);
  for (Addr hint : kHints) {
    if (!os::mapFresh(hint, kPageSize)) continue;
    os::release(hint, kPageSize);
    base_ = hint;
    return true;
  }
  return false;
}

bool AddressSpace::placeMetadata(const Config& config) {
  size_t map_bytes = roundUp((size_ >> kPageShift) * sizeof(uint64_t), 64_KiB);
  size_t record_bytes = roundUp(size_ / kRecordShare, 64_KiB);
  size_t cache_bytes = roundUp(config.max_caches * config.cache_bytes, 64_KiB);
  Addr at = os::reserve(map_bytes + record_bytes + cache_bytes, 0);
  if (at == 0) return false;
  caches_.init(at, cache_bytes, kOsPage);
  records_.init(at + cache_bytes, record_bytes, 32_KiB);
  map_region_.init(at + cache_bytes + record_bytes, map_bytes, 16_KiB);
  map_ = reinterpret_cast<base::Atomic<uint64_t>*>(map_region_.base());
  next_record_ = 1;
  return true;
}

bool AddressSpace::commitHeap(size_t from, size_t bytes) {
  // Metadata for every way to use these pages comes with them: a limit that is reached later must
  // not make free pages unusable.
  if (!map_region_.ensure(((from + bytes) >> kPageShift) * sizeof(uint64_t))) return false;
  if (!records_.ensure((from + bytes) / kRecordShare)) return false;
  return grow_ ? os::mapFresh(base_ + from, bytes) : os::commit(base_ + from, bytes);
}

PageId AddressSpace::extend(size_t pages, size_t* got) {
  size_t need = pages << kPageShift;
  size_t from = limit_.loadRelaxed();
  // Steps of an eighth keep the committed but untouched part small: it counts in core files and
  // against overcommit_memory=2.
  size_t step = roundDown(from / 8, 256_KiB);
  if (step < 256_KiB) step = 256_KiB;
  if (step > kArena) step = kArena;
  size_t want = roundUp(need, 256_KiB);
  if (want < step) want = step;
  for (;;) {
    if (from >= size_ || need > size_ - from) return 0;
    if (from == 0) {  // page 0 stays unused, so that page id 0 can mean "none"
      if (!commitHeap(0, want + kPageSize)) {
        if (want == need || !commitHeap(0, need + kPageSize)) return 0;
        want = need;
      }
      limit_.storeRelease(want + kPageSize);  // [ARENA-A]
      *got = want >> kPageShift;
      return 1;
    }
    if (want > size_ - from) want = need;
    if (commitHeap(from, want)) break;
    if (want != need && commitHeap(from, need)) {
      want = need;
      break;
    }
    // Growing by mapping: someone else's mapping may sit here; step over it, arena by arena.
    if (!grow_) return 0;
    size_t next = roundUp(from + 1, kArena);
    if (next >= size_ || !map_region_.ensure((next >> kPageShift) * sizeof(uint64_t))) return 0;
    from = next;
  }
  limit_.storeRelease(from + want);
  *got = want >> kPageShift;
  return static_cast<PageId>(from >> kPageShift);
}

void AddressSpace::fitTo(size_t limit) {
  size_t used = limit_.loadRelaxed();
  if (limit >= size_ - used) return;
  size_t most = roundUp(used + limit, kArena);
  if (most >= size_) return;
  if (!grow_) {
    os::release(base_ + used, size_ - used);
    grow_ = true;
  }
  size_ = most;
  map_region_.shrink((size_ >> kPageShift) * sizeof(uint64_t));
  records_.shrink(size_ / kRecordShare);
}

Span* AddressSpace::newRecord(uint32_t words) {
  unsigned pool = words <= 1 ? 0 : base::highestBit(words - 1) + 1;
  words = 1u << pool;
  Span* s;
  if (SpanId id = free_records_[pool]; id != 0) {
    s = span(id);
    free_records_[pool] = s->next;
  } else {
    uint32_t units = static_cast<uint32_t>((kSpanUnit + 16 * words + kSpanUnit - 1) / kSpanUnit);
    if (!records_.ensure((size_t{next_record_} + units) * kSpanUnit)) return nullptr;
    s = span(next_record_);
    next_record_ += units;
    s->words = static_cast<uint16_t>(words);
  }
  s->next = s->prev = s->lru_next = s->lru_prev = 0;
  return s;
}

void AddressSpace::freeRecord(Span* s) {
  s->beginShape();
  s->state.storeRelaxed(SpanState::kUnused);
  s->npages.storeRelaxed(0);
  s->nelems.storeRelaxed(0);
  s->endShape();
  unsigned pool = base::highestBit(s->words);
  s->next = free_records_[pool];
  free_records_[pool] = idOf(s);
}

}  // namespace graft::heap
