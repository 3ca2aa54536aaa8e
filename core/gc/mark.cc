// The marker's loops; see mark.h. Loads of the program's memory are plain ones where a page is
// known to be there, else copies through /proc/self/mem, which fail instead of faulting.
#include "core/gc/mark.h"

#include "core/base/bits.h"
#include "core/base/plant.h"
#include "core/os/sys.h"

namespace graft::gc {

using heap::ClassId;
using heap::Span;
using heap::SpanState;

void Marker::begin(Shared& shared) {
  s_ = &shared;
  base_ = shared.heap->space.base();
  limit_ = shared.heap->space.limit();
  map_ = shared.heap->space.map();
  words_at_ = words_n_ = objects_at_ = objects_n_ = 0;
  chunk_ = nullptr;
  counts_ = {};
}

// --- Grey entries

void Marker::push(uint64_t entry) {
  if (chunk_ == nullptr || chunk_->n == Chunk::kRoom) {
    Chunk* fresh = s_->pool->get();
    if (fresh == nullptr) return;  // overflowed: rescan() comes back for it
    if (chunk_ != nullptr) s_->pool->give(chunk_);
    chunk_ = fresh;
  }
  chunk_->entry[chunk_->n++] = entry;
}

bool Marker::pop(uint64_t& entry) {
  if (chunk_ == nullptr) return false;
  if (chunk_->n == 0) {
    Chunk* more = s_->pool->take();
    if (more == nullptr) return false;
    s_->pool->put(chunk_);
    chunk_ = more;
  }
  entry = chunk_->entry[--chunk_->n];
  return true;
}

// Somebody waits for work: half of ours, the older half, is theirs.
void Marker::share() {
  constexpr size_t kWorthIt = 8;
  if (chunk_ == nullptr || chunk_->n < kWorthIt) return;
  Chunk* other = s_->pool->get();
  if (other == nullptr) return;
  other->n = chunk_->n / 2;
  for (size_t i = 0; i < other->n; i++) other->entry[i] = chunk_->entry[i];
  chunk_->n -= other->n;
  for (size_t i = 0; i < chunk_->n; i++) chunk_->entry[i] = chunk_->entry[i + other->n];
  s_->pool->give(other);
}

// --- White to grey

// A word that the filter let through: it is looked up when kRing others have come after it.
void Marker::look(uint64_t w) {
  size_t off = w - base_;
  if (off >= limit_) return;
  uint64_t e = map_[off >> kPageShift].loadRelaxed();
  if (e == 0) return;
  const char* record = reinterpret_cast<const char*>(s_->heap->space.spanOfEntry(e));
  __builtin_prefetch(record);
  __builtin_prefetch(record + heap::kSpanUnit);
  if (words_n_ == kRing) {
    uint64_t oldest = words_[words_at_];
    words_[words_at_] = w;
    words_at_ = (words_at_ + 1) % kRing;
    return mark(oldest);
  }
  words_[(words_at_ + words_n_++) % kRing] = w;
}

void Marker::settleWords() {
  while (words_n_ != 0) {
    uint64_t w = words_[words_at_];
    words_at_ = (words_at_ + 1) % kRing;
    words_n_--;
    mark(w);
  }
}

void Marker::mark(uint64_t w) {
  size_t off = w - base_;
  uint64_t e = map_[off >> kPageShift].loadRelaxed();
  Span* s = s_->heap->space.spanOfEntry(e);
  size_t first = size_t{s->page.loadRelaxed()} << kPageShift;
  size_t in_span = off - first;
  if (in_span >= size_t{s->npages.loadRelaxed()} << kPageShift) return;
  SpanState state = s->state.loadRelaxed();
  uint32_t index = 0;
  ClassId cls = 0;
  if (state == SpanState::kSmall) {
    cls = s->cls.loadRelaxed();
    index = heap::slotIndex(cls, static_cast<uint32_t>(in_span));
    if (index >= s->nelems.loadRelaxed()) return;
    if (base::planted(base::Plant::kInteriorOffByOne) &&
        in_span - size_t{index} * heap::classSize(cls) + 1 == heap::classSize(cls)) {
      return;
    }
  } else if (state != SpanState::kLarge) {
    return;
  }
  uint64_t bit = uint64_t{1} << (index % 64);
  base::Atomic<uint64_t>& marks = s->markBits()[index / 64];
  if ((marks.loadRelaxed() & bit) != 0) return;
  if (cls != 0 && (s->freeBits()[index / 64].loadRelaxed() & bit) != 0) return;
  if ((marks.fetchOrRelaxed(bit) & bit) != 0) return;
  size_t size = cls != 0 ? heap::classSize(cls) : size_t{s->npages.loadRelaxed()} << kPageShift;
  counts_.objects++;
  counts_.bytes += size;
  push(makeEntry(base_ + first + size_t{index} * (cls != 0 ? size : 0), cls));
}

// --- Grey to black

void Marker::scanWords(const uint64_t* from, size_t n) {
  if (__builtin_expect(s_->confirm, 0))
    return scanBytes(reinterpret_cast<const char*>(from), n * 8);
  while (n != 0) {
    size_t some = n < kBatch ? n : kBatch;
    size_t hits = s_->filter(from, some, base_, limit_, hits_);
    for (size_t i = 0; i < hits; i++) look(hits_[i]);
    from += some;
    n -= some;
  }
}

template <class F>
void Marker::scanLane(size_t n, F word) {
  for (size_t i = 0; i < n; i++) lane_[i] = word(i) & kAddressBits;
  size_t hits = s_->filter(lane_, n, base_, limit_, hits_);
  for (size_t i = 0; i < hits; i++) look(hits_[i]);
}

void Marker::scanBytes(const char* from, size_t n) {
  auto load = [from](size_t at) {
    uint64_t w;
    __builtin_memcpy(&w, from + at, 8);
    return w;
  };
  for (size_t at = 0; at + 8 <= n; at += kBatch * 8) {
    for (size_t shift = 0; shift < 8 && at + shift + 8 <= n; shift++) {
      size_t words = (n - at - shift) / 8;
      if (words > kBatch) words = kBatch;
      scanLane(words, [&](size_t i) { return load(at + shift + i * 8); });
    }
    size_t words = (n - at) / 8 < kBatch ? (n - at) / 8 : kBatch;
    scanLane(words, [&](size_t i) {
      uint64_t w = load(at + i * 8);
      return (w >> 17 | w << 47) ^ s_->pointer_guard;
    });
  }
}

// What is looked at in pieces may have a pointer that lies in two of them.
void Marker::scanAcross(Addr border) {
  char bytes[14];
  long got =
      os::sys(SYS_pread64, s_->mem_fd, os::arg(bytes), sizeof bytes, static_cast<long>(border - 7));
  if (got == sizeof bytes) scanBytes(bytes, sizeof bytes);
}

void Marker::rootRange(Addr from, size_t bytes) {
  counts_.root_bytes += bytes;
  scanWords(reinterpret_cast<const uint64_t*>(roundUp(from, 8)), bytes / 8);
}

// What a plain load might not survive. `must`: what cannot be read is missed by the cycle.
void Marker::scanCopy(Addr from, Addr to, bool must) {
  while (from < to) {
    size_t want = to - from < kCopy ? to - from : kCopy;
    long got = os::sys(SYS_pread64, s_->mem_fd, os::arg(copy_), static_cast<long>(want),
                       static_cast<long>(from));
    if (os::failed(got) || got == 0) {
      size_t gap = kOsPage - from % kOsPage;
      if (gap > to - from) gap = to - from;
      if (must) counts_.unreadable += gap;
      from += gap;
      continue;
    }
    scanWords(copy_, static_cast<size_t>(got) / 8);
    from += static_cast<size_t>(got);
    if (s_->confirm && from < to) scanAcross(from);
  }
}

void Marker::scanPages(Addr from, Addr to, bool direct, bool skip_files) {
  bool told =
      s_->pages->forEach(roundDown(from, kOsPage), roundUp(to, kOsPage), [&](const PageRun& run) {
        if (skip_files && run.file) return;
        Addr a = run.from > from ? run.from : from, b = run.to < to ? run.to : to;
        if (s_->confirm) scanAcross(a);
        if (direct && run.present) {
          scanWords(reinterpret_cast<const uint64_t*>(a), (b - a) / 8);
        } else {
          // Guard markers look like swapped pages: what is not there and cannot be read holds
          // nothing.
          scanCopy(a, b, run.present);
        }
      });
  if (!told) counts_.unreadable += to - from;
}

void Marker::scanPiece(Addr at) {
  heap::ObjectRef o;
  if (!s_->heap->findObject(at, &o)) return;
  Addr end = o.base + o.size;
  if (end - at > kPiece) {
    end = at + kPiece;
    push(makeEntry(end, 0));
  }
  scanPages(at, end, !s_->roots->oddHeap(at, end), false);
}

void Marker::scanEntry(uint64_t entry) {
  Addr at = addrOfEntry(entry);
  ClassId cls = classOfEntry(entry);
  if (cls == 0) return scanPiece(at);
  size_t size = heap::classSize(cls);
  if (__builtin_expect(s_->roots->oddHeap(at, at + size), 0)) return scanCopy(at, at + size, true);
  scanWords(reinterpret_cast<const uint64_t*>(at), size / 8);
}

void Marker::drain() {
  for (uint32_t steps = 0;; steps++) {
    uint64_t e;
    while (objects_n_ < kRing && pop(e)) {
      const char* at = reinterpret_cast<const char*>(addrOfEntry(e));
      __builtin_prefetch(at);
      __builtin_prefetch(at + 64);
      objects_[(objects_at_ + objects_n_++) % kRing] = e;
    }
    if (objects_n_ == 0) {
      if (words_n_ == 0) return;
      settleWords();
      continue;
    }
    e = objects_[objects_at_];
    objects_at_ = (objects_at_ + 1) % kRing;
    objects_n_--;
    scanEntry(e);
    if (steps % 64 == 0 && s_->pool->hungry()) share();
  }
}

void Marker::scanJob(const RootSet::Job& job) {
  counts_.root_bytes += job.to - job.from;
  scanPages(job.from, job.to, job.direct, job.skip_files);
}

void Marker::run() {
  RootSet::Job job;
  for (;;) {
    uint32_t i = s_->next_job.fetchAddRelaxed(1);
    if (!s_->roots->job(i, job)) break;
    if (i == 0 && base::planted(base::Plant::kSkippedRoot)) continue;
    scanJob(job);
    drain();
  }
  for (;;) {
    drain();
    Chunk* c = s_->pool->takeOrFinish();
    if (c == nullptr) break;
    if (chunk_ != nullptr) s_->pool->put(chunk_);
    chunk_ = c;
  }
}

void Marker::rescan() {
  s_->heap->forEachSpan([this](Span* s) {
    SpanState state = s->state.loadRelaxed();
    Addr at = base_ + (size_t{s->page.loadRelaxed()} << kPageShift);
    if (state == SpanState::kLarge && heap::Heap::isMarked(s, 0)) {
      push(makeEntry(at, 0));
      drain();
    }
    if (state != SpanState::kSmall) return;
    ClassId cls = s->cls.loadRelaxed();
    for (uint32_t w = 0; w < s->bitWords(); w++) {
      uint64_t marked = s->markBits()[w].loadRelaxed();
      for (; marked != 0; marked &= marked - 1) {
        uint32_t index = w * 64 + base::lowestBit(marked);
        Addr slot = at + size_t{index} * heap::classSize(cls);
        // Slots in caches are black, too, and what they hold is nobody's any more.
        heap::ObjectRef o;
        if (!s_->heap->findObject(slot, &o) || !o.allocated) continue;
        scanEntry(makeEntry(slot, cls));
        drain();
      }
    }
  });
}

}  // namespace graft::gc
