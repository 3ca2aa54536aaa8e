// Torture of the scheduler in one process: Gs that hand over to each other, lock, sleep, wait with
// a time limit, spawn, block in known and unseen calls, hog their P and are wired, under a
// collector's kind of stop every few milliseconds, with delay points where orders matter.
//
//   sched_stress [--seconds N] [--seed N] [--procs N] [--delays N] [--plant NAME] [--quiet]
//
// Checked: mutual exclusion by parked locks; every semaphore token is passed on once; no G runs
// twice at once; an mcache is used by one M at a time; timers do not fire early or get lost;
// nothing moves in a stopped world; the whole goes on (a watchdog thread that is no M). Exit
// status: 0 no failure; 1 a failure (one line says which). --plant, --delays: only in the build
// with planted faults.
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <string>

#include "core/base/plant.h"
#include "core/os/clock.h"
#include "tests/stress/planted.h"
#include "tests/unit/sched/in_process.h"

namespace graft::sched {
// What a failure leaves behind: the Ps, the counters, and every G that has not ended.
struct SchedPeer {
  static void dump() {
    fprintf(stderr,
            "now %lu idle %d spinning %d parked %u of %u gated %u unaware %u global %zu "
            "poll_until %lu poller %d epoch %u sysmon waits %u\n",
            os::nowNs(), s.wake_.idle(), s.wake_.spinning(), s.parked_, s.running_ms_, s.gated_,
            s.unaware_, s.globq_.size(), s.poll_until_.loadRelaxed(), s.poller_ != nullptr,
            s.epoch_.loadRelaxed(), s.sysmon_waits_.loadRelaxed());
    for (uint32_t i = 0; i < s.procs_; i++) {
      P& p = s.ps_[i];
      OwnerValue v = p.word.look();
      fprintf(stderr, "P%u: hold %d by M%lu, %u queued, timer %lu, tick %u\n", i,
              static_cast<int>(v.hold()), v.m(), p.runq.size(), p.timers.first(),
              p.tick.loadRelaxed());
    }
    s.forEachG([](G& g) {
      GState st = g.state.look();
      if (st == GState::kDead || st == GState::kFree) return;
      fprintf(stderr, "G%lu: state %d, queued %d at %p, ticket %lu, timer %lx, M%u wired %d\n",
              g.id, static_cast<int>(st), g.wait.bucket.loadRelaxed() != nullptr, g.wait.addr,
              g.wait.ticket.loadRelaxed(), g.timer.armed.loadRelaxed(),
              g.m != nullptr ? g.m->index : 0, g.locked_m != nullptr);
    });
  }
};
}  // namespace graft::sched

using namespace graft;
using namespace graft::sched;

