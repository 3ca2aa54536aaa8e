// Raw clone, join and timed futex waits for HelperThread; see thread.h. Inline system calls only.
#include "core/os/thread.h"

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#include "core/os/mem.h"
#include "core/os/sys.h"

namespace graft::os {
namespace {

// What %fs points to in a helper: only the self pointer at offset 0 is ever read (threadPointer).
struct ThreadBlock {
  ThreadBlock* self;
  uint64_t unused[15];
};

struct Start {
  void (*fn)(void*);
  void* arg;
};

extern "C" [[gnu::visibility("hidden")]] long graft_clone(unsigned long flags, void* stack,
                                                          uint32_t* ptid, uint32_t* ctid,
                                                          void* tls);

// The child comes back on the new stack, whose top words are a Start. It must not return: there is
// no frame to return to.
asm(R"(
.text
.globl graft_clone
.hidden graft_clone
.type graft_clone, @function
graft_clone:
  .cfi_startproc
  movq %rcx, %r10
  movl $56, %eax
  syscall
  testq %rax, %rax
  je 1f
  ret
1:
  .cfi_undefined rip
  xorl %ebp, %ebp
  popq %rax
  popq %rdi
  call *%rax
  movl $60, %eax
  xorl %edi, %edi
  syscall
  hlt
  .cfi_endproc
.size graft_clone, .-graft_clone
)");

}  // namespace

bool startThread(const ThreadSpec& spec) {
  Start* first = reinterpret_cast<Start*>(spec.stack_top - 64);
  *first = {spec.fn, spec.arg};
  uint64_t old = 0;
  sys(SYS_rt_sigprocmask, SIG_SETMASK, os::arg(&spec.blocked), os::arg(&old), 8);
  constexpr unsigned long kFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
                                   CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
                                   CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
  uint32_t* word = reinterpret_cast<uint32_t*>(spec.tid);
  long got = graft_clone(kFlags, first, word, word, spec.thread_pointer);
  sys(SYS_rt_sigprocmask, SIG_SETMASK, os::arg(&old), 0, 8);
  return !failed(got);
}

bool HelperThread::start(void (*fn)(void*), void* arg) {
  uintptr_t top = reinterpret_cast<uintptr_t>(stack) + sizeof stack;
  ThreadBlock* block = reinterpret_cast<ThreadBlock*>(top - sizeof(ThreadBlock));
  *block = {block, {}};
  return startThread({reinterpret_cast<uintptr_t>(block), block, &tid, fn, arg, ~uint64_t{0}});
}

bool HelperThread::startWithTls(void (*fn)(void*), void* arg, size_t tls_below, uint64_t blocked) {
  size_t bytes = sizeof stack + roundUp(tls_below, kOsPage) + kOsPage;
  if (mapped == 0) {
    mapped = reserve(bytes, 0);
    mapped_bytes = bytes;
    if (mapped == 0 || !commit(mapped, bytes)) return false;
  }
  ThreadBlock* block = reinterpret_cast<ThreadBlock*>(mapped + bytes - kOsPage);
  *block = {block, {}};
  return startThread({mapped + sizeof stack, block, &tid, fn, arg, blocked});
}

void HelperThread::forget() {
  if (mapped != 0) release(mapped, mapped_bytes);
  mapped = 0;
  tid.storeRelaxed(0);
}

void HelperThread::join() {
  // The kernel's wake at thread end is not a private one, and wakes one waiter only.
  // Only for the thread that is there now: another caller may start the next one meanwhile.
  uint32_t t = tid.loadAcquire();
  while (t != 0 && tid.loadAcquire() == t) {
    sys(SYS_futex, os::arg(&tid), FUTEX_WAIT, static_cast<long>(t), 0);
  }
  sys(SYS_futex, os::arg(&tid), FUTEX_WAKE, 1 << 30);
}

void futexWaitMs(base::Atomic<uint32_t>* word, uint32_t value, uint64_t ms) {
  timespec ts{static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000) * 1000000};
  sys(SYS_futex, os::arg(word), FUTEX_WAIT_PRIVATE, static_cast<long>(value), os::arg(&ts));
}

void futexWaitNs(base::Atomic<uint32_t>* word, uint32_t value, uint64_t ns) {
  timespec ts{static_cast<time_t>(ns / 1000000000), static_cast<long>(ns % 1000000000)};
  sys(SYS_futex, os::arg(word), FUTEX_WAIT_PRIVATE, static_cast<long>(value),
      ns == kForever ? 0 : os::arg(&ts));
}

void futexWakeOne(base::Atomic<uint32_t>* word) {
  sys(SYS_futex, os::arg(word), FUTEX_WAKE_PRIVATE, 1);
}

void futexWakeAll(base::Atomic<uint32_t>* word) {
  sys(SYS_futex, os::arg(word), FUTEX_WAKE_PRIVATE, 1 << 30);
}

}  // namespace graft::os
