// Stopping every thread of the program for the collector: Gs through the scheduler, any other
// kernel thread, raw clones included, by a signal of graft's. One counts as stopped when its
// handler has acknowledged, with the registers in its frame (HZ-UNAWARE); a thread inside the heap
// is not stopped there, but on its way out (Inside).
//
//   thread                         handler                         collector
//   Inside: depth = 1                                              epoch = odd, signal
//   ... heap ...                   depth != 0: asked = 1
//   ~Inside: depth = 0             else: acknowledge, wait         wait: all have acknowledged
//            asked? signal myself                                  epoch = even, wake all
//
// A thread and its own handler need compiler barriers only. [WORLD-A] the acknowledgement's
// release, acquired by the collector, gives it all that the thread wrote; [WORLD-B] the epoch's
// release gives the thread what the collector wrote.
//
// stop(), start() and what they call: the collector's thread. onSignal(): handler, any thread.
#pragma once

#include "core/base/atomic.h"
#include "core/gc/world.h"

namespace graft::runtime {

struct InsideState {
  uint32_t depth;  // calls of the heap that the thread is in
  uint32_t asked;  // to stop, meanwhile
};
extern thread_local constinit InsideState graft_inside __attribute__((tls_model("initial-exec")));

class World {
 public:
  constexpr World() = default;
  // Before the first stop(): the signal, and its handler as the kernel has it.
  void init(int signal, void* handler) {
    signal_ = signal;
    handler_ = handler;
  }
  int signal() const { return signal_; }
  gc::World forCollector();

  // In the handler of the signal. False: it was not meant for this.
  bool onSignal(void* ucontext);

  static void enter() {
    graft_inside.depth++;
    base::compilerBarrier();
  }
  // True: out of the outermost.
  bool leave() {
    base::compilerBarrier();
    if (--graft_inside.depth != 0) return false;
    base::compilerBarrier();
    if (__builtin_expect(graft_inside.asked != 0, 0)) leaveAsked();
    return true;
  }
  void forkChild();

  // What else is a helper of graft's, beyond what core knows; null: nothing.
  bool (*helper)(uint32_t tid) = nullptr;

 private:
  static constexpr size_t kSlots = 32768, kMostThreads = kSlots / 2;
  struct Thread {
    base::Atomic<uint32_t> tid;
    base::Atomic<uint32_t> acked;  // epoch
    void* context;  // a ucontext
    Addr thread_pointer;
    bool gone;
  };

  const char* stop(uint64_t timeout_ns);
  const char* stopAll(uint64_t deadline_ns);
  void start();
  bool signalNew(bool& any);
  bool allStopped(bool look_closer);
  const char* whoDoesNot();
  bool isHelper(uint32_t tid) const;
  Thread* find(uint32_t tid);
  Thread* add(uint32_t tid);
  [[gnu::noinline, gnu::cold]] void leaveAsked();
  void standStill(Thread& t, void* context, uint32_t epoch);
  static void afterStop(void* context);
  template <class F>
  void forEachThread(F f) {
    for (size_t i = 0; i < used_n_; i++) f(threads_[used_[i]]);
  }
  template <class F>
  void forEachContext(F f);

  int signal_ = 0;
  void* handler_ = nullptr;
  Thread* threads_ = nullptr;  // kSlots, hashed by tid
  uint32_t* used_ = nullptr;  // slots in the order of their threads' appearance
  size_t used_n_ = 0;
  bool gs_stopped_ = false;
  base::Atomic<uint32_t> epoch_{0};  // odd: stopped; a futex word [WORLD-B]
  base::Atomic<uint32_t> acks_{0};  // moves with every acknowledgement; a futex word
  char why_[96] = {};
};

}  // namespace graft::runtime
