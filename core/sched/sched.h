// The scheduler: Gs (the program's threads) run by Ms (kernel threads) that hold Ps (one per CPU),
// by Go's rules. This is the layer's header for others; the word-sized protocols are in owner.h,
// park.h, runq.h, wake.h and stop.h, each with its model test.
//
//   user code of a G  --enter()-->  runtime code, same stack  --left, switch-->  g0 of the M
//                     <--leave()--                            <--execute()-----
//
// Dormant until start(). Public functions marked [G] are called on the stack of a G in user code;
// [any] from any thread of the process as well; [g0] on g0 or in runtime code. Nothing here calls
// libc, allocates from the heap or writes errno.
//
// Locks: mu_ (lists of idle Ms and Ps, global queue, states of Ms) is a leaf like the bucket and
// timer locks; no two of them are ever held together, and none over a switch. The netpoller's list
// locks come before a bucket's.
// Source: Go 1.19's proc.go; names are Go's where the function is.
#pragma once

#include "core/os/mutex.h"
#include "core/os/thread.h"
#include "core/sched/current.h"
#include "core/sched/globq.h"
#include "core/sched/look.h"
#include "core/sched/m.h"
#include "core/sched/netpoll.h"
#include "core/sched/p.h"
#include "core/sched/parking_lot.h"
#include "core/sched/pool.h"
#include "core/sched/wake.h"

namespace graft::sched {

inline constexpr size_t kMaxProcs = 256;
inline constexpr size_t kMaxMs = 10000;
inline constexpr size_t kMaxGs = size_t{1} << 21;
inline constexpr size_t kTlsBelow = 16384;
inline constexpr size_t kLateWakes = 64;
inline constexpr uint64_t kNoDeadline = ~uint64_t{0};

// What the embedder adds; every pointer may be null. All run in runtime code: no libc call that can
// lock, allocate, touch dynamic TLS or write errno.
struct Hooks {
  heap::MCache* (*takeCache)() = nullptr;  // a fresh mcache for an M
  void (*giveCache)(heap::MCache*) = nullptr;
  void (*dead)(Sched& s, M* m, G* g) = nullptr;  // [g0] g has left its stack for good
  // Nothing can run, as far as the scheduler knows; stillDead() says whether it is still so. No
  // lock held, on g0 of the last M to go to sleep.
  void (*deadlock)(Sched& s) = nullptr;
  // Null: signals are not looked after. g, running in user code, has something in g->signals.
  void (*signals)(G* g) = nullptr;
};

struct Config {
  uint32_t procs = 0;  // 0: os::usableCpus()
  int stop_signal = 0;  // 0: the world cannot be stopped; its handler calls onStopSignal
  uint64_t open_signals = 0;  // never blocked on threads of the scheduler's
  bool sysmon = true;
  uint64_t trace_ms = 0;  // a line about the scheduler so often; 0: none
  bool times = false;  // note when a G stops running (G::since)
  int look_signal = 0;  // makes a running M answer look(); its handler calls onKick; 0: none
  bool fast_caches = true;  // malloc may use an M's mcache unasked
  size_t tls_below = 0;  // room below an M's thread pointer for static TLS; 0: kTlsBelow
  StackSource stacks;
  Hooks hooks;
};

// What a dormant scheduler holds: all zero, so that it lies in .bss.
constexpr Config noConfig() {
  Config c;
  c.sysmon = c.fast_caches = false;
  return c;
}

struct Spawn {
  void (*entry)(void*) = nullptr;
  void* arg = nullptr;
  void* user = nullptr;
  size_t stack_size = 0;  // from the StackSource, unless
  Stack stack{};  // this one has a size: the caller's
  G** out = nullptr;  // gets the G before it runs
  const uint64_t* blocked = nullptr;  // null: the caller's signal mask
};

struct Counts {
  uint64_t ms, gs, retakes, parked_ms, handoffs;
};

// Since the start: Gs begun (the first included), Ms made, Ps taken by sysmon, Ps handed on.
struct Totals {
  uint64_t gs, ms, retakes, handoffs;
};

// Of a thread that is no M: it holds, or is about to take, locks of a wake.
extern thread_local constinit uint32_t in_lot __attribute__((tls_model("initial-exec")));

// A living G in a stopped world: where its stack is, and the frame with its registers where they
// are not on the stack.
struct StoppedG {
  Stack stack;
  const void* sp;
  const void* context;  // a ucontext; null: every register that counts lies above sp
};

class Sched {
 public:
  constexpr Sched() = default;

