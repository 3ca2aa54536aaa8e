// Marking: white to grey (the mark bit is set and the object is put where grey ones wait), grey to
// black (its words were looked at). Conservative: a word is a pointer to the object that contains
// its address. That an object is reachable by the address just behind it is the allocator's
// business: while the collector is on, every block has a byte more than was asked for.
//
//   word --filter--> looked up soon --mark bit--> grey buffer --> touched soon --> scanned
//                    (ring of words)                              (ring of objects)
//
// The two rings hide cache misses: what is needed next was prefetched some steps before (GC.md C3:
// 2.8 times as fast on graphs in no order; Cher, Hosking and Vitek, ISMM 2004).
//
// The confirm scan is the same with a wider idea of a pointer (GC.md section 5): at every byte
// offset, whatever the 17 upper bits say (tags, NaN boxes, counters), and, for words in their
// place, as glibc mangles what it keeps in jump buffers. It takes some ten times as long, and only
// says what is not to be given back.
//
// Workers of the collector, world stopped, between Heap::beginCycle() and finishMark(). Caches were
// blackened: their slots are marked, and so neither looked at nor reported.
#pragma once

#include "core/gc/filter.h"
#include "core/gc/pages.h"
#include "core/gc/roots.h"
#include "core/gc/work.h"
#include "core/heap/heap.h"

namespace graft::gc {

struct MarkCounts {
  uint64_t objects = 0, bytes = 0;  // marked
  uint64_t root_bytes = 0;  // looked at
  uint64_t unreadable = 0;  // bytes that could not be
};

class Marker {
 public:
  // What all workers of one cycle share.
  struct Shared {
    heap::Heap* heap = nullptr;
    const RootSet* roots = nullptr;
    GreyPool* pool = nullptr;
    const PageMap* pages = nullptr;
    Filter filter = nullptr;
    long mem_fd = 0;  // /proc/self/mem
    base::Atomic<uint32_t> next_job{0};
    bool confirm = false;
    uint64_t pointer_guard = 0;  // of this process's jump buffers
  };

  // The part of a large object that is scanned in one go.
  static constexpr size_t kPiece = 256_KiB;

  void begin(Shared& shared);
  // Takes jobs of the root set until none is left, then marks until nothing grey is anywhere.
  void run();
  void rootWord(uint64_t w) { look(s_->confirm ? w & kAddressBits : w); }
  // An object that somebody has marked: to be scanned.
  void grey(Addr object, heap::ClassId cls) { push(makeEntry(object, cls)); }
  // Memory that can be read, a multiple of words.
  void rootRange(Addr from, size_t bytes);
  // Marks on until nothing of this worker's is grey.
  void drain();
  // Overflow: looks at everything marked once more.
  void rescan();
  const MarkCounts& counts() const { return counts_; }

 private:
  static constexpr size_t kRing = 16;
  static constexpr size_t kBatch = 64;  // words given to the filter at once
  static constexpr size_t kCopy = 64_KiB;
  static constexpr uint64_t kAddressBits = (uint64_t{1} << 47) - 1;

  void look(uint64_t w);
  void mark(uint64_t w);
  void settleWords();
  void push(uint64_t entry);
  bool pop(uint64_t& entry);
  void share();
  void scanWords(const uint64_t* from, size_t n);
  void scanBytes(const char* from, size_t n);
  template <class F>
  void scanLane(size_t n, F word);
  void scanAcross(Addr border);
  void scanEntry(uint64_t entry);
  void scanPiece(Addr at);
  void scanCopy(Addr from, Addr to, bool must);
  void scanPages(Addr from, Addr to, bool direct, bool skip_files);
  void scanJob(const RootSet::Job& job);

  Shared* s_ = nullptr;
  Addr base_ = 0;
  size_t limit_ = 0;
  base::Atomic<uint64_t>* map_ = nullptr;
  Chunk* chunk_ = nullptr;
  size_t words_at_ = 0, words_n_ = 0, objects_at_ = 0, objects_n_ = 0;
  uint64_t words_[kRing];
  uint64_t objects_[kRing];
  MarkCounts counts_;
  alignas(64) uint64_t hits_[kBatch];
  alignas(64) uint64_t lane_[kBatch];
  alignas(64) uint64_t copy_[kCopy / 8];
};

}  // namespace graft::gc
