// The scheduler comes to life, Gs begin and end, Ms are made. start, spawn and exitG on the stack
// of a G (or what becomes one); making Ms also on g0 and sysmon's thread. Memory comes from the
// kernel in Pools and per-M mappings: 32 KiB g0 stack, room for the process's static TLS, thread
// block.
#include "core/sched/sched.h"

#include "core/os/clock.h"
#include "core/os/cpu.h"
#include "core/sched/sysmon.h"

namespace graft::sched {
namespace {

constexpr size_t kG0Stack = 32_KiB;
constexpr size_t kBlock = 4_KiB;
constexpr uint32_t kDeadPerP = 64;
constexpr uint32_t kDeadWithStack = 1024;

}  // namespace

bool Sched::start(const Config& config) {
  if (on() || !os::haveFsgsbase()) return false;
  config_ = config;
  procs_ = config.procs != 0 ? config.procs : os::usableCpus();
  if (procs_ > kMaxProcs) procs_ = kMaxProcs;
  canary_[0] = os::fsWord(os::kStackGuard);
  canary_[1] = os::fsWord(os::kPointerGuard);
  os::Lock lock(mu_);
  for (uint32_t i = 0; i < procs_; i++) {
    P* p = pool_p_.make();
    if (p == nullptr) return false;
    p->index = i;
  }
  ps_ = &pool_p_.at(0);
  G* g = gs_.make();
  M* m = makeM();
  if (g == nullptr || m == nullptr || !mapM(m)) return false;
  m->parked = false;
  parked_--;
  m->tid.storeRelaxed(static_cast<uint32_t>(os::gettid()));
  os::makeContext(&m->g0.at, reinterpret_cast<void*>(m->block), kG0Stack, mainG0, m);
  g->id = next_id_.fetchAddRelaxed(1);
  g->ctx.fs = m->fs_now = os::threadPointer();
  g->state.set(GState::kRunning);
  g->m = m;
  m->g = g;
  readKernelState(g->kernel);
  os::sys(SYS_sched_getaffinity, 0, sizeof cpus_, os::arg(cpus_));
  m->kernel.take(g->kernel);
  for (uint32_t i = procs_; i-- > 0;) idlePut(&ps_[i]);
  acquireP(m, idleGet());
  show(g->ctx.fs, m, g);
  main_sp_ = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  if (config.sysmon &&
      !sysmon_thread_.startWithTls(Sysmon::entry, this, config_.tls_below, ~config_.open_signals))
    return false;
  on_.storeRelease(1);
  leave(m);
  return true;
}

// The first M's g0 begins when the first G leaves its stack for the first time.
void Sched::mainG0(void* self) {
  M* m = static_cast<M*>(self);
  afterSwitch(m);
  m->sched->loop(m);
}

void Sched::mMain(void* self) {
  M* m = static_cast<M*>(self);
  os::beginHome(&m->g0);
  if (m->sched->changed_.loadAcquire() != 0) m->sched->likeTheProcess(m);
  m->sched->leaveParked(m);
  P* p = m->next_p;
  m->next_p = nullptr;
  m->sched->acquireP(m, p);
  m->sched->loop(m);
}

// Parked, counted as running, without a thread yet.
M* Sched::makeM() {
  M* m = free_ms_;
  if (m != nullptr) {
    free_ms_ = m->idle_link;
  } else {
    m = ms_.make();
    if (m == nullptr) return nullptr;
    m->index = static_cast<uint32_t>(ms_.made());
    m->sched = this;
    m->rng = m->index * 0x9e3779b97f4a7c15u;
  }
  parked_++;
  running_ms_++;
  return m;
}

size_t Sched::machineBytes() const {
  size_t below = config_.tls_below != 0 ? config_.tls_below : kTlsBelow;
  return kG0Stack + roundUp(below, kOsPage) + kBlock;
}

bool Sched::mapM(M* m) {
  if (m->block != 0) return true;
  size_t bytes = machineBytes();
  Addr at = os::reserve(bytes, 0);
  if (at == 0) return false;
  if (!os::commit(at, bytes)) {
    os::release(at, bytes);
    return false;
  }
  uint64_t* block = reinterpret_cast<uint64_t*>(at + bytes - kBlock);
  block[0] = block[2] = reinterpret_cast<uintptr_t>(block);
  block[os::kStackGuard / 8] = canary_[0];
  block[os::kPointerGuard / 8] = canary_[1];
  m->block = at;
  m->fs = m->fs_now = reinterpret_cast<uintptr_t>(block);
  show(m->fs, m, nullptr);
  return true;
}

bool Sched::startThread(M* m) {
  if (!mapM(m)) return false;
  m->kernel.blocked.storeRelaxed(idleMask());
  return os::startThread(
      {m->block + kG0Stack, reinterpret_cast<void*>(m->fs), &m->tid, mMain, m, idleMask()});
}

G* Sched::spawn(const Spawn& what) {
  M* m = enter();
  G* g = getG(m, what);
  if (g != nullptr) {
    g->entry = what.entry;
    g->arg = what.arg;
    g->user = what.user;
    g->norun = 0;
    g->handlers = 0;
    g->signals.storeRelaxed(0);
    g->kernel.take({});
    g->kernel.blocked.storeRelaxed(what.blocked != nullptr ? *what.blocked
                                                           : m->g->kernel.blocked.loadRelaxed());
    g->id = next_id_.fetchAddRelaxed(1);
    os::makeContext(&g->ctx, g->stack.low, g->stack.size, gMain, g);
    g->ctx.fs = g->stack.fs;
    g->state.set(GState::kRunnable);
    if (what.out != nullptr) *what.out = g;
    put(m, g, true);
  }
  leave(m);
  return g;
}

void Sched::gMain(void* self) {
  G* g = static_cast<G*>(self);
  Sched* s = g->m->sched;
  s->leave(g->m);
  g->entry(g->arg);
  s->exitG();
}

void Sched::exitG() {
  M* m = enter();
  switchToG0(m, leftDead);
  __builtin_unreachable();
}

void Sched::leftDead(M* m, G* g) {
  Sched* s = m->sched;
  g->state.set(GState::kDead);
  if (g->locked_m != nullptr) {
    g->wired = 0;
    g->locked_m = nullptr;
    m->locked_g = nullptr;
    if (m->changed) s->likeTheProcess(m);
  }
  if (s->config_.hooks.dead != nullptr) s->config_.hooks.dead(*s, m, g);
  if (g->callers_stack) g->stack = {};
  s->putDead(m, g);
}

// A dead G whose kept stack has the size that is asked for, or a new one.
G* Sched::getG(M* m, const Spawn& what) {
  P* p = m->p;
  size_t size = what.stack.size != 0 ? 0 : what.stack_size;
  const StackSource& source = config_.stacks;
  G* g = nullptr;
  if (p->dead == nullptr) {
    os::Lock lock(mu_);
    for (uint32_t i = 0; i < kDeadPerP / 2 && dead_gs_ != nullptr; i++) {
      G* d = dead_gs_;
      dead_gs_ = d->link;
      dead_count_--;
      d->link = p->dead;
      p->dead = d;
      p->dead_count++;
    }
  }
  int looks = 0;
  for (G** at = &p->dead; *at != nullptr && looks < 4; at = &(*at)->link, looks++) {
    if ((*at)->stack.size != size) continue;
    g = *at;
    *at = g->link;
    p->dead_count--;
    break;
  }
  if (g == nullptr && p->dead != nullptr) {  // any other: its stack is exchanged
    g = p->dead;
    p->dead = g->link;
    p->dead_count--;
    if (g->stack.size != 0) source.free(g->stack);
    g->stack = {};
  }
  if (g == nullptr) {
    os::Lock lock(mu_);
    g = gs_.make();
  }
  if (g == nullptr) return nullptr;
  g->callers_stack = size == 0;
  if (size == 0) {
    g->stack = what.stack;
    return g;
  }
  if (g->stack.size != 0 && source.reuse != nullptr && !source.reuse(g->stack)) {
    source.free(g->stack);
    g->stack = {};
  }
  if (g->stack.size == 0 && (source.alloc == nullptr || !source.alloc(g->stack, size))) {
    g->stack = {};
    putDead(m, g);
    return nullptr;
  }
  return g;
}

// On g0, or in runtime code of a spawn that failed.
void Sched::putDead(M* m, G* g) {
  P* p = m->p;
  g->link = p->dead;
  p->dead = g;
  if (++p->dead_count <= kDeadPerP) return;
  G* surplus = nullptr;
  {
    os::Lock lock(mu_);
    for (uint32_t i = 0; i < kDeadPerP / 2; i++) {
      G* d = p->dead;
      p->dead = d->link;
      p->dead_count--;
      if (dead_count_ >= kDeadWithStack && d->stack.size != 0) {
        d->link = surplus;
        surplus = d;
        continue;
      }
      d->link = dead_gs_;
      dead_gs_ = d;
      dead_count_++;
    }
  }
  // Their slots go back without the lock; they themselves stay for Gs with a stack of their own.
  while (surplus != nullptr) {
    G* d = surplus;
    surplus = d->link;
    config_.stacks.free(d->stack);
    d->stack = {};
    os::Lock lock(mu_);
    d->link = dead_gs_;
    dead_gs_ = d;
    dead_count_++;
  }
}

Totals Sched::totals() const {
  return {next_id_.loadRelaxed(), ms_.made(), retakes_.loadRelaxed(), handoffs_.loadRelaxed()};
}

Counts Sched::counts() {
  os::Lock lock(mu_);
  return {running_ms_, gs_.made(), retakes_.loadRelaxed(), parked_, handoffs_.loadRelaxed()};
}

}  // namespace graft::sched
