// See look.h. The looker puts an M's tid into ask_ and signals it; the M's handler answers from
// user code only, and stands still until the looker is done.
//
//   ask_.state   0 nobody asks; 1 asked; 2 the M has taken it; 3 regs are there; 4 the looker is
//                done; 0 again, by the M: until it has woken up the kernel takes it for a sleeper
//
// look() on a thread that is no M, answer() in the handler of the signal.
#include "core/sched/look.h"

#include <fcntl.h>
#include <ucontext.h>

#include "core/base/format.h"
#include "core/os/clock.h"
#include "core/os/peek.h"
#include "core/sched/sched.h"

namespace graft::sched {
namespace {

constexpr uint32_t kNobody = 0, kAsked = 1, kTaken = 2, kThere = 3, kDone = 4;
constexpr uint64_t kPatienceNs = 20'000'000;

// What graft_leave pushed, from the saved stack pointer up (switch_amd64.S).
struct Saved {
  uint64_t control, r15, r14, r13, r12, rbx, rbp, rip;
};

Registers ofSaved(uint64_t sp, const Saved& s) {
  Registers r{};
  auto set = [&r](int number, uint64_t v) {
    r.value[number] = v;
    r.known |= 1u << number;
  };
  set(3, s.rbx);
  set(Registers::kRbp, s.rbp);
  set(Registers::kRsp, sp + sizeof(Saved));
  set(12, s.r12);
  set(13, s.r13);
  set(14, s.r14);
  set(15, s.r15);
  set(Registers::kRip, s.rip);
  return r;
}

Registers ofContext(void* context) {
  constexpr int kOrder[] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
                            REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
                            REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
  Registers r{};
  for (int i = 0; i < 17; i++) {
    r.value[i] = static_cast<uint64_t>(
        static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[kOrder[i]]);
  }
  r.known = (1u << 17) - 1;
  return r;
}

// The hexadecimal number that ends before *end, which moves in front of it.
uint64_t lastHex(const char* begin, const char*& end) {
  uint64_t v = 0;
  int shift = 0;
  for (; end > begin && end[-1] != ' '; end--) {
    char c = end[-1];
    if (c == 'x') continue;
    uint64_t digit = static_cast<uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    if (shift < 64) v |= digit << shift;
    shift += 4;
  }
  if (end > begin) end--;
  return v;
}

}  // namespace

bool sleepersRegisters(uint32_t tid, Registers& out) {
  base::Line path;
  path.str("/proc/self/task/").udec(tid).str("/syscall");
  long fd = os::sys(SYS_openat, AT_FDCWD, os::arg(path.c_str()), O_RDONLY | O_CLOEXEC);
  if (os::failed(fd)) return false;
  char text[256];
  long n = os::sys(SYS_read, fd, os::arg(text), sizeof text);
  os::sys(SYS_close, fd);
  if (n < 8 || text[0] == 'r') return false;  // "running"
  const char* end = text + n;
  while (end > text && end[-1] == '\n') end--;
  out = {};
  out.value[Registers::kRip] = lastHex(text, end);
  out.value[Registers::kRsp] = lastHex(text, end);
  out.known = 1u << Registers::kRip | 1u << Registers::kRsp;
  return out.value[Registers::kRsp] != 0;
}

Look Sched::lookSaved(G* g, LookFn copy, void* arg) {
  GState state = g->state.look();
  uint64_t ticket = g->wait.ticket.loadRelaxed();
  uint64_t sp = reinterpret_cast<uint64_t>(__atomic_load_n(&g->ctx.sp, __ATOMIC_RELAXED));
  Saved saved, again;
  if (os::peek(sp, &saved, sizeof saved) != sizeof saved) return Look::kBusy;
  copy(arg, ofSaved(sp, saved));
  if (os::peek(sp, &again, sizeof again) != sizeof again) return Look::kBusy;
  bool moved = again.rip != saved.rip || again.rbp != saved.rbp || g->state.look() != state ||
               g->wait.ticket.loadRelaxed() != ticket ||
               sp != reinterpret_cast<uint64_t>(__atomic_load_n(&g->ctx.sp, __ATOMIC_RELAXED));
  return moved ? Look::kBusy : Look::kSaved;
}

Look Sched::lookRunning(G* g, LookFn copy, void* arg) {
  M* m = g->m;
  uint32_t tid = m == nullptr ? 0 : m->tid.loadAcquire();
  if (tid == 0 || ask_.state.loadAcquire() != kNobody) return Look::kBusy;
  Registers regs, again;
  if (sleepersRegisters(tid, regs)) {
    copy(arg, regs);
    bool same = sleepersRegisters(tid, again) && m->g == g &&
                again.value[Registers::kRsp] == regs.value[Registers::kRsp] &&
                again.value[Registers::kRip] == regs.value[Registers::kRip];
    return same ? Look::kInKernel : Look::kBusy;
  }
  if (config_.look_signal == 0) return Look::kBusy;
  ask_.tid = tid;
  ask_.g = g;
  ask_.state.storeRelease(kAsked);
  os::sys(SYS_tgkill, os::getpid(), static_cast<int>(tid), config_.look_signal);
  uint64_t deadline = os::nowNs() + kPatienceNs;
  uint32_t s;
  while ((s = ask_.state.loadAcquire()) != kThere) {
    if (s == kAsked && os::nowNs() > deadline && ask_.state.casAcqRel(s, kNobody)) {
      return Look::kBusy;
    }
    os::futexWaitNs(&ask_.state, s, kPatienceNs / 10);
  }
  copy(arg, ask_.regs);
  ask_.state.storeRelease(kDone);
  os::futexWakeAll(&ask_.state);
  return Look::kAnswered;
}

void Sched::answer(M* m, void* context) {
  uint32_t s = ask_.state.loadAcquire();
  if (s != kAsked || ask_.tid != m->tid.loadRelaxed() || ask_.g != m->g) return;
  if (!ask_.state.casAcqRel(s, kTaken)) return;
  ask_.regs = ofContext(context);
  ask_.state.storeRelease(kThere);
  os::futexWakeAll(&ask_.state);
  while (ask_.state.loadAcquire() == kThere) os::futexWaitNs(&ask_.state, kThere, os::kForever);
  ask_.state.storeRelease(kNobody);
}

G* Sched::gWithId(uint64_t id, size_t& hint) {
  size_t made = gs_.made();
  for (size_t i = 0; i < made; i++) {
    size_t at = (hint + i) % made;
    if (gs_.at(at).id != id) continue;
    hint = at + 1;
    return &gs_.at(at);
  }
  return nullptr;
}

Look Sched::look(G* g, LookFn copy, void* arg) {
  switch (g->state.look()) {
    case GState::kFree:
    case GState::kDead: return Look::kGone;
    case GState::kParked:
    case GState::kRunnable: return lookSaved(g, copy, arg);
    case GState::kRunning: return lookRunning(g, copy, arg);
    default: return Look::kBusy;
  }
}

}  // namespace graft::sched
