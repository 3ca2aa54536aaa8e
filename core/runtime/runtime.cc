// Start, per-thread caches and fork of the runtime; see runtime.h. start() runs on whatever thread
// allocates first; no libc call is made here.
#include "core/runtime/runtime.h"

#include <fcntl.h>

#include "core/base/bits.h"
#include "core/base/check.h"
#include "core/os/mem.h"
#include "core/os/message.h"
#include "core/os/sys.h"
#include "core/runtime/collect.h"
#include "core/runtime/observe.h"

namespace graft::runtime {

constinit Runtime rt;

namespace {

// The values are set before anything is reported, GRAFT_LOG among them.
void report(const char* line, size_t n) {
  os::initMessages(base::options.log);
  os::say(line, n);
}

// Programs overwrite their environment block (setproctitle), so what is read later is copied.
void keepStrings() {
  static constinit char kept[3][4096] = {};
  auto keep = [](base::OptionValue<base::Str>& option, char* to) {
    size_t n = base::stringLength(option);
    if (n == 0 || n >= sizeof kept[0]) return option.set("");
    base::copyBytes(to, option.get(), n + 1);
    option.set(to);
  };
  keep(base::options.log, kept[0]);
  keep(base::options.summary, kept[1]);
  keep(base::options.leaks, kept[2]);
}

const char* runtimeDir(char* const* env) {
  constexpr char kName[] = "XDG_RUNTIME_DIR=";
  for (; env != nullptr && *env != nullptr; env++) {
    size_t n = 0;
    while (n < sizeof kName - 1 && (*env)[n] == kName[n]) n++;
    if (n == sizeof kName - 1) return *env + n;
  }
  return nullptr;
}

}  // namespace

uintptr_t Runtime::threadId() { return os::threadPointer(); }

bool Runtime::executableAllowed(const char** why) {
  if (base::options.only.get()[0] == '\0' && base::options.skip.get()[0] == '\0') return true;
  char path[1024];
  long n =
      os::sys(SYS_readlinkat, AT_FDCWD, os::arg("/proc/self/exe"), os::arg(path), sizeof path - 1);
  if (os::failed(n)) return true;
  path[n] = '\0';
  const char* name = path + n;
  while (name > path && name[-1] != '/') name--;
  if (base::enabledFor(base::options, name)) return true;
  *why = "the executable is excluded by GRAFT_ONLY or GRAFT_SKIP";
  return false;
}

bool Runtime::configure(const StartInfo& info) {
  const char* off_because = info.off_because;
  base::fail_hooks = {os::sayLast, [] { os::die(); }};
  os::initMessages("");
  if (info.envp != nullptr) base::parseEnv(info.envp, report);
  keepStrings();
  os::initMessages(base::options.log);
  if (!base::options.enabled) off_because = "GRAFT=off";
  if (off_because == nullptr && !executableAllowed(&off_because))
    GRAFT_ASSERT(off_because != nullptr);
  if (off_because != nullptr) {
    why_off_ = off_because;
    return false;
  }
  using base::Capability;
  os::setFaultInjection(static_cast<uint64_t>(base::options.fault_map.get()));
  heap::Config config;
  config.reserve_bytes = static_cast<size_t>(base::options.reserve_gib.get()) * 1_GiB;
  config.max_caches = static_cast<size_t>(base::options.max_caches.get());
  config.deny_reserve = base::isDenied(Capability::reserve);
  config.deny_nohugepage = base::isDenied(Capability::nohugepage);
  config.deny_mremap = base::isDenied(Capability::mremap);
  config.deny_purge = base::isDenied(Capability::purge);
  if (!heap.init(config)) {
    why_off_ = "no address space for the heap";
    base::Line line;
    os::say(line.str("graft: off: ").str(why_off_).str("; the program keeps its own malloc\n"));
    return false;
  }
  heap.setDecay(base::options.decay_ms);
  if (base::options.heap_check == 0 && info.checks) base::options.heap_check.set(1);
  heap.setChecks(static_cast<int>(base::options.heap_check.get()),
                 static_cast<uint64_t>(base::options.heap_stress.get()));
  int64_t decay = base::options.decay_ms;
  scavenger.init(heap, base::options.scavenger && decay >= 0,
                 decay < 80 ? 10 : static_cast<uint64_t>(decay) / 8);
  const char* where = base::options.control;
  control.init(where, where[0] != '\0' ? runtimeDir(info.envp) : nullptr, kObserveCommands);
  bool sites = base::options.site_ids && heap.enableSites();
  bool collects = startCollector(*this);
  slow_mode_ = base::options.heap_check > 0 || base::options.heap_stress > 0 || sites || collects;
  return true;
}

bool Runtime::start(const StartInfo& info) {
  uint32_t self = static_cast<uint32_t>(os::gettid());
  uint32_t expected = static_cast<uint32_t>(State::kNew);
  if (state_.casAcqRel(expected, static_cast<uint32_t>(State::kStarting))) {
    starter_.storeRelease(self);
    State next = configure(info) ? State::kOn : State::kOff;
    state_.storeRelease(static_cast<uint32_t>(next));
    return next == State::kOn;
  }
  while (starting()) {
    if (starter_.loadAcquire() == self) return false;
    os::sys(SYS_sched_yield);
  }
  return on();
}

heap::MCache* Runtime::adoptCache() {
  if (sched::currentM() != nullptr) return nullptr;  // its M's, or none
  sched::ThreadHeap& t = threadHeap();
  if (t.shared_ops != 0 && t.shared_ops++ % 1024 != 0) return nullptr;
  t.shared_ops = 1;
  t.own = heap.acquireCache(threadId(), static_cast<uint32_t>(os::gettid()));
  if (t.own == nullptr) return nullptr;
  if (!slow_mode_) t.fast = t.own;
  return t.own;
}

bool Runtime::startScheduler(sched::Config config) {
  config.fast_caches = !slow_mode_;
  if ((config.times = control.asked())) beginTimes();
  if (config.procs == 0) config.procs = static_cast<uint32_t>(base::options.gomaxprocs.get());
  config.trace_ms = static_cast<uint64_t>(base::options.schedtrace.get());
  config.hooks.takeCache = [] { return rt.heap.acquireCache(heap::kMachineOwner, 0); };
  config.hooks.giveCache = [](heap::MCache* c) { rt.heap.caches.release(c); };
  heap::MCache* own = threadHeap().own;
  threadHeap().fast = const_cast<heap::CacheHead*>(&heap::kEmptyCache);
  threadHeap().own = nullptr;
  if (own != nullptr) heap.caches.release(own);
  collector.useTls(config.tls_below != 0 ? config.tls_below : sched::kTlsBelow);
  return sched.start(config);
}

void Runtime::forkPrepare(bool lock) {
  if (!on()) return;
  // Before anything that keeps this thread from being stopped: a cycle may have to end first.
  if (lock) collector.forkPrepare();
  // From here to the end of fork the G stays where it is: a handler that made it wait for a P would
  // wait for those who wait for the heap's locks.
  if (sched.on() && sched::currentG() != nullptr) sched.norunBegin();
  scavenger.forkPrepare();
  if (lock) heap.forkPrepare();
}

void Runtime::forkParent(bool locked) {
  if (!on()) return;
  if (locked) heap.forkParent();
  scavenger.forkParent();
  if (sched.on() && sched::currentG() != nullptr) sched.norunEnd();
  if (locked) collector.forkParent();
}

void Runtime::forkChild(bool locked) {
  if (!on()) return;
  uint32_t tid = static_cast<uint32_t>(os::gettid());
  scavenger.forkChild();
  control.forkChild();
  heap::MCache* own = threadHeap().own;
  if (sched.on()) sched.forkChild();
  if (locked) {
    heap.forkChild(own, tid);
  } else if (own != nullptr) {
    own->owner_tid.storeRelaxed(tid);
  }
  world.forkChild();
  collector.forkChild();
}

}  // namespace graft::runtime
