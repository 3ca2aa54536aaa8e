// Giving back what the program leaked, in a stopped world and by proof at each rung (HZ-LADDER;
// GC.md section 5), because C programs can hide pointers:
//
//   white in a cycle             suspect: its content's hash is noted
//   white and unchanged so much  candidate: the confirm scan (mark.h) looks for it, from everything
//   later                        that lives and from every white object that is no candidate
//   not found                    quarantined: nothing is changed
//   all that once more in a      given back, if nothing that is not given back with it reaches it
//   later cycle
//
// The program's free(), realloc() or usable_size() of a white object, or a changed content, pardons
// its allocation site for good (Leaks). What was given back is remembered until it is handed out
// anew: a free() until then is no double free but a pointer that was hidden all the time.
//
// Collector's thread, world stopped, after Leaks::find(); wasReclaimed() and reused(): any thread.
// No locks. Order: assess -> [confirm scan: holdBack, roots, rescan] -> quarantine, drain -> take.
#pragma once

#include "core/gc/leaks.h"

namespace graft::gc {

class Ladder {
 public:
  struct Rules {
    uint64_t wait_ms = 0;
    bool always = false;  // also if there is little to be had
    bool poison = false;  // what is given back is overwritten
  };
  struct Taken {
    uint64_t objects = 0, bytes = 0, quarantined = 0;
  };

  // False: no address space.
  bool init(heap::Heap& heap, Leaks& leaks, const Rules& rules);
  bool on() const { return leaks_ != nullptr; }

  // Finds this cycle's candidates. True: there are enough of them for a confirm scan.
  bool assess(uint32_t cycle, uint64_t now_ms, uint64_t in_use, const Marker::Shared& marking);
  // Marks every white object that is none, and gives it to the marker.
  void holdBack(Marker& marker);
  // What the confirm scan has not found and is here for the first time: marked, given to the
  // marker.
  void quarantine(Marker& marker);
  // The rest stays unmarked, so that the sweep frees it.
  Taken take();

  // The block is free, and not by the program: it is now that it frees it.
  bool freed(Addr object);
  // The block is handed out.
  void reused(Addr object) {
    if (__builtin_expect(any_.loadRelaxed() != 0, 0)) reclaimed_.take(object);
  }
  template <class F>
  void forEachMemory(F f) const {
    if (on()) f(reclaimed_.memory(), reclaimed_.bytes());
  }

 private:
  static uint32_t hashOf(const White& w, const Marker::Shared& marking);
  bool isCandidate(const White& w, uint32_t cycle, uint64_t now_ms, const Marker::Shared& marking);
  void hold(const White& w, Marker& marker);

  heap::Heap* heap_ = nullptr;
  Leaks* leaks_ = nullptr;
  Rules rules_;
  ObjectBits reclaimed_;
  base::Atomic<uint32_t> any_{0};
  Taken taken_;
  uint32_t scan_ = 0;  // number of the present confirm scan
  uint64_t born_ms_[Record::kBirths] = {};
};

}  // namespace graft::gc