  // The calling thread becomes the first M and its present stack the first G. False: no memory, or
  // FS cannot be written here. Once.
  bool start(const Config& config);
  bool on() const { return on_.loadAcquire() != 0; }
  uint32_t procs() const { return procs_; }

  // --- Gs
  G* spawn(const Spawn& what);  // [G] null: out of memory, stacks or Gs
  [[noreturn]] void exitG();  // [G]
  void yield();  // [G]
  bool nobodyWaits();  // [G] for a P; a hint
  void sleepUntil(uint64_t deadline_ns);  // [G]
  void lockThread();  // [G] wires the G to its M
  void unlockThread();  // [G]
  // [G] The same for good: the G changes how the kernel schedules its thread. Others, and the M
  // itself when the G is gone, are as the process was at the start.
  void ownThread();
  bool ownsThread() const { return currentG()->locked_m != nullptr && currentM()->changed; }  // [G]
  template <class F>
  void forEachG(F f) {  // every G that was ever made, dead ones too
    for (size_t i = 0; i < gs_.made(); i++) f(gs_.at(i));
  }

  template <class F>
  void forEachThread(
      F f) {  // tid of every kernel thread of the scheduler's; 0 for some that have none
    for (size_t i = 0; i < ms_.made(); i++) f(ms_.at(i).tid.loadAcquire());
    f(sysmon_thread_.tid.loadAcquire());
  }

  // --- Waiting by address
  // [G] Sleeps while *addr == expected, until woken, interrupted or deadline_ns (CLOCK_MONOTONIC).
  WaitResult wait(const uint32_t* addr, uint32_t expected, uint64_t deadline_ns = kNoDeadline,
                  uint32_t bits = ~0u);
  uint32_t wake(const void* addr, uint32_t n, uint32_t bits = ~0u);  // [any]
  uint32_t wakeOnG0(M* m, const void* addr, uint32_t n);  // [g0]
  // [any] FUTEX_CMP_REQUEUE; expected may be null. Returns woken + moved, or -1: *addr differs.
  int64_t requeue(const uint32_t* addr, const uint32_t* expected, const void* to, uint32_t n,
                  uint32_t move);
  bool interrupt(G* g, uint64_t ticket);  // [any] ends that wait with kInterrupted
  // [any] wake(), which a signal handler may call: where the handler interrupted runtime code, all
  // waiters of addr are woken, and a little later, by sysmon.
  uint32_t wakeFromHandler(const void* addr, uint32_t n, uint32_t bits = ~0u);

  // --- Waiting for descriptors: [G] wait() on a counter of net()'s, between these two.
  Netpoll& net() { return net_; }
  void netWaitBegins();
  void netWaitEnds() { net_.waiterEnds(); }
  // [G] The watches' descriptors have slots; their words move until unwatch().
  void watch(Watch* all, size_t n);
  void unwatch(Watch* all, size_t n);

  // --- Calls that block in the kernel. [G] The P goes to others meanwhile.
  long blocking(long (*call)(void*), void* arg);
  // [G] The same for a call of user code's, in which signal handlers run as ever: the P goes now
  // instead of when sysmon sees the M asleep. It is back when the G next enters the runtime.
  void lendP();

  // --- The world. [any]; the caller's M goes on. False: an M did not answer within the time, and
  // the world runs again.
  bool stopWorld(uint64_t timeout_ns);
  void startWorld();
  // Whoever has stopped it.
  template <class F>
  void forEachStoppedG(F f) {
    for (size_t i = 0; on() && i < ms_.made(); i++) {
      M& m = ms_.at(i);
      if (m.g != nullptr) f(StoppedG{m.g->stack, m.stop_sp, m.stop_context});
    }
    for (size_t i = 0; on() && i < gs_.made(); i++) {
      G& g = gs_.at(i);
      GState s = g.state.look();
      if (s == GState::kFree || s == GState::kDead || s == GState::kRunning) continue;
      f(StoppedG{g.stack, g.ctx.sp, nullptr});
    }
  }
  void norunBegin();  // [G] HZ-NORUN; nests
  void norunEnd();
  void onStopSignal(void* ucontext);  // in the handler of stop_signal, on any M
  bool onM() { return mOfThread() != nullptr; }  // in a handler
  bool insideRuntime() { return mOfThread()->stop.inside(); }  // in a handler, on an M
  bool stopping() const { return (epoch_.loadAcquire() & 1) != 0; }

