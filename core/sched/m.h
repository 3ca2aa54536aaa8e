// M: a kernel thread that executes Gs, or runs the scheduler on its g0. The first is the program's
// main thread, the others are raw clone threads with a thread block of graft's own.
//
// An M belongs to itself; what others may touch is guarded by the scheduler's lock or atomic. Ms
// live in a Pool; index 0 is never used (0 means nobody in an ownership word).
#pragma once

#include "core/base/types.h"
#include "core/os/switch.h"
#include "core/sched/g.h"
#include "core/sched/owner.h"
#include "core/sched/stop.h"

namespace graft::sched {

class Sched;
struct P;

struct M {
  // Its own thread, handler included.
  Sched* sched = nullptr;
  // g0 leaves FS alone: it runs on the base of the G that has just left, reads nothing through it,
  // and so a switch between two Gs costs one write of FS, or none.
  os::Home g0{};
  uintptr_t fs_now = 0;  // what FS holds
  P* p = nullptr;  // as far as the M knows: sysmon may have taken it (owner.h)
  OwnerValue held{};  // what the M last wrote into p's word
  G* g = nullptr;
  void (*left)(M* m, G* g) = nullptr;  // what g0 does with a G that has left its stack
  heap::MCache* mcache = nullptr;
  bool changed = false;  // the kernel schedules it by other rules than the process's
  bool spinning = false;  // set by the waker for an M that it starts
  uint64_t rng = 0;
  void* stop_context = nullptr;  // where it stands still: a ucontext, or null: stop_sp
  void* stop_sp = nullptr;
  StopPoint<base::RealAtom> stop;
  KernelState kernel;  // what the kernel thread has

  // Immutable once it runs.
  uint32_t index = 0;
  Addr block = 0;  // mapping of g0's stack and the thread block; the main M's too
  uintptr_t fs = 0;  // the thread block: the FS base for Gs without one
  base::Atomic<uint32_t> tid{0};

  // The futex word of a parked M: 0 sleep, 1 run with next_p, 2 look at the timers again.
  base::Atomic<uint32_t> wake_word{0};

  // Guarded by the scheduler's lock.
  bool parked = true;  // cleared by the M itself, never in a stopped world (INV-STW-2)
  bool gated = false;  // in a blocking call, without P; comes back through the lock
  bool unaware = false;  // sysmon took its P
  P* next_p = nullptr;
  M* idle_link = nullptr;
  G* locked_g = nullptr;  // wired to this M; written by the M itself as well

  // sysmon only.
  int stat_fd = -1;
};

}  // namespace graft::sched
