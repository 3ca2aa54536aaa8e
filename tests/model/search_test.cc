// Proves the search of the interleaving checker: exact schedule counts, the preemption bound,
// replay, and random programs whose outcomes must be the same with and without reduction. The last
// is what showed each mistake in the reduction while it was written; run more rounds after changing
// it.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/model/checker.h"

namespace graft::model {
namespace {

// --- The search ----------------------------------------------------------------------------------

// `threads` threads of `steps` increments each, of one counter or of one each.
Result increments(int threads, int steps, bool shared, Options options) {
  struct State {
    Atomic<int> n[kMaxThreads];
  };
  return explore(options, [=](model::Run& run) {
    auto s = std::make_shared<State>();
    for (int t = 0; t < threads; t++) {
      run.thread(std::to_string(t), [=] {
        for (int i = 0; i < steps; i++) s->n[shared ? 0 : t].fetchAddRelaxed(1);
      });
    }
    run.finally([=] { MODEL_ASSERT(s->n[0].loadRelaxed() == (shared ? threads : 1) * steps); });
  });
}

TEST(Search, CountsAreExact) {
  EXPECT_EQ(increments(2, 2, false, {.reduce = false}).schedules(), 6u);  // 4! / 2!2!
  EXPECT_EQ(increments(2, 3, false, {.reduce = false}).schedules(), 20u);  // 6! / 3!3!
  EXPECT_EQ(increments(3, 2, false, {.reduce = false}).schedules(), 90u);  // 6! / 2!2!2!
  EXPECT_EQ(increments(3, 3, true, {.reduce = false}).schedules(), 1680u);  // 9! / 3!3!3!
  EXPECT_EQ(increments(3, 3, true, {}).schedules(), 1680u);  // all dependent: no reduction
  EXPECT_EQ(increments(3, 3, false, {}).schedules(), 1u);  // all independent: one is enough
  EXPECT_EQ(increments(8, 1, true, {}).schedules(), 40320u);
  EXPECT_EQ(increments(3, 3, false, {}).steps(), 9u);
}

TEST(Search, PreemptionBound) {
  // Two threads of n steps: with no preemption 2 orders, with one 2 + 2 * (n - 1).
  EXPECT_EQ(increments(2, 4, true, {.preemptions = 0}).schedules(), 2u);
  EXPECT_EQ(increments(2, 4, true, {.preemptions = 1}).schedules(), 8u);
  EXPECT_EQ(increments(2, 4, true, {.preemptions = 8}).schedules(), 70u);  // 8! / 4!4!
  uint64_t before = 0;
  for (int bound = 0; bound <= 7; bound++) {
    Result r = increments(2, 4, true, {.preemptions = bound});
    EXPECT_TRUE(r.ok());
    if (bound < 7) {
      EXPECT_GT(r.schedules(), before);
    } else {
      EXPECT_EQ(r.schedules(), 70u);
    }
    before = r.schedules();
  }
  // Seeing both values takes two preemptions: of the writer and of the reader.
  auto bothSeen = [](int bound) {
    struct State {
      Atomic<int> x;
      int a = 0, b = 0;
    };
    return explore({.preemptions = bound, .store_buffers = false}, [](model::Run& run) {
      auto s = std::make_shared<State>();
      run.thread("W", [=] {
        s->x.storeRelaxed(1);
        s->x.storeRelaxed(2);
      });
      run.thread("R", [=] {
        s->a = s->x.loadRelaxed();
        s->b = s->x.loadRelaxed();
      });
      run.finally([=] { MODEL_ASSERT(!(s->a == 1 && s->b == 2)); });
    });
  };
  EXPECT_TRUE(bothSeen(0).ok());
  EXPECT_TRUE(bothSeen(1).ok());
  EXPECT_TRUE(bothSeen(2).failed());
}

TEST(Search, StopsAtMaxSchedulesWithoutClaimingSuccess) {
  Result r = increments(3, 3, true, {.max_schedules = 100});
  EXPECT_FALSE(r.ok());
  EXPECT_FALSE(r.failed());
  EXPECT_FALSE(r.complete());
  EXPECT_EQ(r.schedules(), 100u);
}

TEST(Search, NoticesScenariosThatAreNotDeterministic) {
  int calls = 0;
  Result r = explore({.reduce = false}, [&](model::Run& run) {
    auto x = std::make_shared<Atomic<int>>(0);
    bool odd = calls++ % 2 != 0;
    run.thread("A", [=] { x->fetchAddRelaxed(1); });
    run.thread("B", [=] {
      x->fetchAddRelaxed(1);
      if (!odd) x->fetchAddRelaxed(1);
    });
    if (odd) run.thread("C", [=] { x->fetchAddRelaxed(1); });
  });
  EXPECT_NE(r.failure().find("not deterministic"), std::string::npos) << r.trace();
}

// Schedules that are cut short unwind their threads: nothing is left behind.
TEST(Search, LeavesNothingBehind) {
  static int alive;
  struct State {
    State() { alive++; }
    ~State() { alive--; }
    Atomic<int> x, y;
    ModelMutex mu;
  };
  alive = 0;
  for (bool fault : {false, true}) {
    Result r = explore({}, [fault](model::Run& run) {
      auto s = std::make_shared<State>();
      for (const char* name : {"A", "B", "C"}) {
        run.thread(name, [=] {
          ModelLock l(s->mu);
          auto local = std::make_unique<State>();
          local->x.storeRelease(s->x.loadAcquire());
          s->x.fetchAddRelaxed(1);
          s->y.storeRelaxed(local->x.loadRelaxed());
          MODEL_ASSERT(!fault || s->y.loadRelaxed() < 2);
        });
      }
    });
    EXPECT_EQ(r.failed(), fault);
    EXPECT_EQ(alive, 0);
  }
}

// --- Reduction against exhaustion ----------------------------------------------------------------

enum class Do {
  kLoad,
  kStore,
  kStoreSeqCst,
  kAdd,
  kCas,
  kFence,
  kLockedAdd,
  kTryLock,
  kSpin,
  kWait
};

struct Step {
  Do what;
  int var, value;
};
using Program = std::vector<std::vector<Step>>;

struct Outcomes {
  Result result;
  std::set<std::string> seen;
};

Outcomes outcomes(const Program& program, Options options) {
  struct State {
    Atomic<int> v[2];
    ModelMutex mu;
    std::string log[3];
  };
  Outcomes o;
  o.result = explore(options, [&](model::Run& run) {
    auto s = std::make_shared<State>();
    for (size_t t = 0; t < program.size(); t++) {
      run.thread(std::to_string(t), [=, &program] {
        std::string& log = s->log[t];
        for (const Step& step : program[t]) {
          Atomic<int>& v = s->v[step.var];
          int expected = step.value - 1;
          switch (step.what) {
            case Do::kLoad: log += std::to_string(v.loadAcquire()); break;
            case Do::kStore: v.storeRelease(step.value); break;
            case Do::kStoreSeqCst: v.storeSeqCst(step.value); break;
            case Do::kAdd: log += std::to_string(v.fetchAddAcqRel(1)); break;
            case Do::kCas: log += v.casAcqRel(expected, step.value) ? "t" : "f"; break;
            case Do::kFence: ModelAtom::fenceSeqCst(); break;
            case Do::kLockedAdd:
              s->mu.lock();
              v.storeRelaxed(v.loadRelaxed() + 1);
              s->mu.unlock();
              break;
            case Do::kTryLock:
              log += s->mu.tryLock() ? "T" : "F";
              if (log.back() == 'T') s->mu.unlock();
              break;
            case Do::kSpin:
              while (v.loadAcquire() == 0) ModelAtom::cpuRelax();
              break;
            case Do::kWait:
              waitUntil([&] { return s->v[0].loadAcquire() + s->v[1].loadAcquire() != 0; });
              break;
          }
        }
      });
    }
    run.finally([=, &o] {
      o.seen.insert(s->log[0] + "/" + s->log[1] + "/" + s->log[2] + "/" +
                    std::to_string(s->v[0].loadRelaxed()) + std::to_string(s->v[1].loadRelaxed()));
    });
  });
  return o;
}

// Each lost an outcome in an earlier version of the reduction: by taking any process on the way to
// a race for one that can begin the reversed schedule, and by looking for races too early.
TEST(Reduction, ProgramsThatOnceLostOutcomes) {
  const Program programs[] = {
      {{{Do::kLockedAdd, 1, 2}, {Do::kStoreSeqCst, 0, 2}, {Do::kStore, 0, 2}},
       {{Do::kLoad, 1, 2}},
       {{Do::kLockedAdd, 1, 1}, {Do::kStoreSeqCst, 1, 2}}},
      {{{Do::kLoad, 0, 1}, {Do::kStoreSeqCst, 0, 2}},
       {{Do::kLockedAdd, 0, 2}, {Do::kLockedAdd, 1, 2}},
       {{Do::kLoad, 0, 1}, {Do::kFence, 1, 2}, {Do::kTryLock, 0, 1}}},
  };
  for (const Program& program : programs) {
    for (bool store_buffers : {false, true}) {
      Outcomes full = outcomes(program, {.store_buffers = store_buffers, .reduce = false});
      Outcomes reduced = outcomes(program, {.store_buffers = store_buffers});
      EXPECT_TRUE(full.result.ok() && reduced.result.ok());
      EXPECT_EQ(full.seen, reduced.seen);
    }
  }
}

// The reduced searches must reach every outcome that the full one reaches, and no other.
TEST(Reduction, SameOutcomesAsExhaustion) {
  std::mt19937 random(1);
  auto below = [&](unsigned n) { return static_cast<int>(random() % n); };
  uint64_t full_schedules = 0, reduced_schedules = 0;
  int compared = 0, deadlocks = 0;
  for (int round = 0; round < 400; round++) {
    Program program(2 + below(2));
    size_t most = program.size() == 2 ? 6 : 3;
    for (auto& thread : program) {
      for (size_t i = 1 + random() % most; i > 0; i--) {
        thread.push_back({static_cast<Do>(below(10)), below(2), 1 + below(2)});
      }
    }
    Options base{.store_buffers = below(4) != 0, .quiet = true};
    Options full = base, bounded = base;
    full.reduce = false;
    full.max_schedules = 10'000;
    bounded.preemptions = 100;
    Outcomes f = outcomes(program, full);
    if (!f.result.failed() && !f.result.complete()) continue;
    Outcomes r = outcomes(program, base), b = outcomes(program, bounded);
    compared++;
    deadlocks += f.result.failed();
    ASSERT_EQ(f.result.failed(), r.result.failed()) << "round " << round << f.result.trace();
    ASSERT_EQ(f.result.failed(), b.result.failed()) << "round " << round << f.result.trace();
    if (f.result.failed()) continue;
    ASSERT_EQ(f.seen, r.seen) << "round " << round;
    ASSERT_EQ(f.seen, b.seen) << "round " << round;
    full_schedules += f.result.schedules();
    reduced_schedules += r.result.schedules();
  }
  printf("[  model   ] %d programs, %d deadlock, %lu schedules against %lu reduced\n", compared,
         deadlocks, static_cast<unsigned long>(full_schedules),
         static_cast<unsigned long>(reduced_schedules));
  EXPECT_GE(compared, 250);
  EXPECT_GE(deadlocks, 10);
  EXPECT_LT(reduced_schedules * 2, full_schedules);
}

}  // namespace
}  // namespace graft::model
