// The scheduler in the child of a fork: the one thread that survives goes on as an ordinary thread
// on the FS base and stack that it has, and everything else is as before start(). What the parent's
// other threads held may be half changed, so nothing of it is looked into; mappings are given back
// as far as they can be told. Runs in the child's handler, before the program's code; no locks, no
// libc (HZ-FORK).
#include <new>

#include "core/os/mem.h"
#include "core/sched/sched.h"

namespace graft::sched {

void Sched::forkChild() {
  uintptr_t fs = os::threadPointer();
  slotAt(fs).m = nullptr;
  slotAt(fs).g = nullptr;
  size_t bytes = machineBytes();
  for (size_t i = 0; i < ms_.made(); i++) {
    Addr block = ms_.at(i).block;
    if (block != 0 && fs - block >= bytes) os::release(block, bytes);
  }
  for (uint32_t i = 0; i < procs_; i++) ps_[i].timers.release();
  sysmon_thread_.forget();
  net_.forkChild();
  gs_.release();
  ms_.release();
  pool_p_.release();
  // sysmon's descriptors stay: the program may have closed them and use their numbers.
  new (this) Sched();
}

}  // namespace graft::sched
