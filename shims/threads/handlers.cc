// Handlers of the program behind one of ours; see signals.h. The table of what the program asked
// for is read in handlers, so a row is written with the signal's real action unchanged or blocked
// by the old one being right for either: each word is atomic, and a mixture of two actions is what
// a program that changes a handler while it may run gets natively, too.
#include <errno.h>
#include <ucontext.h>

#include "shims/sync/real.h"
#include "shims/threads/real.h"
#include "shims/threads/signals.h"

namespace graft::shims {

using runtime::rt;

namespace {

struct Action {
  base::Atomic<void*> handler{nullptr};  // null: never set through us
  base::Atomic<int> flags{0};
  base::Atomic<uint64_t> mask{0};
};
constinit Action actions[65];

extern "C" {
extern const char graft_image_start[] asm("__ehdr_start") __attribute__((visibility("hidden")));
extern const char graft_text_end[] asm("etext") __attribute__((visibility("hidden")));
}

bool inLibrary(const void* context) {
  auto* c = static_cast<const ucontext_t*>(context);
  uintptr_t pc = static_cast<uintptr_t>(c->uc_mcontext.gregs[REG_RIP]);
  return pc >= reinterpret_cast<uintptr_t>(graft_image_start) &&
         pc < reinterpret_cast<uintptr_t>(graft_text_end);
}

bool raisedByInstruction(int signal, const siginfo_t* info) {
  switch (signal) {
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGTRAP:
    case SIGSYS: return info->si_code > 0;
    default: return false;
  }
}

void call(int signal, siginfo_t* info, void* context) {
  Action& a = actions[signal];
  void* handler = a.handler.loadRelaxed();
  int flags = a.flags.loadRelaxed();
  if ((flags & SA_RESETHAND) != 0) {
    struct sigaction none{};
    none.sa_handler = SIG_DFL;
    none.sa_flags = flags;
    setHandler(signal, &none, nullptr);
  }
  if ((flags & SA_SIGINFO) != 0) {
    reinterpret_cast<void (*)(int, siginfo_t*, void*)>(handler)(signal, info, context);
  } else {
    reinterpret_cast<void (*)(int)>(handler)(signal);
  }
}

void onSignal(int signal, siginfo_t* info, void* context) {
  auto* frame = reinterpret_cast<uint64_t*>(&static_cast<ucontext_t*>(context)->uc_sigmask);
  if (!rt.sched.on()) return call(signal, info, context);
  // Before this is asked, nothing may be read through FS: on g0 it may be a dead thread's, whose
  // block is just being made into another's.
  if (!raisedByInstruction(signal, info) && rt.sched.postpone(signal, info, frame)) return;
  sched::G* g = sched::currentG();
  if (g == nullptr) return call(signal, info, context);
  bool deep = inLibrary(context);
  g->handlers++;
  g->handled++;
  if ((actions[signal].flags.loadRelaxed() & SA_RESTART) == 0) g->interrupting++;
  if (deep) g->norun++;
  call(signal, info, context);
  if (deep) g->norun--;
  g->handlers--;
  auto* t = static_cast<Thread*>(g->user);
  if (t != nullptr && t->masked_wait.loadRelaxed() != 0) g->poked.storeRelaxed(1);
  // The kernel puts this mask back, on the M that the G is on by now.
  g->kernel.blocked.storeRelaxed(*frame);
  sched::currentM()->kernel.blocked.storeRelaxed(*frame);
}

bool isHandler(const struct sigaction& a) {
  return a.sa_handler != SIG_DFL && a.sa_handler != SIG_IGN;
}

uint64_t bitsOf(const sigset_t& set) {
  uint64_t bits;
  base::copyBytes(&bits, &set, sizeof bits);
  return bits;
}

// What the kernel has, as the program asked for it.
void translate(int signal, struct sigaction* a) {
  if (a->sa_sigaction != onSignal) return;
  Action& kept = actions[signal];
  a->sa_handler = reinterpret_cast<void (*)(int)>(kept.handler.loadRelaxed());
  int flags = kept.flags.loadRelaxed();
  constexpr int kOurs = SA_SIGINFO | SA_RESETHAND;
  a->sa_flags = (a->sa_flags & ~kOurs) | (flags & kOurs);
}

}  // namespace

bool watchesSignals() {
  return rt.on() && base::options.threads.get() == base::Threads::kMToN && rt.why_no_gs == nullptr;
}

namespace {

// What the program asks for one of our signals is kept, so that it reads it back, and never comes:
// many programs give every signal there is a handler, or the default again.
int pretend(int signal, const struct sigaction* act, struct sigaction* old) {
  struct sigaction before{};
  Action& a = actions[signal];
  before.sa_handler = reinterpret_cast<void (*)(int)>(a.handler.loadRelaxed());
  before.sa_flags = a.flags.loadRelaxed();
  if (act != nullptr) {
    a.handler.storeRelaxed(reinterpret_cast<void*>(act->sa_handler));
    a.flags.storeRelaxed(act->sa_flags);
  }
  if (old != nullptr) *old = before;
  return 0;
}

}  // namespace

int setHandler(int signal, const struct sigaction* act, struct sigaction* old) {
  auto* real = realThreads().sigaction;
  if (isInUse(signal) && rt.collector.on()) return pretend(signal, act, old);
  if (signal < 1 || signal > 64 || !watchesSignals()) {
    struct sigaction open;
    if (act != nullptr && signalsInUse() != 0) {
      open = *act;
      sigdelset(&open.sa_mask, kKickRestart);
      act = &open;
    }
    int result = real(signal, act, old);
    if (result == 0 && old != nullptr && signal >= 1 && signal <= 64) translate(signal, old);
    return result;
  }
  struct sigaction ours, before;
  if (act == nullptr || !isHandler(*act)) {
    int result = real(signal, act, &before);
    if (result == 0 && old != nullptr) {
      translate(signal, &before);
      *old = before;
    }
    return result;
  }
  struct sigaction wanted = *act;
  if (real(signal, nullptr, &before) != 0) return -1;
  translate(signal, &before);
  Action& a = actions[signal];
  a.flags.storeRelaxed(wanted.sa_flags);
  a.mask.storeRelaxed(bitsOf(wanted.sa_mask));
  a.handler.storeRelease(reinterpret_cast<void*>(wanted.sa_handler));
  ours = wanted;
  ours.sa_sigaction = onSignal;
  sigdelset(&ours.sa_mask, kKick);
  sigdelset(&ours.sa_mask, kKickRestart);
  sigdelset(&ours.sa_mask, kEveryThread);
  ours.sa_flags = (wanted.sa_flags | SA_SIGINFO) & ~static_cast<int>(SA_RESETHAND);
  if (real(signal, &ours, nullptr) != 0) return -1;
  if (old != nullptr) *old = before;
  return 0;
}

int setAltStack(const stack_t* want, stack_t* old) {
  stack_t copy{};
  if (want != nullptr) copy = *want;
  long got = os::sys(SYS_sigaltstack, want != nullptr ? os::arg(&copy) : 0, os::arg(old));
  if (os::failed(got)) {
    errno = static_cast<int>(-got);
    return -1;
  }
  if (want != nullptr && onG()) {
    sched::G* g = sched::currentG();
    bool none = (copy.ss_flags & SS_DISABLE) != 0;
    g->kernel.alt_stack = none ? nullptr : copy.ss_sp;
    g->kernel.alt_size = none ? 0 : copy.ss_size;
    g->kernel.alt_flags = none ? 0 : copy.ss_flags & ~SS_ONSTACK;
    uint64_t blocked = sched::currentM()->kernel.blocked.loadRelaxed();
    sched::currentM()->kernel.take(g->kernel);
    sched::currentM()->kernel.blocked.storeRelaxed(blocked);
  }
  return 0;
}

}  // namespace graft::shims
