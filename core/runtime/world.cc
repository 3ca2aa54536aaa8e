// See world.h. Threads are listed in /proc/self/task until a list brings nobody new: only a thread
// that is not stopped can make another. Records are found by tid in handlers, so they are hashed.
#include "core/runtime/world.h"

#include <fcntl.h>
#include <signal.h>
#include <ucontext.h>

#include "core/base/format.h"
#include "core/os/clock.h"
#include "core/os/mem.h"
#include "core/runtime/restart.h"
#include "core/runtime/runtime.h"

namespace graft::runtime {

thread_local constinit InsideState graft_inside{};

namespace {

constexpr long kNoSuchThread = -3;  // ESRCH
constexpr uint64_t kLookCloserNs = 2'000'000;

uint32_t numberOf(const char* name) {
  uint32_t v = 0;
  for (; *name >= '0' && *name <= '9'; name++) v = v * 10 + static_cast<uint32_t>(*name - '0');
  return *name == '\0' ? v : 0;
}

// A thread that has ended, although its id is not free yet: the first one while others live.
bool isDead(uint32_t tid) {
  if (os::sys(SYS_tgkill, os::getpid(), static_cast<long>(tid), 0) == kNoSuchThread) return true;
  base::Line path;
  path.str("/proc/self/task/").udec(tid).str("/stat");
  long fd = os::sys(SYS_openat, AT_FDCWD, os::arg(path.c_str()), O_RDONLY | O_CLOEXEC);
  if (os::failed(fd)) return false;
  char text[128];
  long n = os::sys(SYS_read, fd, os::arg(text), sizeof text);
  os::sys(SYS_close, fd);
  // "tid (name) S ...": a name may hold anything, but not beyond 16 bytes.
  for (long i = n < 0 ? 0 : n - 1; i > 0; i--) {
    if (text[i] == ')' && i + 2 < n) return text[i + 2] == 'Z' || text[i + 2] == 'X';
  }
  return false;
}

// Where the kernel has put the vector registers of an interrupted thread, and how much there is.
size_t vectorBytes(const void* fpregs) {
  constexpr uint32_t kMagic = 0x46505853;
  uint32_t words[2];
  base::copyBytes(words, static_cast<const char*>(fpregs) + 464, sizeof words);
  return words[0] == kMagic && words[1] >= 512 && words[1] <= 16384 ? words[1] : 512;
}

const ucontext_t& contextOf(const void* p) { return *static_cast<const ucontext_t*>(p); }
Addr stackPointer(const void* context) {
  return static_cast<Addr>(contextOf(context).uc_mcontext.gregs[REG_RSP]);
}

}  // namespace

gc::World World::forCollector() {
  gc::World w;
  w.self = this;
  w.signal = [](void* self) { return static_cast<World*>(self)->signal(); };
  w.stop = [](void* self, uint64_t ns) { return static_cast<World*>(self)->stop(ns); };
  w.start = [](void* self) { static_cast<World*>(self)->start(); };
  w.forEachStack = [](void* self, void (*f)(void*, const gc::StackInfo&), void* arg) {
    static_cast<World*>(self)->forEachThread([&](Thread& t) {
      bool first = t.tid.loadRelaxed() == static_cast<uint32_t>(os::getpid());
      if (!t.gone) f(arg, {stackPointer(t.context), first ? 0 : t.thread_pointer});
    });
    rt.sched.forEachStoppedG([&](const sched::StoppedG& g) {
      Addr low = reinterpret_cast<Addr>(g.stack.low);
      Addr sp = g.context != nullptr ? stackPointer(g.context) : reinterpret_cast<Addr>(g.sp);
      f(arg, {sp, 0, low, low + g.stack.size});
    });
  };
  w.forEachRegisters = [](void* self, void (*f)(void*, Addr, size_t), void* arg) {
    static_cast<World*>(self)->forEachContext([&](const void* context) {
      const mcontext_t& m = contextOf(context).uc_mcontext;
      f(arg, reinterpret_cast<Addr>(m.gregs), sizeof m.gregs);
      if (m.fpregs != nullptr) f(arg, reinterpret_cast<Addr>(m.fpregs), vectorBytes(m.fpregs));
    });
  };
  return w;
}

template <class F>
void World::forEachContext(F f) {
  forEachThread([&](Thread& t) {
    if (!t.gone) f(t.context);
  });
  rt.sched.forEachStoppedG([&](const sched::StoppedG& g) {
    if (g.context != nullptr) f(g.context);
  });
}

// --- Records

World::Thread* World::find(uint32_t tid) {
  for (size_t at = tid % kSlots;; at = (at + 1) % kSlots) {
    uint32_t there = threads_[at].tid.loadAcquire();
    if (there == tid) return &threads_[at];
    if (there == 0) return nullptr;
  }
}

World::Thread* World::add(uint32_t tid) {
  if (used_n_ == kMostThreads) return nullptr;
  size_t at = tid % kSlots;
  while (threads_[at].tid.loadRelaxed() != 0) at = (at + 1) % kSlots;
  used_[used_n_++] = static_cast<uint32_t>(at);
  Thread& t = threads_[at];
  t.context = nullptr;
  t.gone = false;
  t.acked.storeRelaxed(0);
  t.tid.storeRelease(tid);
  return &t;
}

bool World::isHelper(uint32_t tid) const {
  bool ours = tid == static_cast<uint32_t>(os::gettid()) || rt.collector.isHelper(tid) ||
              tid == rt.scavenger.threadId() || tid == rt.control.threadId() ||
              (helper != nullptr && helper(tid));
  if (!ours && rt.sched.on()) {
    rt.sched.forEachThread([&](uint32_t other) { ours |= other == tid; });
  }
  return ours;
}

// --- The collector's side

const char* World::stop(uint64_t timeout_ns) {
  if (threads_ == nullptr) {
    size_t bytes = roundUp(kSlots * sizeof(Thread) + kMostThreads * sizeof *used_, kOsPage);
    Addr at = os::reserve(bytes, 0);
    if (at == 0 || !os::commit(at, bytes)) return "no memory";
    threads_ = reinterpret_cast<Thread*>(at);
    used_ = reinterpret_cast<uint32_t*>(threads_ + kSlots);
  }
  if (signal_ == 0) return "too early";
  // Whoever gave a handler of its own to our signal, or none, would be hit by it.
  struct {
    void* handler;
    unsigned long flags;
    void* restorer;
    uint64_t mask;
  } action{};
  os::sys(SYS_rt_sigaction, signal_, 0, os::arg(&action), 8);
  if (action.handler != handler_) return "the program has taken graft's signal";
  uint64_t deadline = os::nowNs() + timeout_ns;
  rt.scavenger.forkPrepare();
  gs_stopped_ = rt.sched.on();
  if (gs_stopped_ && !rt.sched.stopWorld(timeout_ns)) {
    gs_stopped_ = false;
    rt.scavenger.forkParent();
    return "a kernel thread of the scheduler's did not answer";
  }
  epoch_.storeRelease(epoch_.loadRelaxed() + 1);  // [WORLD-B]
  const char* why = stopAll(deadline);
  if (why != nullptr) start();
  return why;
}

void World::start() {
  forEachThread([](Thread& t) { t.tid.storeRelease(0); });
  used_n_ = 0;
  epoch_.storeRelease(epoch_.loadRelaxed() + 1);  // [WORLD-B]
  os::futexWakeAll(&epoch_);
  if (gs_stopped_) rt.sched.startWorld();
  gs_stopped_ = false;
  rt.scavenger.forkParent();
}

const char* World::stopAll(uint64_t deadline_ns) {
  uint64_t closer = os::nowNs() + kLookCloserNs;
  for (;;) {
    bool any = false;
    if (!signalNew(any)) return "the threads cannot be listed";
    if (!any) return nullptr;
    for (;;) {
      uint32_t seen = acks_.loadAcquire();
      uint64_t now = os::nowNs();
      if (allStopped(now > closer)) break;
      if (now > deadline_ns) return whoDoesNot();
      os::futexWaitNs(&acks_, seen, 1'000'000);
    }
  }
}

// Signals every thread that is not known yet.
bool World::signalNew(bool& any) {
  long dir =
      os::sys(SYS_openat, AT_FDCWD, os::arg("/proc/self/task"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (os::failed(dir)) return false;
  alignas(8) char list[4096];
  long n;
  bool room = true;
  while (room && (n = os::sys(SYS_getdents64, dir, os::arg(list), sizeof list)) > 0) {
    for (long at = 0; at < n && room;) {
      auto* e = reinterpret_cast<os::DirEntry*>(list + at);
      at += e->bytes;
      uint32_t tid = numberOf(e->name);
      if (tid == 0 || find(tid) != nullptr || isHelper(tid)) continue;
      Thread* t = add(tid);
      room = t != nullptr;
      if (!room) break;
      any = true;
      long sent = os::sys(SYS_tgkill, os::getpid(), static_cast<long>(tid), signal_);
      t->gone = os::failed(sent);
    }
  }
  os::sys(SYS_close, dir);
  return room && !os::failed(n);
}

bool World::allStopped(bool look_closer) {
  uint32_t now = epoch_.loadRelaxed();
  bool all = true;
  forEachThread([&](Thread& t) {
    if (t.gone || t.acked.loadAcquire() == now) return;  // [WORLD-A]
    t.gone = look_closer && isDead(t.tid.loadRelaxed());
    if (!t.gone) all = false;
  });
  return all;
}

const char* World::whoDoesNot() {
  uint32_t now = epoch_.loadRelaxed();
  base::Line line;
  line.str("a thread does not stop: ");
  size_t head = line.size();
  forEachThread([&](Thread& t) {
    if (!t.gone && t.acked.loadAcquire() != now && line.size() == head) {
      line.udec(t.tid.loadRelaxed());
    }
  });
  size_t n = line.size() < sizeof why_ ? line.size() : sizeof why_ - 1;
  base::copyBytes(why_, line.data(), n);
  why_[n] = '\0';
  return why_;
}

// --- The threads' side

// On an M, in user code, after it was stopped: the frame is still its own.
void World::afterStop(void* context) {
  uint64_t all = ~uint64_t{0};
  os::sys(SYS_rt_sigprocmask, SIG_SETMASK, os::arg(&all), 0, 8);
  restartCall(context);
}

bool World::onSignal(void* context) {
  if (rt.sched.on() && rt.sched.onM()) {
    if (!rt.sched.stopping()) return false;
    if (graft_inside.depth != 0 && !rt.sched.insideRuntime()) {
      graft_inside.asked = 1;
    } else {
      rt.sched.onStopSignal(context);
      if (!rt.sched.insideRuntime()) afterStop(context);
    }
    return true;
  }
  uint32_t now = epoch_.loadAcquire();
  if ((now & 1) == 0) return false;
  Thread* t = find(static_cast<uint32_t>(os::gettid()));
  if (t == nullptr) return false;
  if (graft_inside.depth != 0) {
    graft_inside.asked = 1;
    return true;
  }
  standStill(*t, context, now);
  restartCall(context);
  return true;
}

// No handler of the program's may run before the world does: the frame's mask comes back with the
// handler's return.
void World::standStill(Thread& t, void* context, uint32_t epoch) {
  uint64_t all = ~uint64_t{0};
  os::sys(SYS_rt_sigprocmask, SIG_SETMASK, os::arg(&all), 0, 8);
  t.context = context;
  t.thread_pointer = os::threadPointer();
  t.acked.storeRelease(epoch);  // [WORLD-A]
  acks_.fetchAddRelease(1);
  os::futexWakeOne(&acks_);
  while (epoch_.loadAcquire() == epoch) os::futexWaitNs(&epoch_, epoch, os::kForever);
}

// Out of the heap: the handler, and with it a frame with all registers, is for here.
void World::leaveAsked() {
  graft_inside.asked = 0;
  os::sys(SYS_tgkill, os::getpid(), os::gettid(), signal_);
}

void World::forkChild() {
  epoch_.storeRelaxed(0);
  used_n_ = 0;
  if (threads_ != nullptr) os::purge(reinterpret_cast<Addr>(threads_), kSlots * sizeof(Thread));
}

}  // namespace graft::runtime
