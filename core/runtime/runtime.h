// The root object: every piece of global state of the runtime hangs here. constinit, no static
// constructor; it comes to life at the first allocation (which may precede our constructor) and is
// never torn down, because other libraries free memory after every destructor of ours.
//
// The one per-thread fact is the cache that the running thread's fast path uses: threadHeap().
#pragma once

#include "core/base/atomic.h"
#include "core/base/options.h"
#include "core/gc/gc.h"
#include "core/heap/heap.h"
#include "core/prof/control.h"
#include "core/runtime/scavenger.h"
#include "core/runtime/world.h"
#include "core/sched/sched.h"

namespace graft::runtime {

inline sched::ThreadHeap& threadHeap() { return sched::graft_current.heap; }

enum class State : uint32_t { kNew, kStarting, kOn, kOff };

struct StartInfo {
  char** envp = nullptr;
  const char* off_because = nullptr;  // not null: stay off, for this reason
  bool checks = false;                // checked mode was asked for by another name
};

class Runtime {
 public:
  constexpr Runtime() = default;

  bool on() const { return state_.loadAcquire() == static_cast<uint32_t>(State::kOn); }
  bool off() const { return state_.loadAcquire() == static_cast<uint32_t>(State::kOff); }
  bool starting() const { return state_.loadAcquire() == static_cast<uint32_t>(State::kStarting); }
  // Reads the options from info.envp (null: defaults) and starts the heap, once. True when graft is
  // on. Another thread in start() is waited
  // for; a nested call of the starting thread itself returns false.
  bool start(const StartInfo& info);
  const char* whyOff() const { return why_off_ != nullptr ? why_off_ : ""; }

  // Runs f(MCache&) with the calling thread's cache, or with a locked shared one; returns what f
  // does, or nullptr when not even a shared cache can be had.
  template <class F>
  void* withCache(F f) {
    sched::ThreadHeap& t = threadHeap();
    if (__builtin_expect(t.own != nullptr, 1)) return f(*t.own);
    if (heap::MCache* own = adoptCache()) return f(*own);
    heap::SharedCache& shared = heap.caches.shared(threadId());
    os::Lock lock(shared.mu);
    heap::MCache* c = heap.caches.cacheOfShared(shared);
    return c != nullptr ? f(*c) : nullptr;
  }

  // True when every operation has to take the slow path (checks, site ids, stress).
  bool slowMode() const { return slow_mode_; }

  // lock: other threads exist, so the heap's locks are taken; with one thread nothing is locked,
  // because fork may be called by a signal handler that interrupted this very thread in malloc.
  void forkPrepare(bool lock);
  void forkParent(bool locked);
  void forkChild(bool locked);

  // Writes the summary of the run as JSON to the file that GRAFT_SUMMARY names.
  void writeSummary();
  void sayVerbose();

  // End of a slow path: memory may wait to be returned.
  void afterSlowPath() {
    if (__builtin_expect(heap.memoryWaits(), 0)) scavenger.wanted();
  }

  heap::Heap heap;
  Scavenger scavenger;
  prof::Control control;
  gc::Collector collector;  // off unless GRAFT_GC asks for it
  World world;
  sched::Sched sched;  // dormant until the first thread of a program whose threads are Gs

  // The calling thread, the only one of the program's, becomes the first G. `config` holds what the
  // embedder knows; caches are added here. False: the kernel gave no memory or no thread.
  bool startScheduler(sched::Config config);
  // Adds what the embedder knows of a G to an object of JSON; null: nothing.
  void (*describe)(const sched::G& g, base::Line& out) = nullptr;
  const char* why_no_gs = nullptr;  // set: threads are kernel threads although Gs were asked for

 private:
  heap::MCache* adoptCache();
  static uintptr_t threadId();
  bool configure(const StartInfo& info);
  bool executableAllowed(const char** why);

  base::Atomic<uint32_t> state_{0};
  base::Atomic<uint32_t> starter_{0};
  const char* why_off_ = nullptr;  // null: not off
  bool slow_mode_ = false;
};

extern constinit Runtime rt;

}  // namespace graft::runtime