namespace {

constexpr uint64_t kUs = 1000, kMs = 1'000'000;
constexpr int kPairs = 8, kLocks = 4, kMixed = 40;

[[noreturn]] void fail(const char* what) {
  const char* head = "sched_stress: FAIL: ";
  os::sys(SYS_write, 2, os::arg(head), 20);
  os::sys(SYS_write, 2, os::arg(what), static_cast<long>(strlen(what)));
  os::sys(SYS_write, 2, os::arg("\n"), 1);
  for (;;) os::sys(SYS_exit_group, 1);
}
void require(bool ok, const char* what) {
  if (!ok) fail(what);
}

uint32_t stop = 0;
bool stopping() { return __atomic_load_n(&stop, __ATOMIC_ACQUIRE) != 0; }

// What each G has done so far; read by the stopper and the watchdog.
struct alignas(64) Ops {
  uint64_t n;
  void add() { __atomic_fetch_add(&n, 1, __ATOMIC_RELAXED); }
  uint64_t get() { return __atomic_load_n(&n, __ATOMIC_RELAXED); }
};
Ops pair_ops[2 * kPairs], mixed_ops[kMixed], child_ops;
uint64_t sumOps() {
  uint64_t n = child_ops.get();
  for (Ops& o : pair_ops) n += o.get();
  for (Ops& o : mixed_ops) n += o.get();
  return n;
}

struct Rng {
  uint64_t s;
  uint64_t below(uint64_t n) {
    s ^= s << 13;
    s ^= s >> 7;
    s ^= s << 17;
    return s % n;
  }
};

// Stands for an mcache: one user at a time, and never one that lies in the pool.
struct Cache {
  base::Atomic<uint32_t> busy{0}, pooled{0};
};
Cache caches[4096];
uint32_t made = 0;
os::Mutex pool_mu;
Cache* pool[4096];
uint32_t pool_size = 0;

heap::MCache* takeCache() {
  os::Lock lock(pool_mu);
  Cache* c;
  if (pool_size > 0) {
    c = pool[--pool_size];
    require(c->pooled.exchangeAcqRel(0) == 1, "the pool gave out an mcache that was not there");
  } else {
    require(made < 4096, "out of test caches");
    c = &caches[made++];
  }
  return reinterpret_cast<heap::MCache*>(c);
}
void giveCache(heap::MCache* p) {
  Cache* c = reinterpret_cast<Cache*>(p);
  os::Lock lock(pool_mu);
  require(c->busy.loadAcquire() == 0, "an mcache came back in use");
  require(c->pooled.exchangeAcqRel(1) == 0, "an mcache came back twice");
  pool[pool_size++] = c;
}
void useCache(uint32_t spins) {
  Cache* c = reinterpret_cast<Cache*>(currentCache());
  require(c->busy.exchangeAcqRel(1) == 0, "two Ms use one mcache");
  require(c->pooled.loadRelaxed() == 0, "an mcache of the pool is used");
  for (uint32_t i = 0; i < spins; i++) base::cpuRelax();
  c->busy.storeRelease(0);
}

// Drepper's three-state lock over the parking lot.
struct ParkedLock {
  uint32_t state = 0;
  uint64_t a = 0, b = 0;

