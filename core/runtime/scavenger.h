// The scavenger's thread: gives memory back while the program sleeps, when no allocation of its own
// would do it. It does not exist until enough freed memory waits (a short-lived or small program
// never sees it), and ends when nothing is left to return.
//
// It is a raw kernel thread that runs libgraft code only, with every signal blocked. Because it is
// a thread of the process all the same, it is ended (and its end waited for) before anything that
// only a process without it, or without its old credentials, should do: set*id, unshare, setns,
// seccomp; after seccomp it never starts again. fork pauses it.
//
// wanted(): slow paths of any thread, no lock held. stop(), fork handlers: the program's thread.
// Source: Go's bgscavenge (mgcscavenge.go); the life cycle is ours.
#pragma once

#include "core/base/atomic.h"
#include "core/os/thread.h"

namespace graft::heap {
class Heap;
}

namespace graft::runtime {

class Scavenger {
 public:
  constexpr Scavenger() = default;
  void init(heap::Heap& heap, bool allowed, uint64_t period_ms) {
    heap_ = &heap;
    allowed_.storeRelaxed(allowed ? 1 : 0);
    period_ms_ = period_ms;
  }
  // Memory waits to be returned: makes sure that the thread runs.
  void wanted();
  // Ends the thread if it runs; it may start again later unless `forever`.
  void stop(bool forever);
  void forkPrepare();
  void forkParent() { pause_.storeSeqCst(0); }
  void forkChild();
  uint32_t threadId() const { return thread_.tid.loadAcquire(); }
  bool running() const { return state_.loadRelaxed() != kNone; }

 private:
  enum : uint32_t { kNone, kRunning, kEnding };
  static void entry(void* self) { static_cast<Scavenger*>(self)->run(); }
  void run();
  bool round(uint64_t n, bool last);

  heap::Heap* heap_ = nullptr;
  uint64_t period_ms_ = 0;
  base::Atomic<uint32_t> allowed_{0};
  base::Atomic<uint32_t> state_{0};
  base::Atomic<uint32_t> pid_{0};  // the process in which it was started
  base::Atomic<uint32_t> stop_{0};  // callers of stop() in it; also the futex word it sleeps on
  base::Atomic<uint32_t> busy_{0};  // in a round [SCAV-A]
  base::Atomic<uint32_t> pause_{0};  // a fork is under way [SCAV-A]
  os::HelperThread thread_{};
};

}  // namespace graft::runtime
