// The collector: finds which objects of a running, unmodified program can still be reached, and
// says which cannot. Conservative mark and sweep in a stopped world; what is white is reported, and
// given back only in the mode for it, by the rules of ladder.h. This is the layer's header for
// others; how it marks is in mark.h, what it takes for roots in roots.h.
//
//   ask  -> a thread of the collector's own, per cycle, which
//           stops the world                          (world.h; not in time: the cycle ends here)
//           clears marks, blackens caches            (heap.h, the heap's half of the contract)
//           scans roots and marks, with helpers
//           notes what is white; reclaim: the confirm scan, and what may be given back
//           closes the heap's mark phase, acknowledges for every stopped cache
//           starts the world; sweeps (before, if it gives something back); ends the cycle
//   ask  <- figures
//
// Nothing of it exists until init() is called, which happens only if GRAFT_GC asks for it; no
// thread exists but during a cycle. collect(): any thread of the program outside the runtime, or a
// helper thread of graft's; it waits. Locks: mu_, the outermost of all; fork holds it (HZ-FORK), so
// that no fork happens in mid-cycle and the child finds the collector idle. Source: Go's mgc.go for
// phases and triggers, with its names.
#pragma once

#include "core/gc/kernel_roots.h"
#include "core/gc/ladder.h"
#include "core/os/mutex.h"
#include "core/os/thread.h"

namespace graft::gc {

struct Settings {
  uint64_t stress_every = 0;  // a cycle every so many allocations; 0: never
  int64_t growth_percent = 0;  // GOGC: negative never
  uint64_t floor_bytes = 0;  // below so much in use growth starts no cycle
  uint64_t period_ms = 0;  // so long after the last cycle the next is due; 0 never
  uint32_t workers = 0;
  bool trace = false;  // a line per cycle
  bool deny_pagemap_scan = false;
  bool reclaim = false;
  uint64_t wait_ms = 0;  // reclaim: before an object that was found white may be given back
  size_t tls_below = 0;  // of the collector's threads (HelperThread::startWithTls)
};

enum class Cause : uint8_t { kAsked, kGrowth, kPeriod, kStress, kExit };

struct CycleStats {
  uint32_t cycle = 0;
  bool complete = false;
  const char* why = nullptr;  // not complete: what is missing
  uint64_t stw_ns = 0, mark_ns = 0;
  uint64_t live_objects = 0, live_bytes = 0, roots_bytes = 0;
  uint64_t white_objects = 0, white_bytes = 0;
  uint64_t reclaimed_objects = 0, reclaimed_bytes = 0, quarantined_objects = 0;
  const char* held = nullptr;  // reclaim: why nothing is given back in this process
};

struct CollectorTotals {
  uint64_t cycles = 0, incomplete = 0, stw_ns = 0, longest_stw_ns = 0, late_frees = 0;
  uint64_t reclaimed_objects = 0, reclaimed_bytes = 0;
  const char* held = nullptr;
  char why[96] = {};  // of the last incomplete one
};

class Collector {
 public:
  constexpr Collector() = default;

  // Once, before threads exist. False: no memory; the collector stays off.
  bool init(heap::Heap& heap, const World& world, const Settings& settings);
  bool on() const { return on_; }

  // One cycle. by_site: forEachLeak() then tells of it. Waits for a cycle that is under way first.
  CycleStats collect(Cause cause, bool by_site);
  // The last cycle's white objects, and what was given back, for each site that has some.
  template <class F>
  void forEachLeak(F f) {
    os::Lock lock(mu_);
    for (size_t i = 0; i < Leaks::kSites; i++) {
      const SiteLeaks& s = leaks_.at(i);
      if (s.objects != 0 || s.reclaimed_objects != 0) f(static_cast<uint16_t>(i), s);
    }
  }

  // Slow path of an allocation: may decide that a cycle is due. collectDue(), outside the runtime,
  // then runs it.
  void allocated(const void* block, size_t bytes) {
    ladder_.reused(reinterpret_cast<Addr>(block));
    in_use_.fetchAddRelaxed(bytes);
    uint64_t n = allocations_.fetchAddRelaxed(1) + 1;
    bool much = bytes > heap::kMaxSmall && settings_.stress_every == 0;
    if (__builtin_expect(n % look_every_ == 0 || much, 0)) lookForCause();
  }
  bool due() const { return __builtin_expect(due_.loadRelaxed() != 0, 0); }
  void collectDue();
  bool reclaims() const { return ladder_.on(); }
  // free() of a live block, before it is given back.
  void freed(Addr object, size_t bytes) {
    in_use_.fetchSubRelaxed(bytes);
    leaks_.freed(object);
  }
  void resized(size_t from, size_t to) { in_use_.fetchAddRelaxed(to - from); }
  // realloc() or malloc_usable_size() of one.
  void used(Addr object) { leaks_.used(object); }
  // free() of what is free: true if it was the collector that gave it back, not the program.
  bool freedLate(const void* block);

  CollectorTotals totals();
  uint32_t lateFreesOf(size_t site) const { return leaks_.at(site).late_frees; }
  // From now on its threads read thread variables.
  void useTls(size_t bytes);
  uint64_t goal() const { return goal_.loadRelaxed(); }
  // Whether tid is one of the collector's own threads.
  bool isHelper(uint32_t tid) const;

  void forkPrepare();
  void forkParent();
  void forkChild();

 private:
  static constexpr uint32_t kMostWorkers = 16;
  struct Worker {
    os::HelperThread thread;
    Marker marker;
    Collector* collector;
  };
  struct Own;  // arrays in the collector's memory

  void lookForCause();
  void cycle();
  uint64_t signalsOpen() const;
  CycleStats collectLocked(Cause cause, bool by_site) GRAFT_REQUIRES(mu_);
  const char* cycleStopped();
  void markFromRoots();
  const char* readKernel();
  void reclaim();
  void settleMarks();
  void acknowledgeAll();
  void setGoal();
  void noteIncomplete();
  uint64_t bytesInUse() const { return in_use_.loadRelaxed(); }
  void trace(const CycleStats& s, uint64_t before);
  static void cycleEntry(void* self);
  static void workerEntry(void* worker);

  heap::Heap* heap_ = nullptr;
  World world_{};
  Settings settings_{};
  bool on_ = false;
  Own* own_ = nullptr;
  size_t own_bytes_ = 0;
  GreyPool pool_;
  Leaks leaks_;
  Ladder ladder_;
  RootSet roots_;
  PageMap pages_;
  Marker::Shared shared_;

  os::Mutex mu_;
  // Guarded by mu_: one cycle at a time.
  bool fork_locked_ = false;  // written by the forking thread
  uint32_t cycle_ = 0;
  bool by_site_ = false;
  Cause cause_ = Cause::kAsked;
  CycleStats last_;
  CollectorTotals totals_;

  base::Atomic<uint64_t> allocations_{0};
  base::Atomic<uint64_t> in_use_{0};  // bytes of blocks that the program has
  uint64_t look_every_ = 0;
  base::Atomic<uint32_t> due_{0};  // a Cause, plus one
  base::Atomic<uint64_t> goal_{0};  // bytes in use
  base::Atomic<uint64_t> last_ms_{0};
  base::Atomic<uint32_t> said_late_{0};
  uint64_t started_ns_ = 0;
};

}  // namespace graft::gc
