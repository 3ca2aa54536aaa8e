// See restart.h. Which call it was the frame does not say: rax holds the result. It is read from
// the code, `mov $number, %eax` in front of `syscall`, and believed only for calls that block.
//
// Most calls restart by themselves (SA_RESTART), keep their remaining time where the second try
// finds it (select, ppoll, sleeps that ask for it), or wait for a time of the clock. The time of
// poll, epoll_wait and other sleeps is not known: the first restart grants it whole, each further
// one what is left of that, so that cycles that follow each other closely make no wait endless.
// Another call from the same place within that time may thus end early, as if nothing had come.
#include "core/runtime/restart.h"

#include <signal.h>
#include <ucontext.h>

#include "core/os/clock.h"
#include "core/os/peek.h"
#include "core/os/sys.h"

namespace graft::runtime {
namespace {

struct Restarted {
  long long pc, sp;
  uint64_t deadline_ns;
  timespec left;  // what a sleep is pointed to
};
thread_local constinit Restarted last __attribute__((tls_model("initial-exec"))){};

bool blocks(long call) {
  switch (call) {
    case SYS_poll:
    case SYS_ppoll:
    case SYS_select:
    case SYS_pselect6:
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
    case SYS_rt_sigtimedwait:
    case SYS_rt_sigsuspend:
    case SYS_pause:
    case SYS_semop:
    case SYS_semtimedop:
    case SYS_msgrcv:
    case SYS_msgsnd:
    case SYS_mq_timedreceive:
    case SYS_mq_timedsend:
    case SYS_futex:
    case SYS_io_getevents:
    case SYS_recvfrom:
    case SYS_recvmsg:
    case SYS_recvmmsg:
    case SYS_sendto:
    case SYS_sendmsg:
    case SYS_accept:
    case SYS_accept4:
    case SYS_connect:
    case SYS_wait4:
    case SYS_waitid: return true;
    default: return false;
  }
}

// -1: not known.
long callAt(uintptr_t pc) {
  constexpr size_t kLook = 24;
  unsigned char code[kLook];
  if (os::peek(pc - kLook, code, kLook) != kLook) return -1;
  if (code[kLook - 2] != 0x0f || code[kLook - 1] != 0x05) return -1;
  for (size_t i = kLook - 7; i != 0; i--) {
    if (code[i] != 0xb8 || code[i + 3] != 0 || code[i + 4] != 0) continue;
    long call = code[i + 1] | code[i + 2] << 8;
    if (blocks(call)) return call;
  }
  return -1;
}

// Notes when a wait of `ns` from now on ends; of one that was noted before, how much is left.
uint64_t timeLeft(const greg_t* regs, uint64_t ns) {
  uint64_t now = os::nowNs();
  bool again = last.pc == regs[REG_RIP] && last.sp == regs[REG_RSP] && now < last.deadline_ns;
  if (again && last.deadline_ns - now < ns) return last.deadline_ns - now;
  last.pc = regs[REG_RIP];
  last.sp = regs[REG_RSP];
  last.deadline_ns = now + ns;
  return ns;
}

void keepMs(greg_t* regs, int number) {
  int ms = static_cast<int>(regs[number]);
  if (ms <= 0) return;
  uint64_t left = timeLeft(regs, static_cast<uint64_t>(ms) * 1'000'000);
  regs[number] = static_cast<greg_t>((left + 999'999) / 1'000'000);
}

// The kernel has told how much is left, if it was asked to.
void keepSleep(greg_t* regs, int time, int rest) {
  if (regs[rest] != 0) {
    regs[time] = regs[rest];
    return;
  }
  timespec ts;
  if (os::peek(static_cast<Addr>(regs[time]), &ts, sizeof ts) != sizeof ts) return;
  constexpr uint64_t kSecond = 1'000'000'000;
  if (static_cast<uint64_t>(ts.tv_sec) > 1'000'000) return;
  uint64_t left = timeLeft(
      regs, static_cast<uint64_t>(ts.tv_sec) * kSecond + static_cast<uint64_t>(ts.tv_nsec));
  last.left = {static_cast<time_t>(left / kSecond), static_cast<long>(left % kSecond)};
  regs[time] = reinterpret_cast<greg_t>(&last.left);
}

void keepTime(long call, greg_t* regs) {
  switch (call) {
    case SYS_poll: return keepMs(regs, REG_RDX);
    case SYS_epoll_wait:
    case SYS_epoll_pwait: return keepMs(regs, REG_R10);
    case SYS_nanosleep: return keepSleep(regs, REG_RDI, REG_RSI);
    case SYS_clock_nanosleep:
      if (regs[REG_RSI] == 0) keepSleep(regs, REG_RDX, REG_R10);
      return;
    default: return;
  }
}

}  // namespace

void restartCall(void* ucontext) {
  constexpr long kInterrupted = -4;
  auto& regs = static_cast<ucontext_t*>(ucontext)->uc_mcontext.gregs;
  if (regs[REG_RAX] != kInterrupted) return;
  long call = callAt(static_cast<uintptr_t>(regs[REG_RIP]));
  if (call < 0) return;
  // A signal of the program's is due as well: that one ends the call.
  uint64_t pending = 0, blocked;
  os::sys(SYS_rt_sigpending, os::arg(&pending), 8);
  __builtin_memcpy(&blocked, &static_cast<ucontext_t*>(ucontext)->uc_sigmask, sizeof blocked);
  if ((pending & ~blocked) != 0) return;
  keepTime(call, regs);
  regs[REG_RAX] = call;
  regs[REG_RIP] -= 2;
}

}  // namespace graft::runtime
