// Tests of the futex mutex: exclusion, waiting and waking, tryLock, and the rule of fork: the owner
// of a fork passes through every lock, all others wait.
#include "core/os/mutex.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "core/os/thread.h"

namespace graft::os {
namespace {

using base::Atomic;
using std::chrono::milliseconds;

TEST(Mutex, OneAtATime) {
  Mutex mu;
  long counter = 0;  // not atomic on purpose
  int inside = 0, together = 0;
  constexpr int kThreads = 4, kRounds = 50'000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; t++) {
    threads.emplace_back([&] {
      for (int i = 0; i < kRounds; i++) {
        Lock lock(mu);
        together += inside++ != 0;
        counter++;
        inside--;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(counter, long{kThreads} * kRounds);
  EXPECT_EQ(together, 0);
}

TEST(Mutex, TryLockFailsWhileHeld) {
  Mutex mu;
  mu.lock();
  std::thread([&] { EXPECT_FALSE(mu.tryLock()); }).join();
  mu.unlock();
  std::thread([&] {
    EXPECT_TRUE(mu.tryLock());
    mu.unlock();
  }).join();
}

TEST(Mutex, EveryWaiterGetsItsTurn) {
  Mutex mu;
  std::atomic<int> got{0};
  mu.lock();
  std::vector<std::thread> waiters;
  for (int i = 0; i < 8; i++) {
    waiters.emplace_back([&] {
      Lock lock(mu);
      got++;
      std::this_thread::sleep_for(milliseconds(1));  // the others go to sleep again
    });
  }
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_EQ(got, 0);
  mu.unlock();
  for (std::thread& t : waiters) t.join();
  EXPECT_EQ(got, 8);
}

TEST(Mutex, ForkOwnerPassesThroughOthersWait) {
  Mutex held;
  held.lockForFork();
  beginOwnFork();
  EXPECT_TRUE(insideOwnFork());
  {
    Lock again(held);  // would hang anywhere else
    EXPECT_TRUE(held.tryLock());
  }
  std::atomic<bool> asked{false}, entered{false};
  std::thread t([&] {
    EXPECT_FALSE(insideOwnFork());
    EXPECT_FALSE(held.tryLock());
    asked = true;
    Lock lock(held);
    entered = true;
  });
  while (!asked) std::this_thread::yield();
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_FALSE(entered) << "the owner's unlock must not have let anyone in";
  endOwnFork();
  EXPECT_FALSE(insideOwnFork());
  held.unlockAfterFork();
  t.join();
  EXPECT_TRUE(entered);
}

// A handler on the forking thread takes and frees locks that fork does not hold.
TEST(Mutex, OtherLocksAreRealInsideAFork) {
  Mutex held, other;
  held.lockForFork();
  beginOwnFork();
  {
    Lock lock(other);
    std::thread([&] { EXPECT_FALSE(other.tryLock()); }).join();
  }
  std::thread([&] {
    EXPECT_TRUE(other.tryLock());
    other.unlock();
  }).join();
  endOwnFork();
  held.unlockAfterFork();
}

// The scheduler's own code runs on the thread pointer of whichever thread ran last.
TEST(Mutex, ForkOwnerIsOneThreadNotOneThreadPointer) {
  static Mutex held;
  static Atomic<uint32_t> tid{0}, answers{0};
  alignas(64) static char stack[65536];
  held.lockForFork();
  beginOwnFork();
  auto ask = [](void*) { answers.storeRelease(1u | insideOwnFork() << 1 | held.tryLock() << 2); };
  uintptr_t top = reinterpret_cast<uintptr_t>(stack) + sizeof stack;
  void* same = reinterpret_cast<void*>(threadPointer());
  ASSERT_TRUE(startThread({top, same, &tid, ask, nullptr, ~uint64_t{0}}));
  while (tid.loadAcquire() != 0) std::this_thread::yield();
  EXPECT_EQ(answers.loadAcquire(), 1u) << "another kernel thread passed for the forking one";
  EXPECT_TRUE(insideOwnFork());
  endOwnFork();
  held.unlockAfterFork();
}

TEST(Mutex, ResetForgetsTheHolder) {
  Mutex mu;
  std::thread([&] { mu.lock(); }).join();
  EXPECT_FALSE(mu.tryLock());
  mu.reset();
  EXPECT_TRUE(mu.tryLock());
  mu.unlock();
}

}  // namespace
}  // namespace graft::os
