// A wake from a signal handler. The handler may have interrupted runtime code of its own M, which
// holds a bucket's lock or is between two states: then the address goes into a small table, and
// sysmon, which no handler interrupts, wakes everybody who waits there (waiters look at their word
// again). Everywhere else it is a plain wake.
//
// [LATE-A] The waker changed its word before it looks at the table; sysmon takes an entry out
//          before it looks for waiters. Both are locked instructions: an entry that is found there
//          already will do for this wake too.
//
// Any stack, g0's included. No locks.
#include "core/sched/sched.h"

namespace graft::sched {
namespace {

constexpr uintptr_t kMainReach = 1_MiB;

}  // namespace

// On g0 FS says nothing about the M, but the stack does.
bool Sched::interruptedRuntime() {
  G* g = currentG();
  if (g == nullptr) return in_lot != 0;
  if (g->norun != 0) return true;  // the handler interrupted libgraft outside the runtime
  uintptr_t sp = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  bool own = sp - reinterpret_cast<uintptr_t>(g->stack.low) < g->stack.size;
  if (g == &gs_.at(0)) own = main_sp_ - sp < kMainReach;
  M* m = own ? currentM() : mOfThread();
  return m == nullptr || m->stop.inside();
}

void Sched::wakeLater(const void* addr) {
  for (;;) {
    for (auto& slot : late_) {
      const void* none = nullptr;
      if (!slot.casAcqRel(none, addr) && none != addr) continue;  // [LATE-A]
      late_count_.fetchAddAcqRel(1);
      sysmon_word_.fetchAddRelease(1);
      os::futexWakeOne(&sysmon_word_);
      return;
    }
    os::sys(SYS_sched_yield);
  }
}

void Sched::wakeLate() {
  late_count_.exchangeAcqRel(0);
  for (auto& slot : late_) {
    const void* addr = slot.exchangeAcqRel(nullptr);  // [LATE-A]
    if (addr != nullptr) wake(addr, ~0u);
  }
}

uint32_t Sched::wakeFromHandler(const void* addr, uint32_t n, uint32_t bits) {
  if (!interruptedRuntime()) return wake(addr, n, bits);
  wakeLater(addr);
  return 0;
}

}  // namespace graft::sched
