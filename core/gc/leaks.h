// What a cycle found white: counted by allocation site, and remembered per object, so that a later
// free() of one is noticed. Direct: no other white object holds a pointer to it; LSan's words.
//
// find() runs on the collector's thread in a stopped world, between marking and finishMark(); the
// queries on any thread. No locks.
#pragma once

#include "core/base/bits.h"
#include "core/gc/mark.h"
#include "core/gc/object_table.h"
#include "core/heap/heap.h"
#include "core/os/sys.h"

namespace graft::gc {

// Why a site's objects are never given back: a pointer to one of them was there all the time.
enum class Pardon : uint8_t { kNone, kFreed, kUsed, kChanged };
constexpr const char* nameOf(Pardon p) {
  constexpr const char* kNames[] = {"", "freed", "used", "changed"};
  return kNames[static_cast<size_t>(p)];
}

struct SiteLeaks {
  uint64_t objects = 0, bytes = 0, direct_objects = 0, direct_bytes = 0;
  uint32_t newest = 0, oldest = 0;  // in cycles since they were first found white
  // Kept over cycles:
  uint32_t late_frees = 0;  // of objects that a cycle had found white
  Pardon pardon = Pardon::kNone;
  uint64_t reclaimed_objects = 0, reclaimed_bytes = 0;
};

// An object that is neither marked nor free.
struct White {
  Addr at;
  size_t size;
  heap::Span* span;
  uint32_t index;
  heap::ClassId cls;  // 0: a large one
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
  // Adds up in `totals`. False: no memory for records.
  bool find(uint32_t cycle, bool by_site, const Marker::Shared& marking, Totals& totals);
  // The program named the block, to free it or else. True: a cycle had called it leaked.
  bool freed(Addr object);
  bool used(Addr object) { return named(object, Pardon::kUsed); }
  void countLateFree(uint16_t site) {
    late_frees_.fetchAddRelaxed(1);
    table_[site].late_frees++;
  }
  void pardon(uint16_t site, Pardon why) {
    if (table_[site].pardon == Pardon::kNone) table_[site].pardon = why;
  }
  SiteLeaks& site(size_t i) { return table_[i]; }
  Record& recordOf(Addr object) const { return records_.of(object); }
  // It is nobody's from now on.
  void forget(Addr object) { whites().take(object); }
  uint64_t lateFrees() const { return late_frees_.loadRelaxed(); }
  const SiteLeaks& at(size_t site) const { return table_[site]; }
  template <class F>
  void forEachMemory(F f) const {
    f(white_[0].memory(), white_[0].bytes());
    f(white_[1].memory(), white_[1].bytes());
    f(pointed_.memory(), pointed_.bytes());
    f(records_.memory(), records_.bytes());
  }
  // f(const White&); it may mark.
  template <class F>
  static void forEachWhite(heap::Heap& heap, F f);
  // The words of an object as far as they can be read: f(const uint64_t* from, size_t words).
  template <class F>
  static void forEachPiece(Addr object, size_t size, const Marker::Shared& marking, F f);

 private:
  ObjectBits& whites() { return white_[now_]; }
  bool named(Addr object, Pardon why);
  void noteAges(uint32_t cycle);
  void noteWords(Addr object, const uint64_t* from, size_t n, Filter filter);

  heap::Heap* heap_ = nullptr;
  ObjectBits white_[2], pointed_;  // white_[now_]: the last cycle's; the other: those before
  size_t now_ = 0;
  ObjectRecords records_;
  SiteLeaks* table_ = nullptr;
  base::Atomic<uint64_t> late_frees_{0};
};

template <class F>
void Leaks::forEachWhite(heap::Heap& heap, F f) {
  heap.forEachSpan([&](heap::Span* s) {
    Addr at = heap.space.addrOf(s->page.loadRelaxed());
    heap::SpanState state = s->state.loadRelaxed();
    if (state == heap::SpanState::kLarge && !heap::Heap::isMarked(s, 0)) {
      f(White{at, size_t{s->npages.loadRelaxed()} << kPageShift, s, 0, 0});
    }
    if (state != heap::SpanState::kSmall) return;
    heap::ClassId cls = s->cls.loadRelaxed();
    size_t size = heap::classSize(cls);
    uint32_t nelems = s->nelems.loadRelaxed();
    for (uint32_t w = 0; w < s->bitWords(); w++) {
      uint64_t live = s->markBits()[w].loadRelaxed() | s->freeBits()[w].loadRelaxed();
      uint64_t lost = ~live & base::maskBelow(nelems - w * 64);
      for (; lost != 0; lost &= lost - 1) {
        uint32_t index = w * 64 + base::lowestBit(lost);
        f(White{at + index * size, size, s, index, cls});
      }
    }
  });
}

template <class F>
void Leaks::forEachPiece(Addr object, size_t size, const Marker::Shared& marking, F f) {
  if (size <= heap::kMaxSmall && !marking.roots->oddHeap(object, object + size)) {
    return f(reinterpret_cast<const uint64_t*>(object), size / 8);
  }
  marking.pages->forEach(object, object + size, [&](const PageRun& run) {
    uint64_t page[kOsPage / 8];
    for (Addr a = run.from; a < run.to; a += kOsPage) {
      long got = os::sys(SYS_pread64, marking.mem_fd, os::arg(page), kOsPage, static_cast<long>(a));
      if (!os::failed(got)) f(page, static_cast<size_t>(got) / 8);
    }
  });
}

}  // namespace graft::gc
