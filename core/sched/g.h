// G: one thread of the program. Its fields are grouped by who may touch them; who that is changes
// only at the edges of its state (park.h). Gs live in a Pool: a G that died is used again, never
// freed, so that tickets in old timers and waits can be compared with the G's present ones.
//
// A G's stack is in use by the M that executes it, from execute()'s switch until that M's g0 runs
// `left`; by nobody in between. No locks of its own.
#pragma once

#include "core/base/atomic.h"
#include "core/os/switch.h"
#include "core/sched/kernel_state.h"
#include "core/sched/park.h"
#include "core/sched/stack.h"
#include "core/sched/timer.h"

namespace graft::sched {

struct Bucket;
struct M;

enum class WaitResult : uint32_t { kWoken, kMismatch, kTimedOut, kInterrupted };

// A G in a wait queue of the parking lot.
struct Waiter {
  base::Atomic<Bucket*> bucket{nullptr};  // queued there; written under that bucket's lock
  // Guarded by the bucket's lock while queued; else the G's own.
  const void* addr = nullptr;
  uint32_t bits = 0;
  WaitResult result = WaitResult::kWoken;
  Waiter* next = nullptr;
  Waiter* prev = nullptr;
  // The G's own while not queued: which wait this is; never the same twice.
  base::Atomic<uint64_t> ticket{0};
};

struct G {
  // Whoever may resume the G.
  os::Context ctx{};
  ParkWord<base::RealAtom> state;
  // Owner of the queue that the G is on.
  G* link = nullptr;
  // The M that executes it.
  M* m = nullptr;
  M* locked_m = nullptr;  // wired to this M
  uint32_t wired = 0;  // how often it asked to be; its own
  uint32_t norun = 0;  // HZ-NORUN: not to be stopped or moved; the G's own
  base::Atomic<uint32_t> poked{0};  // Sched::poke: its next wait ends at once
  uint32_t vforked = 0;  // HZ-VFORK: a child runs on its stack
  // See kernel_state.h.
  KernelState kernel;
  uint32_t handlers = 0;  // entered and not left: its mask may be another one; its own
  // Handlers of the program that ran on it, and those among them that end system calls; its own.
  uint32_t handled = 0, interrupting = 0;
  base::Atomic<uint32_t> signals{0};  // something was sent to it that it has not looked at
  // Immutable while it lives.
  void (*entry)(void*) = nullptr;
  void* arg = nullptr;
  void* user = nullptr;  // the embedder's
  uint64_t id = 0;
  Stack stack;
  bool callers_stack = false;  // the stack is the spawner's, not a slot of the StackSource
  // See Waiter and Timer.
  Waiter wait;
  Timer timer;
  base::Atomic<uint64_t> since{0};  // when it last left its stack, in cycles; where asked for

  static G* of(Waiter* w) {
    return reinterpret_cast<G*>(reinterpret_cast<char*>(w) - __builtin_offsetof(G, wait));
  }
  static G* of(Timer* t) {
    return reinterpret_cast<G*>(reinterpret_cast<char*>(t) - __builtin_offsetof(G, timer));
  }
};

}  // namespace graft::sched
