// What happens around the kernel: timers and timed waits, calls that block knowingly and unseen,
// wiring, the deadlock report, and the stopped world.
#include <pthread.h>

#include "tests/unit/sched/in_process.h"

namespace graft::sched {

struct SchedPeer {
  static P& p(size_t i) { return s.ps_[i]; }
};

namespace {

constexpr uint64_t kMs = 1'000'000;

void sleepRaw(uint64_t ns) {
  timespec ts{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  os::sys(SYS_nanosleep, os::arg(&ts), 0);
}

void spinFor(uint64_t ns) {
  for (uint64_t end = os::nowNs() + ns; os::nowNs() < end;) base::cpuRelax();
}

class Kernel : public testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Sched, Kernel, testing::Values(1u, 2u));

TEST_P(Kernel, SleepersWakeInOrderOfTime) {
  inChild(GetParam(), [] {
    static Count done;
    static base::Atomic<uint32_t> next{0};
    static uint32_t order[50];
    static uint64_t begin;
    begin = os::nowNs();
    for (uintptr_t i = 0; i < 50; i++) {
      go(
          [](void* arg) {
            // Gs 20 ms apart in shuffled order.
            uint64_t slot = reinterpret_cast<uintptr_t>(arg) * 17 % 50;
            uint64_t until = begin + 50 * kMs + slot * 4 * kMs;
            s.sleepUntil(until);
            SCHED_CHECK(os::nowNs() >= until);
            order[next.fetchAddRelaxed(1)] = static_cast<uint32_t>(slot);
            done.add();
          },
          reinterpret_cast<void*>(i));
    }
    done.waitFor(50);
    // Two Ms may overtake each other; one that the kernel stops for long costs one place, not all
    // that follow. By chance half would be out of order.
    uint32_t out_of_order = 0;
    for (uint32_t i = 1; i < 50; i++) out_of_order += order[i] < order[i - 1];
    SCHED_CHECK(out_of_order < 12);
  });
}

TEST_P(Kernel, TimedWaitsEndByTimeOrByWake) {
  inChild(GetParam(), [] {
    static uint32_t word = 0;
    SCHED_CHECK(s.wait(&word, 1) == WaitResult::kMismatch);
    uint64_t until = os::nowNs() + 5 * kMs;
    SCHED_CHECK(s.wait(&word, 0, until) == WaitResult::kTimedOut);
    SCHED_CHECK(os::nowNs() >= until);
    SCHED_CHECK(s.wait(&word, 0, 1) == WaitResult::kTimedOut);
    go(
        [](void*) {
          while (s.wake(&word, 1) == 0) s.yield();
        },
        nullptr);
    SCHED_CHECK(s.wait(&word, 0, os::nowNs() + 50'000 * kMs) == WaitResult::kWoken);
    // Cancelled timers pile up and are cleaned away.
    go(
        [](void*) {
          for (int i = 0; i < 5000; i++) {
            while (s.wake(&word, 1) == 0) s.yield();
          }
        },
        nullptr);
    for (int i = 0; i < 5000; i++) {
      SCHED_CHECK(s.wait(&word, 0, os::nowNs() + 50'000 * kMs) == WaitResult::kWoken);
    }
    for (uint32_t i = 0; i < s.procs(); i++) {
      SCHED_CHECK(SchedPeer::p(i).timers.valid());
      SCHED_CHECK(SchedPeer::p(i).timers.size() < 1000);
    }
  });
}

TEST(Sched, BitsRequeueAndInterrupt) {
  inChild(2, [] {
    static uint32_t a = 0, b = 0;
    static Count done;
    static G* first;
    auto wait_a = [](void* bits) {
      s.wait(&a, 0, kNoDeadline, static_cast<uint32_t>(reinterpret_cast<uintptr_t>(bits)));
      done.add();
    };
    for (uintptr_t bits : {1, 2, 4}) {
      first = go(wait_a, reinterpret_cast<void*>(bits));
    }
    auto parked = [] {
      uint32_t n = 0;
      s.forEachG([&n](G& g) { n += g.state.look() == GState::kParked; });
      return n;
    };
    while (parked() != 3) s.yield();
    SCHED_CHECK(s.wake(&a, 10, 8) == 0);
    SCHED_CHECK(s.wake(&a, 10, 2) == 1);
    done.waitFor(1);
    uint32_t wrong = 5;
    SCHED_CHECK(s.requeue(&a, &wrong, &b, 0, 10) == -1);
    uint32_t right = 0;
    SCHED_CHECK(s.requeue(&a, &right, &b, 0, 10) == 2);
    SCHED_CHECK(s.wake(&a, 10) == 0);
    SCHED_CHECK(!s.interrupt(first, first->wait.ticket.loadRelaxed() + 1));
    SCHED_CHECK(s.interrupt(first, first->wait.ticket.loadRelaxed()));
    done.waitFor(2);
    SCHED_CHECK(first->wait.result == WaitResult::kInterrupted);
    SCHED_CHECK(s.wake(&b, 10) == 1);
    done.waitFor(3);
  });
}

// A call that blocks for as long as the test wants does not keep the only P.
TEST_P(Kernel, AKnownBlockingCallHandsThePOn) {
  inChild(GetParam(), [] {
    static int fds[2];
    static Count done;
    static char got;
    SCHED_CHECK(os::sys(SYS_pipe2, os::arg(fds), 0) == 0);
    go(
        [](void*) {
          long n = s.blocking(
              [](void* buf) { return os::sys(SYS_read, fds[0], reinterpret_cast<long>(buf), 1); },
              &got);
          SCHED_CHECK(n == 1 && got == 'x');
          done.add();
        },
        nullptr);
    while (s.counts().handoffs == 0) s.yield();
    for (int i = 0; i < 1000; i++) s.yield();
    SCHED_CHECK(os::sys(SYS_write, fds[1], os::arg("x"), 1) == 1);
    done.waitFor(1);
  });
}

// A call of user code's before which the only P was lent, with nobody who could take it.
TEST(Sched, AThreadThatLendsItsPSleepsInTheKernelWithoutIt) {
  Config c = testConfig(1);
  c.sysmon = false;
  inChild(c, [] {
    static int fds[2];
    static Count done;
    SCHED_CHECK(os::sys(SYS_pipe2, os::arg(fds), 0) == 0);
    for (int round = 0; round < 100; round++) {
      go(
          [](void*) {
            char got;
            s.lendP();
            SCHED_CHECK(os::sys(SYS_read, fds[0], os::arg(&got), 1) == 1);
            s.yield();  // here it needs one again
            done.add();
          },
          nullptr);
      s.yield();
      SCHED_CHECK(os::sys(SYS_write, fds[1], os::arg("x"), 1) == 1);
      done.waitFor(static_cast<uint32_t>(round) + 1);
    }
    SCHED_CHECK(s.counts().handoffs >= 100 && s.counts().retakes == 0 && s.valid());
  });
}

// The same call made behind graft's back: sysmon finds the M asleep and takes its P.
TEST_P(Kernel, SysmonTakesThePOfASleepingM) {
  inChild(GetParam(), [] {
    static int fds[2];
    static Count done, other;
    SCHED_CHECK(os::sys(SYS_pipe2, os::arg(fds), 0) == 0);
    // As many unseen sleepers as there are Ps; the main G is behind them.
    for (uint32_t i = 0; i < s.procs(); i++) {
      go(
          [](void*) {
            char c;
            SCHED_CHECK(os::sys(SYS_read, fds[0], os::arg(&c), 1) == 1);
            done.add();
          },
          nullptr);
    }
    go([](void*) { other.add(); }, nullptr);
    s.yield();
    other.waitFor(1);
    // With one P only a retake leads here; with two this G runs beside a sleeper, which loses its
    // P, too. Then the sleepers come back, unaware.
    while (s.counts().retakes == 0) s.yield();
    SCHED_CHECK(os::sys(SYS_write, fds[1], os::arg("xxxx"), s.procs()) == s.procs());
    done.waitFor(s.procs());
  });
}

TEST(Sched, SysmonTakesThePOfAGThatRunsOnAndOn) {
  inChild(1, [] {
    static uint32_t stop = 0;
    static Count done;
    go(
        [](void*) {
          while (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) == 0) base::cpuRelax();
          done.add();
        },
        nullptr);
    s.yield();
    // With one P this line is reached only because the spinning G lost it.
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    done.waitFor(1);
    SCHED_CHECK(s.counts().retakes >= 1);
  });
}

// The mcache stays with the M that lost its P; nobody else gets it before that M is back.
TEST(Sched, TheMcacheStaysWithTheMThatLostItsP) {
  static uint32_t made, given;
  Config c = testConfig(1);
  c.hooks.takeCache = [] {
    return reinterpret_cast<heap::MCache*>(
        uintptr_t{__atomic_add_fetch(&made, 1, __ATOMIC_SEQ_CST)});
  };
  c.hooks.giveCache = [](heap::MCache*) { __atomic_fetch_add(&given, 1, __ATOMIC_SEQ_CST); };
  inChild(c, [] {
    static uint32_t stop = 0;
    static Count done;
    SCHED_CHECK(made == 1);
    go(
        [](void*) {
          heap::MCache* mine = slotAt(os::threadPointer()).heap.own;
          while (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) == 0) {
            SCHED_CHECK(slotAt(os::threadPointer()).heap.own == mine);
          }
          s.yield();  // here it learns that its P is gone
          done.add();
        },
        nullptr);
    s.yield();
    SCHED_CHECK(made == 2 && given == 0);
    SCHED_CHECK(slotAt(os::threadPointer()).heap.own ==
                reinterpret_cast<heap::MCache*>(uintptr_t{2}));
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    done.waitFor(1);
    SCHED_CHECK(given == 1);
  });
}

// As a program that computes and now and then unlocks, posts or handles a signal: entering the
// runtime is no new time slice.
TEST_P(Kernel, BusyGsThatEnterTheRuntimeLetOthersRun) {
  inChild(GetParam(), [] {
    static uint32_t stop = 0;
    static Count done;
    for (uint32_t i = 0; i < 2 * s.procs(); i++) {
      go(
          [](void*) {
            while (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) == 0) {
              s.lockThread();  // in and out
              s.unlockThread();
            }
            done.add();
          },
          nullptr);
    }
    for (int turns = 0; turns < 20; turns++) s.sleepUntil(os::nowNs() + kMs);
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    done.waitFor(2 * s.procs());
  });
}

TEST_P(Kernel, AWiredGStaysOnItsM) {
  inChild(GetParam(), [] {
    static Count done;
    for (int i = 0; i < 4; i++) {
      go(
          [](void*) {
            s.lockThread();
            int tid = os::gettid();
            for (int k = 0; k < 300; k++) {
              s.yield();
              SCHED_CHECK(os::gettid() == tid);
              if (k % 100 == 0) s.sleepUntil(os::nowNs() + kMs);
              SCHED_CHECK(os::gettid() == tid);
            }
            if (tid % 2 == 0) s.unlockThread();
            done.add();
          },
          nullptr);
    }
    done.waitFor(4);
  });
}

TEST_P(Kernel, WhenNothingCanRunItIsReported) {
  Config c = testConfig(GetParam());
  c.hooks.deadlock = [](Sched&) { os::sys(SYS_exit_group, 0); };
  inChild(c, [] {
    static uint32_t word = 0;
    for (int i = 0; i < 3; i++) {
      go([](void*) { s.wait(&word, 0); }, nullptr);
    }
    s.sleepUntil(os::nowNs() + 2 * kMs);  // a timer is no deadlock
    s.wait(&word, 0);
    os::sys(SYS_exit_group, 9);
  });
}

// Gs of every kind count up; while the world is stopped no count moves.
TEST_P(Kernel, NothingMovesInAStoppedWorld) {
  inChild(GetParam(), [] {
    struct alignas(64) Counter {
      uint64_t n;
    };
    static Counter counters[6];
    static uint32_t stop = 0;
    static Count done;
    static Sem sem[2];
    using Body = void (*)(void*);
    Body bodies[] = {[](void*) {  // pure user code: soon unaware
                       while (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) == 0) {
                         __atomic_fetch_add(&counters[0].n, 1, __ATOMIC_RELAXED);
                       }
                       done.add();
                     },
                     [](void*) {
                       while (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) == 0) {
                         __atomic_fetch_add(&counters[1].n, 1, __ATOMIC_RELAXED);
                         s.yield();
                       }
                       done.add();
                     },
                     [](void*) {
                       while (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) == 0) {
                         __atomic_fetch_add(&counters[2].n, 1, __ATOMIC_RELAXED);
                         sem[0].post();
                         sem[1].wait();
                       }
                       sem[0].post();
                       done.add();
                     },
                     [](void*) {
                       while (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) == 0) {
                         __atomic_fetch_add(&counters[3].n, 1, __ATOMIC_RELAXED);
                         sem[0].wait();
                         sem[1].post();
                       }
                       sem[1].post();
                       done.add();
                     },
                     [](void*) {
                       while (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) == 0) {
                         __atomic_fetch_add(&counters[4].n, 1, __ATOMIC_RELAXED);
                         s.blocking(
                             [](void*) {
                               sleepRaw(100'000);
                               return 0L;
                             },
                             nullptr);
                       }
                       done.add();
                     },
                     [](void*) {
                       while (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) == 0) {
                         __atomic_fetch_add(&counters[5].n, 1, __ATOMIC_RELAXED);
                         s.sleepUntil(os::nowNs() + kMs / 2);
                       }
                       done.add();
                     }};
    for (Body b : bodies) go(b, nullptr);
    auto sum = [] {
      uint64_t n = 0;
      for (Counter& c : counters) n += __atomic_load_n(&c.n, __ATOMIC_RELAXED);
      return n;
    };
    uint64_t moved = 0, last = 0;
    for (int i = 0; i < 60; i++) {
      SCHED_CHECK(s.stopWorld(20'000 * kMs));
      uint64_t before = sum();
      moved += before != last;
      spinFor(kMs / 2);
      SCHED_CHECK(sum() == before);
      last = before;
      s.startWorld();
      s.sleepUntil(os::nowNs() + kMs);
    }
    SCHED_CHECK(moved > 30);
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    done.waitFor(6);
  });
}

// Threads that are no M wake Gs and stop the world.
TEST(Sched, ForeignThreads) {
  inChild(2, [] {
    static uint32_t word = 0;
    pthread_t t;
    SCHED_CHECK(pthread_create(
                    &t, nullptr,
                    [](void*) -> void* {
                      SCHED_CHECK(currentM() == nullptr);
                      for (int i = 0; i < 2000; i++) {
                        while (s.wake(&word, 1) == 0) base::cpuRelax();
                        if (i % 100 == 0) {
                          SCHED_CHECK(s.stopWorld(20'000 * kMs));
                          s.startWorld();
                        }
                      }
                      return nullptr;
                    },
                    nullptr) == 0);
    for (int i = 0; i < 2000; i++) SCHED_CHECK(s.wait(&word, 0) == WaitResult::kWoken);
    pthread_join(t, nullptr);
  });
}

}  // namespace
}  // namespace graft::sched