  // In the child of fork, on the surviving thread: the scheduler is as it was before start(), and
  // the thread goes on as an ordinary one. [any]
  void forkChild();

  // --- Signals of the program (signals.cc)
  // In a handler. True: it interrupted runtime code, and the signal will come again. frame_mask:
  // the mask that the kernel puts back when the handler returns.
  bool postpone(int signal, void* info, uint64_t* frame_mask);
  // [any] g->signals was set: makes g look, by ending its wait or by the signal `kick` to its M.
  void nudge(G* g, int kick);
  void nudgeRunning(G* g, int kick);
  void nudgeParked(G* g);
  // [any] Ends the wait that g is in or, if it is on its way into one, that: something that it
  // looked at before has changed (it was cancelled) [POKE-A].
  void poke(G* g);
  void onKick(void* ucontext);  // in the handler of `kick` or look_signal, on any M
  static void readKernelState(KernelState& out);  // of the calling kernel thread

  // [any] The G with this id, dead ones too; null: none. It is looked for from `hint` on, which is
  // left behind it: asking for one after the other costs one step each.
  G* gWithId(uint64_t id, size_t& hint);
  // A thread that is no M, one at a time: see look.h.
  Look look(G* g, LookFn copy, void* arg);

  Counts counts();
  Totals totals() const;  // [any] and in a signal handler: takes no lock
  bool stillDead();  // [g0] in the deadlock hook
  bool valid();  // [any] the invariants of what mu_ guards

 private:
  friend struct SchedPeer;  // tests
  friend class Sysmon;

  // signals.cc
  uint64_t idleMask() const;
  static void takeKernelState(M* m, const KernelState& want);
  void blockSignals(M* m);
  [[gnu::noinline, gnu::cold]] void readMask(M* m, G* g);
  [[gnu::noinline]] void leaveRequested(M* m);
  void lookAtSignals(G* g);

  // park.cc
  M* enter();
  M* enterSlow(M* m);
  void leave(M* m);
  [[gnu::noinline]] void standStill(M* m, void* context);
  void switchToG0(M* m, void (*left)(M*, G*));
  void readyOn(M* m, G* g);
  void ready(G* g);
  M* enterLot();
  uint32_t readyAll(M* m, Waiter* list);
  static void leftParked(M* m, G* g);
  static void leftYield(M* m, G* g);
  static void leftToGlobal(M* m, G* g);
  static void leftDead(M* m, G* g);
  static void waitTimedOut(M* m, Timer* t, uint64_t ticket);
  static void sleepOver(M* m, Timer* t, uint64_t ticket);

  // sched.cc
  static void gMain(void* g);
  G* getG(M* m, const Spawn& what);
  void putDead(M* m, G* g);
  M* makeM() GRAFT_REQUIRES(mu_);
  size_t machineBytes() const;
  bool mapM(M* m);
  bool startThread(M* m);
  static void mainG0(void* m);
  static void mMain(void* m);

  // schedule.cc
  [[noreturn]] void loop(M* m);
  void show(uintptr_t fs, M* m, G* g);
  void execute(M* m, G* g, bool inherited);
  G* findRunnable(M* m, bool& inherited);
  G* findLocal(M* m, bool& inherited);
  static void afterSwitch(M* m);
  bool giveUpP(M* m, G*& g);
  G* getGlobal(M* m, size_t most) GRAFT_REQUIRES(mu_);
  G* stealWork(M* m);
  bool lookAgain(M* m);
  void put(M* m, G* g, bool next);
  [[gnu::noinline]] void putRing(RunQ& q, G* g);
  void resetSpinning(M* m);

  // wake.cc
  void wakep(bool barrier);
  void startM(P* p, bool spinning);
  void stopM(M* m);
  void unparkM(M* m, uint32_t why);
  void leaveParked(M* m);
  void waitForP(M* m);
  void acquireP(M* m, P* p);
  P* releaseP(M* m);
  P* idleGet() GRAFT_REQUIRES(mu_);
  void idlePut(P* p) GRAFT_REQUIRES(mu_);
  void handOffP(P* p);
  void stopLockedM(M* m);
  void startLockedM(M* m, G* g);

  // timers (timers.cc)
  bool addTimer(M* m, Timer* t, uint64_t when, uint64_t ticket, Timer::Fire fire);
  bool runTimers(M* m, P* p, bool always);
  uint64_t firstTimer();
  void noteTimer(uint64_t when);
  void pollTimers(M* m);

