// What a program can hold pointers in besides its heap (HZ-ROOTS): every mapping, readable or not,
// except the heap and what belongs to the collector itself. The rest of graft's memory is scanned
// like the program's: it holds thread arguments, results and other people's pointers. Left out are
// also the dead parts of stacks, below the stack pointers of stopped threads.
//
// build() cuts all that into jobs, which workers take. One owner, world stopped; its arrays lie in
// the collector's own memory. No locks.
#pragma once

#include "core/gc/maps.h"
#include "core/gc/world.h"

namespace graft::gc {

class RootSet {
 public:
  struct Job {
    Addr from = 0, to = 0;
    bool direct = false;  // pages that are there may be loaded from
    bool skip_files = false;  // pages that are still the file's hold no pointer of this process
  };
  struct Range {
    Addr from = 0, to = 0;
  };
  struct Arrays {
    Job* ranges;
    uint32_t* first_job;  // of each range; one more than ranges
    size_t most_ranges;
    Range* left_out;
    size_t most_left_out;
    StackInfo* stacks;
    size_t most_stacks;
    char* text;  // for MapsReader
    size_t text_size;
  };

  void use(const Arrays& arrays) { a_ = arrays; }
  void begin(Addr heap_base, size_t heap_limit, size_t heap_reserved);
  // Never a root, whatever is mapped there. Ends at a multiple of 8.
  void leaveOut(Addr from, size_t bytes);
  void addStack(const StackInfo& s);
  // Reads the mappings. Null, or why the roots are not complete.
  const char* build();

  // After build(): null, or how this process hides pointers (core/base/hiders.h).
  const char* hides() const { return hides_; }

  bool job(uint32_t i, Job& out) const;
  // Whether a part of [from, to) of the heap's cannot be read by plain loads: the program has
  // changed its protection.
  bool oddHeap(Addr from, Addr to) const {
    if (__builtin_expect(odd_n_ == 0, 1)) return false;
    return oddHeapSlow(from, to);
  }

 private:
  static constexpr size_t kMostOdd = 256;
  static constexpr size_t kJob = 1_MiB;
  static constexpr size_t kMostJobsOfRange = 64;

  bool oddHeapSlow(Addr from, Addr to) const;
  const char* addMapping(const Mapping& m);
  bool addOdd(Addr from, Addr to);
  bool addRange(const Job& range);
  void leaveDeadStackOut(const Mapping& m, bool guarded);
  void sortLeftOut();

  Arrays a_{};
  Addr heap_base_ = 0;
  size_t heap_limit_ = 0, heap_reserved_ = 0;
  size_t ranges_n_ = 0, left_out_n_ = 0, stacks_n_ = 0, odd_n_ = 0;
  size_t passed_ = 0;  // left_out below it ends before the present mapping
  bool too_many_ = false;
  const char* hides_ = nullptr;
  Range odd_[kMostOdd];
};

}  // namespace graft::gc