  void lock() {
    uint32_t v = 0;
    if (__atomic_compare_exchange_n(&state, &v, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
      return;
    }
    while (__atomic_exchange_n(&state, 2, __ATOMIC_SEQ_CST) != 0) s.wait(&state, 2);
  }
  void unlock() {
    if (__atomic_exchange_n(&state, 0, __ATOMIC_SEQ_CST) == 2) s.wake(&state, 1);
  }
};
ParkedLock locks[kLocks];

// A G is on one M at a time: it says when it may be elsewhere.
struct OnStack {
  base::Atomic<uint32_t> runs{1};
  template <class F>
  void away(F f) {
    require(runs.exchangeAcqRel(0) == 1, "a G runs twice at once");
    f();
    require(runs.exchangeAcqRel(1) == 0, "a G runs twice at once");
  }
};

Count finished;

struct Pair {
  Sem sem[2];
  uint32_t turn = 0;
} pairs[kPairs];

void pairMember(void* arg) {
  uint64_t index = reinterpret_cast<uintptr_t>(arg);
  Pair& p = pairs[index / 2];
  uint32_t me = index % 2;
  uint64_t begin = os::nowNs();
  OnStack on;
  for (;;) {
    // Every second pair leaves a cancelled timer behind each time.
    uint64_t limit = index / 2 % 2 == 0 ? kNoDeadline : begin + 3600 * 1000 * kMs;
    on.away([&] { p.sem[me].wait(limit); });
    if (stopping()) break;
    require(__atomic_load_n(&p.turn, __ATOMIC_RELAXED) == me, "a token was passed twice");
    __atomic_store_n(&p.turn, 1 - me, __ATOMIC_RELAXED);
    useCache(0);
    pair_ops[index].add();
    p.sem[1 - me].post();
  }
  p.sem[1 - me].post();
  finished.add();
}

struct Children {
  Count done;
  uint32_t want;
};
void child(void* arg) {
  useCache(3);
  child_ops.add();
  static_cast<Children*>(arg)->done.add();
}

void spawnSome(uint32_t n) {
  Children c{{}, n};
  for (uint32_t i = 0; i < n; i++) require(go(child, &c) != nullptr, "spawn failed");
  c.done.waitFor(n);
}

long rawSleep(void* ns) {
  timespec ts{0, static_cast<long>(reinterpret_cast<uintptr_t>(ns))};
  return os::sys(SYS_nanosleep, os::arg(&ts), 0);
}

void timedWait(Rng& rng) {
  uint32_t word = 0;
  uint64_t until = os::nowNs() + rng.below(300) * kUs;
  require(s.wait(&word, 0, until) == WaitResult::kTimedOut, "nobody woke it, yet it woke");
  require(os::nowNs() >= until, "a timer fired early");
}

void lockedWork(Rng& rng) {
  ParkedLock& l = locks[rng.below(kLocks)];
  l.lock();
  require(l.a == l.b, "two Gs hold one lock");
  l.a++;
  if (rng.below(8) == 0) s.yield();
  l.b++;
  l.unlock();
}

void mixedStep(Rng& rng) {
  switch (rng.below(40)) {
    case 0: timedWait(rng); return;
    case 1: {
      uint64_t until = os::nowNs() + rng.below(500) * kUs;
      s.sleepUntil(until);
      require(os::nowNs() >= until, "a sleeper woke early");
      return;
    }
    case 2: spawnSome(static_cast<uint32_t>(rng.below(20))); return;
    case 3: s.blocking(rawSleep, reinterpret_cast<void*>(rng.below(200) * kUs)); return;
    case 4:  // unseen
      if (rng.below(10) == 0) rawSleep(reinterpret_cast<void*>(rng.below(3) * kMs));
      return;
    case 5:  // a hog
      if (rng.below(100) != 0) return;
      for (uint64_t end = os::nowNs() + 13 * kMs; os::nowNs() < end;) useCache(50);
      return;
    case 6:
      if (rng.below(20) == 0) spawnSome(600);
      return;
    case 7: {
      s.lockThread();
      int tid = os::gettid();
      s.yield();
      require(os::gettid() == tid, "a wired G moved");
      s.unlockThread();
      return;
    }
    case 8:
    case 9:
    case 10:
    case 11: s.yield(); return;
    default: lockedWork(rng); return;
  }
}

uint64_t seed = 1;

void mixed(void* arg) {
  uint64_t index = reinterpret_cast<uintptr_t>(arg);
  Rng rng{(seed + index) * 0x9e3779b97f4a7c15u + 1};
  OnStack on;
  while (!stopping()) {
    on.away([&] { mixedStep(rng); });
    useCache(1);
    mixed_ops[index].add();
  }
  finished.add();
}

uint64_t stops = 0;

void stopAndLook() {
  require(s.stopWorld(20'000 * kMs), "an M did not stop");
  uint64_t before = sumOps();
  for (uint64_t end = os::nowNs() + 100 * kUs; os::nowNs() < end;) base::cpuRelax();
  require(sumOps() == before, "something moved in a stopped world");
  require(s.valid(), "an invariant does not hold");
  stops++;
  s.startWorld();
}

// No M, so nothing that goes wrong with them stops it: each G must get on within 20 seconds, which
// on a busy machine with delays in every race window is not long. What is lost never gets on.
void* watchdog(void*) {
  uint64_t last[2 * kPairs + kMixed] = {};
  int stuck[2 * kPairs + kMixed] = {};
  for (;;) {
    usleep(500'000);
    for (int i = 0; i < 2 * kPairs + kMixed; i++) {
      uint64_t n = i < 2 * kPairs ? pair_ops[i].get() : mixed_ops[i - 2 * kPairs].get();
      stuck[i] = n == last[i] ? stuck[i] + 1 : 0;
      last[i] = n;
      if (stuck[i] <= 40) continue;
      fprintf(stderr, "counter %d\n", i);
      SchedPeer::dump();
      fail(stopping() ? "a G did not come to its end" : "a G does not get on");
    }
  }
}

// One visit in delay_rate to a delay point spins, lets other threads of the kernel run, or sleeps.
uint32_t delay_rate = 0;
[[maybe_unused]] void delay() {
  uint64_t dice = os::cycles() * 0x9e3779b97f4a7c15u >> 32;
  if (dice % delay_rate != 0) return;
  dice /= delay_rate;
  if (dice % 4 == 0) {
    rawSleep(reinterpret_cast<void*>(10 * kUs));
  } else if (dice % 4 == 1) {
    os::sys(SYS_sched_yield);
  } else {
    for (uint64_t i = dice % 509; i > 0; i--) base::cpuRelax();
  }
}

void crashed(int) { fail("crashed"); }

constexpr struct {
  const char* name;
  base::Plant plant;
} kPlants[] = {{"enter_by_store", base::Plant::kEnterByStore},
               {"stale_cache", base::Plant::kStaleCache},
               {"lost_wake", base::Plant::kLostWake},
               {"double_run", base::Plant::kDoubleRun},
               {"steal_by_store", base::Plant::kStealByStore},
               {"lost_half", base::Plant::kLostHalf},
               {"counted_stopped", base::Plant::kCountedStopped},
               {"lost_timer", base::Plant::kLostTimer}};

base::Plant plantByName(const std::string& name) {
  for (auto& p : kPlants) {
    if (name == p.name) return p.plant;
  }
  fprintf(stderr, "sched_stress: no planted fault '%s'\n", name.c_str());
  exit(2);
}

void run(int seconds) {
  for (uintptr_t i = 0; i < 2 * kPairs; i++) go(pairMember, reinterpret_cast<void*>(i));
  for (uintptr_t i = 0; i < kMixed; i++) go(mixed, reinterpret_cast<void*>(i));
  for (Pair& p : pairs) p.sem[0].post();
  uint64_t end = os::nowNs() + static_cast<uint64_t>(seconds) * 1000 * kMs;
  while (os::nowNs() < end) {
    s.sleepUntil(os::nowNs() + 5 * kMs);
    stopAndLook();
  }
  __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
  finished.waitFor(2 * kPairs + kMixed);
}

}  // namespace

int main(int argc, char** argv) {
  int seconds = 5;
  uint32_t procs = 4, delays = 0;
  bool quiet = false;
  base::Plant plant = base::Plant::kNone;
  for (int i = 1; i < argc; i++) {
    std::string a = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (a == "--quiet") {
      quiet = true;
      continue;
    }
    i++;
    if (a == "--seconds") {
      seconds = atoi(value);
    } else if (a == "--seed") {
      seed = strtoull(value, nullptr, 10);
    } else if (a == "--procs") {
      procs = static_cast<uint32_t>(atoi(value));
    } else if (a == "--delays") {
      delays = static_cast<uint32_t>(atoi(value));
    } else if (a == "--plant") {
      plant = plantByName(value);
    } else {
      return fprintf(stderr, "sched_stress: what is '%s'?\n", a.c_str()), 2;
    }
  }
  if (!os::haveFsgsbase()) return printf("sched_stress: no FSGSBASE\n"), 77;
#ifdef GRAFT_PLANTED
  if (plant != base::Plant::kNone) {
    if (int code = test::underSupervision("sched_stress"); code >= 0) return code;
  }
  base::planted_fault.storeRelaxed(static_cast<int>(plant));
  delay_rate = delays;
  if (delays != 0) base::delay_hook.storeRelaxed(delay);
#else
  if (plant != base::Plant::kNone || delays != 0) {
    return fprintf(stderr, "sched_stress: built without planted faults\n"), 77;
  }
#endif
  for (int sig : {SIGSEGV, SIGBUS, SIGILL, SIGABRT, SIGTRAP}) signal(sig, crashed);
  Config config = testConfig(procs);
  config.hooks.takeCache = takeCache;
  config.hooks.giveCache = giveCache;
  pthread_t dog;
  if (pthread_create(&dog, nullptr, watchdog, nullptr) != 0) return 2;
  require(startScheduler(config), "the scheduler did not start");
  run(seconds);
  Counts c = s.counts();
  if (!quiet) {
    printf("sched_stress: %lu steps, %lu stops, %lu retakes, %lu handoffs, %lu Ms, %lu Gs\n",
           sumOps(), stops, c.retakes, c.handoffs, c.ms, c.gs);
  }
  return 0;
}
