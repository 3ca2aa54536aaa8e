// Start, per-thread caches and fork of the runtime; see runtime.h. start() runs on whatever thread
// allocates first; no libc call is made here.
#include "core/runtime/runtime.h"

#include <fcntl.h>

#include "core/base/bits.h"
#include "core/base/check.h"
#include "core/os/mem.h"
#include "core/os/message.h"
#include "core/os/sys.h"

namespace graft::runtime {

constinit Runtime rt;

thread_local constinit ThreadHeap t_heap __attribute__((tls_model("initial-exec"))) = {
    const_cast<heap::CacheHead*>(&heap::kEmptyCache), nullptr, 0};

namespace {

void report(const char* line, size_t n) { os::say(line, n); }

// True when `name` is an item of the comma list.
bool listed(const char* list, const char* name, size_t n) {
  for (const char* at = list; *at != '\0';) {
    size_t len = 0;
    while (at[len] != '\0' && at[len] != ',') len++;
    bool same = len == n;
    for (size_t i = 0; same && i < n; i++) same = at[i] == name[i];
    if (same) return true;
    at += len + (at[len] == ',' ? 1 : 0);
  }
  return false;
}

bool startsWith(const char* s, const char* prefix) {
  while (*prefix != '\0') {
    if (*s++ != *prefix++) return false;
  }
  return true;
}

// glibc's names for checked mode: MALLOC_CHECK_=1..3 and GLIBC_TUNABLES=glibc.malloc.check=1..3.
bool checksAskedOfGlibc(char** envp) {
  for (char** e = envp; e != nullptr && *e != nullptr; e++) {
    if (startsWith(*e, "MALLOC_CHECK_=")) return (*e)[14] >= '1' && (*e)[14] <= '9';
    if (!startsWith(*e, "GLIBC_TUNABLES=")) continue;
    for (const char* at = *e + 15; *at != '\0'; at++) {
      bool item = at[-1] == '=' || at[-1] == ':';
      if (item && startsWith(at, "glibc.malloc.check=") && at[19] >= '1' && at[19] <= '9')
        return true;
    }
  }
  return false;
}

}  // namespace

uintptr_t Runtime::threadId() { return os::threadPointer(); }

bool Runtime::executableAllowed(const char** why) {
  const char* only = base::options.only;
  const char* skip = base::options.skip;
  if (only[0] == '\0' && skip[0] == '\0') return true;
  char path[1024];
  long n = os::sys(SYS_readlinkat, AT_FDCWD, os::arg("/proc/self/exe"), os::arg(path), sizeof path);
  if (os::failed(n)) return true;
  size_t end = static_cast<size_t>(n), start = end;
  while (start > 0 && path[start - 1] != '/') start--;
  if (skip[0] != '\0' && listed(skip, path + start, end - start)) {
    *why = "the executable is listed in GRAFT_SKIP";
    return false;
  }
  if (only[0] != '\0' && !listed(only, path + start, end - start)) {
    *why = "the executable is not listed in GRAFT_ONLY";
    return false;
  }
  return true;
}

bool Runtime::configure(char** envp, const char* off_because) {
  base::fail_hooks = {os::sayLast, [] { os::die(); }};
  os::initMessages("");
  if (envp != nullptr) base::parseEnv(envp, report);
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
  if (base::options.heap_check == 0 && checksAskedOfGlibc(envp)) base::options.heap_check.set(1);
  heap.setChecks(static_cast<int>(base::options.heap_check.get()),
                 static_cast<uint64_t>(base::options.heap_stress.get()));
  bool sites = base::options.site_ids && heap.enableSites();
  slow_mode_ = base::options.heap_check > 0 || base::options.heap_stress > 0 || sites;
  return true;
}

bool Runtime::start(char** envp, const char* off_because) {
  uint32_t self = static_cast<uint32_t>(os::gettid());
  uint32_t expected = static_cast<uint32_t>(State::kNew);
  if (state_.casAcqRel(expected, static_cast<uint32_t>(State::kStarting))) {
    starter_.storeRelease(self);
    State next = configure(envp, off_because) ? State::kOn : State::kOff;
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
  ThreadHeap& t = t_heap;
  if (t.shared_ops != 0 && t.shared_ops++ % 1024 != 0) return nullptr;
  t.shared_ops = 1;
  t.own = heap.caches.acquire(threadId(), static_cast<uint32_t>(os::gettid()));
  if (t.own == nullptr) return nullptr;
  if (!slow_mode_) t.fast = t.own;
  return t.own;
}

void Runtime::forkPrepare() {
  if (on()) heap.forkPrepare();
}

void Runtime::forkParent() {
  if (on()) heap.forkParent();
}

void Runtime::forkChild(bool locked) {
  if (!on()) return;
  uint32_t tid = static_cast<uint32_t>(os::gettid());
  if (locked) {
    heap.forkChild(t_heap.own, tid);
  } else if (t_heap.own != nullptr) {
    t_heap.own->owner_tid.storeRelaxed(tid);
  }
}

}  // namespace graft::runtime