  // netready.cc
  bool readyNet(M* m);
  void readyNetFromSysmon();
  template <class F>
  void takeReady(const Netpoll::Events& events, F ready);
  template <class F>
  void takeWaitersOf(int fd, uint32_t which, F ready);
  template <class F>
  void takeWatchersOf(Netpoll::Slot* slot, int fd, uint32_t which, F ready);
  void netLost(GlobalQueue& out);
  void pollNet(GlobalQueue& out);
  void sleepInNet(M* m, uint64_t timeout_ns, uint64_t& nap_ns);

  M* mOfThread();
  // late.cc
  bool interruptedRuntime();
  void wakeLater(const void* addr);
  void wakeLate();
  // look.cc
  Look lookSaved(G* g, LookFn copy, void* arg);
  Look lookRunning(G* g, LookFn copy, void* arg);
  void answer(M* m, void* ucontext);
  // handoff.cc, sysmon.cc, deadlock.cc, world.cc
  bool takeFromUser(P* p, OwnerValue seen, base::Atomic<uint64_t>& count);
  bool retake(P* p, OwnerValue seen);
  bool isDead() GRAFT_REQUIRES(mu_);
  void returnFromCall(M* m);
  bool becomeStopper();
  bool stoppedOrSignalled(M& m, uint32_t epoch, bool signal);

  Config config_ = noConfig();
  uint32_t procs_ = 0;
  P* ps_ = nullptr;
  base::Atomic<uint32_t> on_{0};
  Pool<G, kMaxGs> gs_;
  Pool<M, kMaxMs> ms_;  // at(i) has index i + 1
  Pool<P, kMaxProcs> pool_p_;
  WakeState<base::RealAtom> wake_;
  ParkingLot lot_;
  Netpoll net_;
  void likeTheProcess(M* m);
  uint64_t cpus_[16] = {};  // the affinity mask at the start
  base::Atomic<uint32_t> changed_{0};  // some M was changed
  uint64_t canary_[2] = {};  // kStackGuard and kPointerGuard, equal in all threads
  uintptr_t main_sp_ = 0;  // where the first G's stack was at the start
  base::Atomic<const void*> late_[kLateWakes];  // addresses to wake; null: free
  base::Atomic<uint32_t> late_count_{0};

  os::Mutex mu_;
  GlobalQueue globq_;  // Guarded by mu_, but for empty().
  P* idle_ps_ GRAFT_GUARDED_BY(mu_) = nullptr;
  M* idle_ms_ GRAFT_GUARDED_BY(mu_) = nullptr;
  M* free_ms_ GRAFT_GUARDED_BY(mu_) = nullptr;  // made, but the kernel refused the thread
  M* poller_ GRAFT_GUARDED_BY(mu_) = nullptr;  // sleeps until the first timer
  G* dead_gs_ GRAFT_GUARDED_BY(mu_) = nullptr;
  uint32_t dead_count_ GRAFT_GUARDED_BY(mu_) = 0;
  uint32_t parked_ GRAFT_GUARDED_BY(mu_) = 0;
  uint32_t running_ms_ GRAFT_GUARDED_BY(mu_) = 0;  // Ms with a thread
  uint32_t gated_ GRAFT_GUARDED_BY(mu_) = 0;
  uint32_t unaware_ GRAFT_GUARDED_BY(mu_) = 0;

  // 0: no poller; 1: it is about to look at the timers; else when it wakes up [TIMER-A].
  base::Atomic<uint64_t> poll_until_{0};
  base::Atomic<uint32_t> poller_naps_{0};

  StopPoint<base::RealAtom>::Epoch epoch_{0};  // odd: stopped; written under mu_; a futex word
  base::Atomic<uint32_t> stopper_{0};  // somebody stops the world
  base::Atomic<uint32_t> acks_{0};  // moves with every acknowledgement; a futex word

  base::Atomic<uint32_t> sysmon_waits_{0};
  base::Atomic<uint32_t> sysmon_word_{0};
  base::Atomic<uint64_t> retakes_{0}, handoffs_{0}, next_id_{0};
  os::HelperThread sysmon_thread_{};

  struct Ask {  // look.cc
    base::Atomic<uint32_t> state{0};  // a futex word
    uint32_t tid = 0;
    G* g = nullptr;
    Registers regs{};
  } ask_;
};

void sendToProcess(int signal, void* info);

inline void noStep() { base::compilerBarrier(); }

}  // namespace graft::sched
