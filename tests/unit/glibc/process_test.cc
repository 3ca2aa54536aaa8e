// Things that concern a whole process while Gs exist: libraries with thread variables loaded by
// dlopen, fork, and the main thread as a G.
#include <dlfcn.h>
#include <errno.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/rseq.h>
#include <sys/single_threaded.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

#include "tests/unit/glibc/main.h"
#include "tests/unit/glibc/tiny_sched.h"

namespace graft::glibc {
namespace {

using test::G;
using test::Sched;

constexpr long kInitial = 0x5ca1ab1e;

// Loads a library with TLS while 100 Gs are parked and has each of them look at its own variable,
// some of it recycled blocks that were built before and after.
void loadWhileParked(const char* path) {
  Sched sched(2);
  using Value = long* (*)();
  std::atomic<Value> value{nullptr};
  std::atomic<int> parked{0}, right{0}, wrong{0};
  auto body = [&]() -> void* {
    parked++;
    Sched::park();
    long* mine = value.load()();
    if (*mine != kInitial) wrong++;
    *mine = reinterpret_cast<long>(&mine);
    Sched::move();
    if (value.load()() == mine && *mine == reinterpret_cast<long>(&mine)) right++;
    return nullptr;
  };
  // Blocks that come back before the load, so that some of the parked ones are recycled.
  for (int i = 0; i < 50; i++) sched.spawn([]() -> void* { return nullptr; });
  sched.wait();
  std::vector<G*> gs;
  for (int i = 0; i < 100; i++) gs.push_back(sched.spawn(body));
  while (parked != 100) sched_yield();
  usleep(20'000);  // the last one is still on its way into park()
  void* library = dlopen(path, RTLD_NOW);
  ASSERT_NE(library, nullptr) << dlerror();
  value = reinterpret_cast<Value>(dlsym(library, "tls_value"));
  for (G* g : gs) sched.ready(g);
  sched.wait();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(right, 100);
  // Recycled after the load: the variable starts anew.
  std::atomic<int> again{0};
  for (int i = 0; i < 100; i++) {
    sched.spawn([&]() -> void* {
      if (*value.load()() == kInitial) again++;
      *value.load()() = 1;
      return nullptr;
    });
  }
  sched.wait();
  EXPECT_EQ(again, 100);
}

TEST(Process, DynamicTlsLoadedWhileParked) { loadWhileParked(TLS_DYNAMIC); }
TEST(Process, InitialExecTlsLoadedWhileParked) { loadWhileParked(TLS_INITIAL_EXEC); }

thread_local int mine = 3;

// In the child of a fork that a G made: it goes on, makes new Gs, and uses the dead ones' memory.
[[noreturn]] void surviveFork(ThreadBlock* block, uint64_t slots_before) {
  resetAfterFork(block);
  if (pthread_self() != block->thread() || mine != 44) _exit(1);
  auto tid = *reinterpret_cast<int*>(pthread_self() + static_cast<uintptr_t>(facts.tid));
  if (tid != getpid()) _exit(2);
  free(malloc(100'000));
  // A scheduler of the child's own; the surviving G waits on its kernel thread.
  std::atomic<int> ran{0};
  auto* sched = new Sched(2);
  for (int round = 0; round < 10; round++) {
    for (int i = 0; i < 40; i++) {
      sched->spawn([&]() -> void* {
        if (mine != 3) _exit(3);
        mine = 4;
        Sched::yield();
        ran++;
        return nullptr;
      });
    }
    sched->wait();
  }
  if (ran != 400) _exit(4);
  if (blockStats().slots > slots_before + 2) _exit(5);  // the parent's 100 are used again
  // A second generation.
  pid_t pid = fork();
  if (pid == 0) {
    resetAfterFork(block);
    _exit(mine == 44 ? 0 : 1);
  }
  int status = -1;
  waitpid(pid, &status, 0);
  _exit(status == 0 ? 0 : 6);
}

TEST(Process, ForkInAG) {
  Sched sched(2);
  std::atomic<int> parked{0}, status{-1};
  std::vector<G*> gs;
  for (int i = 0; i < 100; i++) {
    gs.push_back(sched.spawn([&]() -> void* {
      parked++;
      Sched::park();
      return nullptr;
    }));
  }
  while (parked != 100) sched_yield();
  usleep(20'000);
  sched.spawn([&]() -> void* {
    mine = 44;
    uint64_t slots = blockStats().slots;
    ThreadBlock* block = test::self->block;
    pid_t pid = fork();
    if (pid == 0) surviveFork(block, slots);
    int got = -1;
    waitpid(pid, &got, 0);
    status = got;
    return nullptr;
  });
  while (status == -1) usleep(1000);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  for (G* g : gs) sched.ready(g);
  sched.wait();
}

// In a process of its own, because main stays a G until the end.
[[noreturn]] void mainAsG() {
  auto* sched = new Sched(1);
  static ThreadBlock block;
  static G me;
  mine = 8;
  errno = 9;
  if (!adopt(&block)) _exit(10);
  if (__rseq_size != 0 && !unregisterRseq()) _exit(17);
  uintptr_t here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  if (here < block.stack_low || here > block.stack_high) _exit(11);
  if (__libc_single_threaded != 0) _exit(12);
  sched->enterAsG(&me, &block);
  std::atomic<int> others{0};
  for (int i = 0; i < 10; i++) {
    sched->spawn([&]() -> void* {
      for (int round = 0; round < 100; round++) Sched::move();
      others++;
      return nullptr;
    });
  }
  std::set<int> kernel_threads;
  errno = 9;
  while (others != 10) {
    Sched::move();
    if (mine != 8 || errno != 9 || pthread_self() != block.thread()) _exit(13);
    kernel_threads.insert(os::gettid());
  }
  unsigned cpu = ~0u;
  os::sys(SYS_getcpu, os::arg(&cpu), 0);
  if (sched_getcpu() < 0) _exit(14);
  // exit() runs from whatever kernel thread main is on.
  if (kernel_threads.size() != 2) _exit(15);
  exit(16);
}

TEST(Process, MainThreadAsG) {
  fflush(nullptr);
  pid_t pid = fork();
  if (pid == 0) mainAsG();
  int status = -1;
  waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 16);
}

// pthread_exit on the main thread, from wherever it has moved to: the others go on, and the end of
// the process is up to whoever caught it.
Sched* exit_sched;
std::atomic<int> exit_steps{0};
pthread_key_t exit_key;

void mainEnded(ThreadBlock* block) {
  if (exit_steps != 3) _exit(20 + exit_steps);
  if (block->result != &exit_steps) _exit(30);
  while (!test::self->done) Sched::park();  // for good; the last G calls exit
}

void exitMainAsG() {
  exit_sched = new Sched(1);
  static ThreadBlock block;
  static G me;
  if (!adopt(&block) || !catchExit(&block, mainEnded)) _exit(10);
  pthread_key_create(&exit_key, [](void*) { exit_steps++; });
  pthread_setspecific(exit_key, &block);
  exit_sched->enterAsG(&me, &block);
  exit_sched->spawn([]() -> void* {
    for (int i = 0; i < 100'000 && exit_steps != 3; i++) Sched::move();
    for (int i = 0; i < 1000; i++) Sched::yield();
    exit(exit_steps == 3 ? 0 : 18);
  });
  Sched::move();
  struct OnStack {
    ~OnStack() { exit_steps++; }
  } on_stack;
  pthread_cleanup_push([](void*) { exit_steps++; }, nullptr);
  pthread_exit(&exit_steps);
  pthread_cleanup_pop(0);
  _exit(19);
}

TEST(Process, PthreadExitOnMainAsG) {
  fflush(nullptr);
  pid_t pid = fork();
  if (pid == 0) test::runOutside(exitMainAsG);
  int status = -1;
  waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFEXITED(status)) << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace graft::glibc
