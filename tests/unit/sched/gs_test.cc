// Gs begin, hand over to each other and end: spawn and join, ping-pong, a ring, yields, stealing,
// and a hundred thousand parked ones; with one P and with two.
#include "tests/unit/sched/in_process.h"

namespace graft::sched {
namespace {

struct Job {
  uint32_t value = 0;
  Count done;
};

void setValue(void* arg) {
  Job* j = static_cast<Job*>(arg);
  j->value = 7;
  j->done.add();
}

class Procs : public testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Sched, Procs, testing::Values(1u, 2u, 4u));

TEST_P(Procs, SpawnAndJoin) {
  inChild(GetParam(), [] {
    for (int i = 0; i < 20000; i++) {
      Job j;
      SCHED_CHECK(go(setValue, &j) != nullptr);
      j.done.waitFor(1);
      SCHED_CHECK(j.value == 7);
    }
    // Dead Gs are used again.
    SCHED_CHECK(s.counts().gs < 300);
  });
}

TEST_P(Procs, ManyAtOnceOverflowTheLocalQueue) {
  inChild(GetParam(), [] {
    static Count done;
    for (int round = 0; round < 5; round++) {
      for (uint32_t i = 0; i < 3000; i++) {
        SCHED_CHECK(go([](void*) { done.add(); }, nullptr) != nullptr);
      }
      done.waitFor(3000 * (static_cast<uint32_t>(round) + 1));
      SCHED_CHECK(done.get() == 3000 * (static_cast<uint32_t>(round) + 1));
    }
    // Most gave their stacks back; they are used again all the same.
    SCHED_CHECK(s.counts().gs < 3500);
  });
}

TEST_P(Procs, PingPong) {
  inChild(GetParam(), [] {
    static Sem a, b;
    static Count done;
    static uint32_t turns = 0;
    go(
        [](void*) {
          for (int i = 0; i < 50000; i++) {
            a.wait();
            SCHED_CHECK(turns++ % 2 == 0);
            b.post();
          }
          done.add();
        },
        nullptr);
    for (int i = 0; i < 50000; i++) {
      a.post();
      b.wait();
      SCHED_CHECK(turns++ % 2 == 1);
    }
    done.waitFor(1);
  });
}

TEST_P(Procs, Ring) {
  inChild(GetParam(), [] {
    constexpr uint32_t kGs = 100, kRounds = 200;
    struct Node {
      Sem in;
      Node* next;
      uint32_t passed = 0;
    };
    static Node ring[kGs];
    static Count done;
    for (uint32_t i = 0; i < kGs; i++) ring[i].next = &ring[(i + 1) % kGs];
    for (Node& n : ring) {
      go(
          [](void* arg) {
            Node* node = static_cast<Node*>(arg);
            for (uint32_t i = 0; i < kRounds; i++) {
              node->in.wait();
              node->passed++;
              node->next->in.post();
            }
            done.add();
          },
          &n);
    }
    ring[0].in.post();
    done.waitFor(kGs);
    for (Node& n : ring) SCHED_CHECK(n.passed == kRounds);
  });
}

TEST_P(Procs, YieldLetsOthersRun) {
  inChild(GetParam(), [] {
    static uint32_t flag = 0;
    static Count done;
    go(
        [](void*) {
          // Spins on what only the other G can change; with one P it needs the yield.
          while (__atomic_load_n(&flag, __ATOMIC_ACQUIRE) == 0) s.yield();
          done.add();
        },
        nullptr);
    for (int i = 0; i < 1000; i++) s.yield();
    __atomic_store_n(&flag, 1, __ATOMIC_RELEASE);
    done.waitFor(1);
  });
}

// Two Gs that only wake each other share one time slice; the others on their P get theirs.
TEST(Sched, APairThatHandsOverStarvesNobody) {
  inChild(1, [] {
    static Sem a, b;
    static Count others, done;
    static uint32_t stop = 0;
    go(
        [](void*) {
          while (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) == 0) {
            a.wait();
            b.post();
          }
          done.add();
        },
        nullptr);
    go(
        [](void*) {
          for (int i = 0; i < 10; i++) s.yield();
          others.add();
        },
        nullptr);
    uint32_t turns = 0;
    for (; turns < 1000000 && others.get() == 0; turns++) {
      a.post();
      b.wait();
    }
    SCHED_CHECK(turns < 10000);
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    a.post();
    done.waitFor(1);
  });
}

// A G that computes and never enters the runtime does not keep those behind it from other Ps.
TEST(Sched, WorkIsStolen) {
  inChild(2, [] {
    static uint32_t stop = 0;
    static Count done;
    go(
        [](void*) {
          for (int i = 0; i < 100; i++) go([](void*) { done.add(); }, nullptr);
          while (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) == 0) base::cpuRelax();
          done.add();
        },
        nullptr);
    done.waitFor(100);
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    done.waitFor(101);
  });
}

TEST(Sched, ControlWordsAndRegistersAreTheGsOwn) {
  inChild(2, [] {
    static Count done;
    for (uint32_t i = 0; i < 8; i++) {
      go(
          [](void* arg) {
            uint32_t mode = (static_cast<uint32_t>(reinterpret_cast<uintptr_t>(arg)) & 3) << 13;
            uint32_t want = 0x1f80 | mode;
            asm volatile("ldmxcsr %0" : : "m"(want));
            for (int k = 0; k < 2000; k++) {
              s.yield();
              uint32_t have;
              asm volatile("stmxcsr %0" : "=m"(have));
              SCHED_CHECK((have & 0x6000) == mode);
            }
            done.add();
          },
          reinterpret_cast<void*>(uintptr_t{i}));
    }
    done.waitFor(8);
  });
}

TEST(Sched, AHundredThousandParkedGs) {
  inChild(2, [] {
    constexpr uint32_t kGs = 100000;
    static Count parked, done;
    static uint32_t gate = 0;
    uint64_t begin = os::nowNs();
    for (uint32_t i = 0; i < kGs; i++) {
      G* g = go(
          [](void*) {
            parked.add();
            while (__atomic_load_n(&gate, __ATOMIC_ACQUIRE) == 0) s.wait(&gate, 0);
            done.add();
          },
          nullptr);
      SCHED_CHECK(g != nullptr);
    }
    parked.waitFor(kGs);
    uint64_t middle = os::nowNs();
    __atomic_store_n(&gate, 1, __ATOMIC_RELEASE);
    s.wake(&gate, ~0u);
    done.waitFor(kGs);
    printf("100,000 Gs: %.2f s until parked, %.2f s to the end\n",
           static_cast<double>(middle - begin) / 1e9,
           static_cast<double>(os::nowNs() - begin) / 1e9);
    fflush(stdout);
  });
}

}  // namespace
}  // namespace graft::sched
