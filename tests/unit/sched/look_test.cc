// A look at Gs from a thread that is no M: parked, queued, asleep in the kernel and computing ones
// have the registers that lead back to their own stack, dead ones none; what moves meanwhile is not
// reported as seen. And the lines about the scheduler.
#include <pthread.h>

#include <regex>
#include <string>

#include "core/os/message.h"
#include "core/os/peek.h"
#include "tests/unit/sched/in_process.h"

namespace graft::sched {
namespace {

constexpr int kLookSignal = 45;

void onLookSignal(int, siginfo_t*, void* context) { s.onKick(context); }

Config lookConfig(uint32_t procs) {
  struct sigaction act = {};
  act.sa_sigaction = onLookSignal;
  act.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(kLookSignal, &act, nullptr);
  Config c = testConfig(procs);
  c.look_signal = kLookSignal;
  c.open_signals = signalBit(kLookSignal);
  c.times = true;
  return c;
}

// Runs fn on a plain thread while this G sleeps between looks at whether it is done.
void onForeignThread(void* (*fn)(void*)) {
  static uint32_t done;
  static void* (*body)(void*);
  body = fn;
  __atomic_store_n(&done, 0, __ATOMIC_SEQ_CST);
  pthread_t t;
  SCHED_CHECK(pthread_create(
                  &t, nullptr,
                  [](void*) -> void* {
                    body(nullptr);
                    __atomic_store_n(&done, 1, __ATOMIC_SEQ_CST);
                    return nullptr;
                  },
                  nullptr) == 0);
  while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) == 0) s.sleepUntil(os::nowNs() + 1'000'000);
}

struct Seen {
  G* g;
  Registers regs;
  uint32_t copies;
};

Look look(G* g, Seen& seen) {
  seen = {g, {}, 0};
  Look how = Look::kBusy;
  for (int i = 0; i < 2000 && how == Look::kBusy; i++) {
    if (i != 0) usleep(1000);
    how = s.look(
        g,
        [](void* arg, const Registers& regs) {
          auto& to = *static_cast<Seen*>(arg);
          to.regs = regs;
          to.copies++;
        },
        &seen);
  }
  return how;
}

bool onOwnStack(const Seen& seen) {
  uint64_t low = reinterpret_cast<uint64_t>(seen.g->stack.low);
  uint64_t sp = seen.regs.value[Registers::kRsp];
  return sp >= low && sp < low + seen.g->stack.size;
}

uint32_t word = 0, stop = 0;
G* parked;
G* in_kernel;
G* computing;
G* dead;

class LookAt : public testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Sched, LookAt, testing::Values(1u, 2u));

TEST_P(LookAt, EachStateHasItsRegisters) {
  inChild(lookConfig(GetParam()), [] {
    parked = go([](void*) { s.wait(&word, 0); }, nullptr);
    in_kernel = go(
        [](void*) {
          timespec ts{1000, 0};
          os::sys(SYS_nanosleep, os::arg(&ts), 0);
        },
        nullptr);
    computing = go(
        [](void*) {
          while (__atomic_load_n(&stop, __ATOMIC_SEQ_CST) == 0) base::cpuRelax();
        },
        nullptr);
    dead = go([](void*) {}, nullptr);
    s.sleepUntil(os::nowNs() + 50'000'000);
    onForeignThread([](void*) -> void* {
      Seen seen;
      constexpr uint32_t kPreserved = 1u << 3 | 1u << 6 | 1u << 7 | 0xfu << 12 | 1u << 16;
      SCHED_CHECK(look(parked, seen) == Look::kSaved);
      SCHED_CHECK(onOwnStack(seen) && seen.regs.known == kPreserved && seen.copies == 1);
      uint64_t return_to = 0;
      uint64_t sp = seen.regs.value[Registers::kRsp];
      SCHED_CHECK(os::peek(sp - 8, &return_to, 8) == 8);
      SCHED_CHECK(return_to == seen.regs.value[Registers::kRip]);
      SCHED_CHECK(parked->since.loadRelaxed() != 0);
      SCHED_CHECK(look(in_kernel, seen) == Look::kInKernel);
      SCHED_CHECK(onOwnStack(seen) && seen.regs.known == (1u << 7 | 1u << 16));
      for (int i = 0; i < 100; i++) {
        SCHED_CHECK(look(computing, seen) == Look::kAnswered);
        SCHED_CHECK(onOwnStack(seen) && seen.regs.known == (1u << 17) - 1);
      }
      SCHED_CHECK(look(dead, seen) == Look::kGone && seen.copies == 0);
      return nullptr;
    });
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
  });
}

// Two Gs that never stay anywhere for long: every look that counts as one was of one instant, so
// the canary that lies right above the switch's frame is the G's own.
TEST_P(LookAt, WhatMovesIsLookedAtAgain) {
  inChild(lookConfig(GetParam()), [] {
    static Sem ping, pong;
    static G* both[2];
    both[0] = go(
        [](void*) {
          while (__atomic_load_n(&stop, __ATOMIC_SEQ_CST) == 0) {
            pong.post();
            ping.wait(os::nowNs() + 1'000'000);
          }
        },
        nullptr);
    both[1] = go(
        [](void*) {
          while (__atomic_load_n(&stop, __ATOMIC_SEQ_CST) == 0) {
            ping.post();
            pong.wait(os::nowNs() + 1'000'000);
          }
        },
        nullptr);
    onForeignThread([](void*) -> void* {
      uint32_t seen_some = 0;
      uint64_t until = os::nowNs() + 500'000'000;
      for (int i = 0; os::nowNs() < until; i++) {
        Seen seen;
        Look how = look(both[i % 2], seen);
        if (how == Look::kSaved || how == Look::kAnswered) {
          seen_some++;
          // An answer may come from a short stay in the kernel's clock; the stack is the G's.
          SCHED_CHECK(onOwnStack(seen));
        }
      }
      SCHED_CHECK(seen_some > 10);
      return nullptr;
    });
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
  });
}

TEST(Trace, LinesAreGosAndComeWhileEverythingSleeps) {
  std::string log = testing::TempDir() + "graft_trace_" + std::to_string(getpid());
  os::initMessages(log.c_str());
  Config c = testConfig(2);
  c.trace_ms = 20;
  inChild(c, [] { s.sleepUntil(os::nowNs() + 500'000'000); });
  os::initMessages("");
  FILE* f = fopen(log.c_str(), "r");
  ASSERT_NE(f, nullptr);
  std::regex format(
      "SCHED \\d+ms: gomaxprocs=2 idleprocs=[0-2] threads=\\d+ spinningthreads=\\d+ "
      "idlethreads=\\d+ runqueue=\\d+ \\[\\d+ \\d+\\]\n");
  char line[512];
  int lines = 0, idle = 0;
  while (fgets(line, sizeof line, f) != nullptr) {
    EXPECT_TRUE(std::regex_match(line, format)) << line;
    idle += std::string(line).find("idleprocs=2") != std::string::npos;
    lines++;
  }
  fclose(f);
  unlink(log.c_str());
  EXPECT_GE(lines, 3);
  EXPECT_GE(idle, 2);
}

}  // namespace
}  // namespace graft::sched
