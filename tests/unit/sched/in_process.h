// A scheduler in a test process without interposition. Each test body runs in a forked child, whose
// main thread becomes the first G, so that every test starts from the dormant state. The bodies of
// other Gs run with FS left alone, on their M's bare thread block: they call no libc function.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/os/clock.h"
#include "core/sched/sched.h"

namespace graft::sched {

inline constinit Sched s;

// Stack slots in one mapping, recycled through a list.
struct Slots {
  static inline os::Mutex mu;
  static inline char* base = nullptr;
  static inline size_t used = 0;
  static inline void* free_list = nullptr;
  static constexpr size_t kRange = size_t{8} << 30;

  static bool alloc(Stack& out, size_t size) {
    os::Lock lock(mu);
    if (free_list != nullptr) {
      out = {free_list, size, 0, nullptr};
      free_list = *static_cast<void**>(free_list);
      return true;
    }
    if (base == nullptr) {
      void* at = mmap(nullptr, kRange, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (at == MAP_FAILED) return false;
      base = static_cast<char*>(at);
    }
    if (used + size > kRange) return false;
    out = {base + used, size, 0, nullptr};
    used += size;
    return true;
  }
  static void release(Stack& stack) {
    os::Lock lock(mu);
    *static_cast<void**>(stack.low) = free_list;
    free_list = stack.low;
  }
};

inline constexpr int kStopSignal = 44;

inline void onStop(int, siginfo_t*, void* context) { s.onStopSignal(context); }

inline Config testConfig(uint32_t procs) {
  Config c;
  c.procs = procs;
  c.stop_signal = kStopSignal;
  c.stacks = {Slots::alloc, nullptr, Slots::release};
  return c;
}

inline bool startScheduler(const Config& c) {
  struct sigaction act = {};
  act.sa_sigaction = onStop;
  act.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(kStopSignal, &act, nullptr);
  return s.start(c);
}

// What a test body says is wrong, from any G: ends the process, without libc.
#define SCHED_CHECK(cond) \
  ((cond) ? (void)0 : ::graft::sched::checkFailed(#cond, __FILE__, __LINE__))
[[noreturn]] inline void checkFailed(const char* what, const char* file, int line) {
  auto say = [](const char* t) {
    long n = 0;
    while (t[n] != 0) n++;
    os::sys(SYS_write, 2, os::arg(t), n);
  };
  char digits[12] = {};
  int at = 11;
  for (; line != 0; line /= 10) digits[--at] = static_cast<char>('0' + line % 10);
  say(file);
  say(":");
  say(digits + at);
  say(": ");
  say(what);
  say("\n");
  for (;;) os::sys(SYS_exit_group, 3);
}

// Runs body() under a scheduler with `config` in a child of this process.
template <class F>
void inChild(const Config& config, F body) {
  if (!os::haveFsgsbase()) GTEST_SKIP() << "no FSGSBASE";
  fflush(nullptr);
  pid_t pid = fork();
  if (pid == 0) {
    alarm(60);
    if (!startScheduler(config)) _exit(4);
    body();
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}
template <class F>
void inChild(uint32_t procs, F body) {
  inChild(testConfig(procs), body);
}

inline constexpr size_t kStackSize = 16384;

inline G* go(void (*fn)(void*), void* arg, size_t stack = kStackSize) {
  Spawn what;
  what.entry = fn;
  what.arg = arg;
  what.stack_size = stack;
  return s.spawn(what);
}

// A count that a G can wait for.
struct Count {
  uint32_t n = 0;

  void add(uint32_t d = 1) {
    __atomic_fetch_add(&n, d, __ATOMIC_SEQ_CST);
    s.wake(&n, ~0u);
  }
  void waitFor(uint32_t want) {
    for (;;) {
      uint32_t v = __atomic_load_n(&n, __ATOMIC_SEQ_CST);
      if (v >= want) return;
      s.wait(&n, v);
    }
  }
  uint32_t get() { return __atomic_load_n(&n, __ATOMIC_SEQ_CST); }
};

// Passes one token: post() lets one wait() through.
struct Sem {
  uint32_t v = 0;

  void post() {
    __atomic_fetch_add(&v, 1, __ATOMIC_SEQ_CST);
    s.wake(&v, 1);
  }
  void wait(uint64_t deadline = kNoDeadline) {
    for (;;) {
      uint32_t now = __atomic_load_n(&v, __ATOMIC_SEQ_CST);
      if (now == 0) {
        s.wait(&v, 0, deadline);
      } else if (__atomic_compare_exchange_n(&v, &now, now - 1, false, __ATOMIC_SEQ_CST,
                                             __ATOMIC_SEQ_CST)) {
        return;
      }
    }
  }
};

}  // namespace graft::sched
