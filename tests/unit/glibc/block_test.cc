// Blocks themselves: recycling gives fresh identities, stacks have the size that was asked for and
// a guard that is hit, address space that runs out is EAGAIN, idle stacks can be given back.
#include <errno.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "core/base/capability.h"
#include "core/base/options.h"
#include "core/base/types.h"
#include "tests/unit/glibc/tiny_sched.h"

namespace graft::glibc {
namespace {

using test::G;
using test::Sched;

// Runs `body` in a child process and returns its exit status.
int inChild(const std::function<void()>& body) {
  fflush(nullptr);
  pid_t pid = fork();
  if (pid == 0) {
    body();
    _exit(99);
  }
  int status = -1;
  waitpid(pid, &status, 0);
  return status;
}

// One G on a single M, to its end.
ThreadBlock runOne(Sched& sched, std::function<void*()> body, ThreadSpec spec = {}) {
  ThreadBlock seen{};
  sched.spawn(
      [&]() -> void* {
        seen = *test::self->block;
        return body();
      },
      spec);
  sched.wait();
  return seen;
}

thread_local int fresh = 5;
thread_local std::string text = "initial";
thread_local char bulk[512];

TEST(Block, RecycledIsFresh) {
  Sched sched(1);
  pthread_key_t key;
  pthread_key_create(&key, nullptr);
  uintptr_t first = 0;
  int recycled = 0;
  for (int i = 0; i < 50; i++) {
    bool ok = false;
    ThreadBlock b = runOne(sched, [&]() -> void* {
      ok = fresh == 5 && text == "initial" && bulk[100] == 0 && errno == 0 &&
           pthread_getspecific(key) == nullptr && test::self->result == nullptr;
      fresh = 6;
      text = std::string(100, 'x');
      memset(bulk, 1, sizeof bulk);
      errno = 77;
      pthread_setspecific(key, &key);
      pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
      strerror(12345);
      return nullptr;
    });
    EXPECT_TRUE(ok) << i;
    if (i == 0) first = b.fs_base;
    recycled += b.fs_base == first ? 1 : 0;
  }
  EXPECT_EQ(recycled, 50) << "the last block freed is the next one used";
  EXPECT_EQ(blockStats().recycled, 49u);
  pthread_key_delete(key);
}

TEST(Block, StackIsWhatWasAsked) {
  Sched sched(1);
  for (size_t size : {16_KiB, 20_KiB, 64_KiB, 1000_KiB, 8_MiB, 100_MiB}) {
    for (size_t guard : {size_t{0}, 4_KiB, 64_KiB}) {
      ThreadSpec spec;
      spec.stack_size = size;
      spec.guard_size = guard;
      bool inside = false;
      size_t usable = 0;
      ThreadBlock b = runOne(
          sched,
          [&]() -> void* {
            uintptr_t here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
            const ThreadBlock* own = test::self->block;
            inside = here >= own->attr_low && here < own->attr_low + own->attr_size;
            // Every byte down to the guard can be written.
            for (uintptr_t p = here - 4_KiB; p >= own->stack_low; p -= 4_KiB) {
              *reinterpret_cast<volatile char*>(p) = 1;
            }
            *reinterpret_cast<volatile char*>(own->stack_low) = 1;
            usable = own->stack_high - own->stack_low;
            return nullptr;
          },
          spec);
      EXPECT_TRUE(inside);
      EXPECT_EQ(b.attr_size, size);
      EXPECT_EQ(b.attr_low % 4_KiB, 0u);
      EXPECT_GE(usable, size);
      EXPECT_EQ(b.guard_size, guard);
    }
  }
}

TEST(Block, LibcSeesTheSameStack) {
  Sched sched(1);
  ThreadSpec spec;
  spec.stack_size = 64_KiB;
  spec.guard_size = 8_KiB;
  // glibc asks the kernel about the tid last, and only that fails on a virtual one.
  spec.tid = 0;
  void* low = nullptr;
  size_t size = 0;
  int result = -1;
  ThreadBlock b = runOne(
      sched,
      [&]() -> void* {
        // With the kernel's own tid in place it does not even fail.
        auto* tid = reinterpret_cast<uint32_t*>(pthread_self() + static_cast<uintptr_t>(facts.tid));
        uint32_t own = *tid;
        *tid = static_cast<uint32_t>(os::gettid());
        pthread_attr_t attr;
        result = pthread_getattr_np(pthread_self(), &attr);
        pthread_attr_getstack(&attr, &low, &size);
        pthread_attr_destroy(&attr);
        *tid = own;
        return nullptr;
      },
      spec);
  EXPECT_EQ(result, 0);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(low), b.attr_low);
  EXPECT_EQ(size, 64_KiB);
}

TEST(Block, UserStackIsHonoured) {
  Sched sched(1);
  constexpr size_t kSize = 64_KiB;
  char* mine = static_cast<char*>(
      mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ThreadSpec spec;
  spec.user_stack = mine;
  spec.stack_size = kSize;
  char* here = nullptr;
  ThreadBlock b = runOne(
      sched,
      [&]() -> void* {
        here = static_cast<char*>(__builtin_frame_address(0));
        return nullptr;
      },
      spec);
  EXPECT_TRUE(here > mine && here < mine + kSize);
  EXPECT_LT(mine + kSize - here, 2000) << "thread variables lie elsewhere";
  EXPECT_EQ(b.attr_low, reinterpret_cast<uintptr_t>(mine));
  EXPECT_EQ(b.attr_size, kSize);
  munmap(mine, kSize);
}

alignas(64) char alt_stack[64 << 10];
uintptr_t guard_low, guard_high;

void onFault(int, siginfo_t* info, void*) {
  uintptr_t at = reinterpret_cast<uintptr_t>(info->si_addr);
  _exit(at >= guard_low && at < guard_high ? 42 : 43);
}

void useAltStack() {
  stack_t alt{};
  alt.ss_sp = alt_stack;
  alt.ss_size = sizeof alt_stack;
  os::sys(SYS_sigaltstack, os::arg(&alt), 0);
}

[[gnu::noinline]] int recurse(int n) {
  volatile char frame[1000];
  frame[0] = static_cast<char>(n);
  return n < 0 ? 0 : recurse(n + 1) + frame[0];
}

void overflow(bool deny_markers) {
  if (deny_markers) {
    base::CapabilitySet set;
    set.add(base::Capability::guard_install);
    base::options.denied.set(set.bits());
  }
  struct sigaction action{};
  action.sa_sigaction = onFault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr);
  Sched sched(1, useAltStack);
  ThreadSpec spec;
  spec.stack_size = 256_KiB;
  // The second slot: the guard's neighbour below is the top of the first.
  for (int i = 0; i < 2; i++) {
    sched.spawn([]() -> void* {
      Sched::park();
      return nullptr;
    });
  }
  sched.spawn(
      []() -> void* {
        guard_high = test::self->block->stack_low;
        guard_low = guard_high - 4_KiB;
        recurse(0);
        return nullptr;
      },
      spec);
  sched.wait();
}

TEST(Block, OverflowHitsTheGuard) {
  int status = inChild([] { overflow(false); });
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

TEST(Block, OverflowHitsTheGuardWithoutMarkers) {
  int status = inChild([] { overflow(true); });
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

TEST(Block, GuardsTakeNoMappings) {
  int status = inChild([] {
    auto maps = [] {
      FILE* f = fopen("/proc/self/maps", "r");
      int n = 0;
      for (int c; (c = getc(f)) != EOF;) n += c == '\n';
      fclose(f);
      return n;
    };
    if (!calibrate()) _exit(1);
    int before = maps();
    ThreadSpec spec;
    spec.stack_size = 8_MiB;
    for (int i = 0; i < 2000; i++) {
      ThreadBlock* b;
      if (create(spec, &b) != 0) _exit(2);
    }
    bool markers = blockStats().mprotect_guards == 0;
    int more = maps() - before;
    printf("mappings for 2000 stacks of 8 MiB: %d\n", more);
    fflush(stdout);
    _exit(!markers || more < 100 ? 0 : 3);
  });
  EXPECT_EQ(status, 0);
}

TEST(Block, ExhaustionIsEagain) {
  int status = inChild([] {
    if (!calibrate()) _exit(1);
    size_t pages = 0;
    FILE* statm = fopen("/proc/self/statm", "r");
    if (fscanf(statm, "%zu", &pages) != 1) _exit(6);
    fclose(statm);
    rlim_t most = pages * 4_KiB + 2_GiB;
    rlimit limit{most, most};
    setrlimit(RLIMIT_AS, &limit);
    ThreadSpec spec;
    spec.stack_size = 8_MiB;
    std::vector<ThreadBlock*> blocks;
    int error = 0;
    for (ThreadBlock* b; (error = create(spec, &b)) == 0;) blocks.push_back(b);
    if (error != EAGAIN || blocks.size() < 100) _exit(2);
    spec.stack_size = size_t{1} << 50;
    ThreadBlock* b;
    if (create(spec, &b) != EAGAIN) _exit(3);
    // Others go on: what is released is there again, other sizes still fit.
    release(blocks.back());
    spec.stack_size = 8_MiB;
    if (create(spec, &b) != 0) _exit(4);
    spec.stack_size = 64_KiB;
    _exit(create(spec, &b) == 0 ? 0 : 5);
  });
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Block, IdleStacksCanBeGivenBack) {
  Sched sched(1);
  auto touched = [](const ThreadBlock& b) {
    std::vector<unsigned char> in(256_KiB / 4_KiB);
    mincore(reinterpret_cast<void*>(b.stack_low), 256_KiB, in.data());
    size_t n = 0;
    for (unsigned char c : in) n += c & 1;
    return n;
  };
  auto useStack = []() -> void* {
    volatile char deep[200 << 10];
    for (size_t i = 0; i < sizeof deep; i += 4096) deep[i] = 1;
    return nullptr;
  };
  ThreadBlock b = runOne(sched, useStack);
  EXPECT_GE(touched(b), 50u);
  EXPECT_GE(trimIdle(100), 1u);
  EXPECT_LE(touched(b), 1u);
  EXPECT_EQ(trimIdle(100), 0u) << "nothing is done twice";
  EXPECT_EQ(runOne(sched, useStack).fs_base, b.fs_base) << "and used again";
}

}  // namespace
}  // namespace graft::glibc
