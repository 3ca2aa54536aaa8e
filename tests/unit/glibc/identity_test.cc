// What a program expects of "its thread" stays right on Gs that move between two Ms at every yield:
// everything that libc and libstdc++ keep per thread, exceptions, exit in all its forms.
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <gtest/gtest.h>
#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <exception>
#include <set>
#include <string>

#include "tests/unit/glibc/tiny_sched.h"

extern "C" char graft_first_frame[];

namespace graft::glibc {
namespace {

using test::G;
using test::Sched;

constexpr int kGs = 200;

std::atomic<int> made{0}, gone{0};
struct Counted {
  int value = 17;
  Counted() { made++; }
  ~Counted() { gone++; }
};
thread_local Counted counted;
__thread int plain = 4711;

// Runs `body(i)` on many Gs over two Ms; returns how often Gs moved.
int onManyGs(int count, const std::function<void(int)>& body) {
  Sched sched(2);
  std::vector<G*> gs;
  std::atomic<bool> all_there{false};  // or an early one's block would be used again
  for (int i = 0; i < count; i++) {
    gs.push_back(sched.spawn([i, &body, &all_there]() -> void* {
      while (!all_there) Sched::yield();
      body(i);
      return nullptr;
    }));
  }
  all_there = true;
  sched.wait();
  int moved = 0;
  for (G* g : gs) moved += g->migrations;
  return moved;
}

TEST(Identity, ThreadVariablesAndErrno) {
  std::atomic<int> wrong{0};
  int moved = onManyGs(kGs, [&](int i) {
    if (plain != 4711 || counted.value != 17) wrong++;
    for (int round = 0; round < 100; round++) {
      plain = i * 1000 + round;
      counted.value = -plain;
      errno = i + 1;
      if (round % 10 == 0) {
        Sched::move();
      } else {
        Sched::yield();
      }
      if (plain != i * 1000 + round || counted.value != -plain || errno != i + 1) wrong++;
    }
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(made, kGs);
  EXPECT_EQ(gone, kGs) << "destructors of thread_local objects";
  EXPECT_GT(moved, kGs) << "the test means nothing without migration";
}

TEST(Identity, SelfIsTheBlock) {
  std::set<pthread_t> seen;
  os::Mutex mu;
  std::atomic<int> wrong{0};
  onManyGs(kGs, [&](int) {
    pthread_t me = pthread_self();
    {
      os::Lock lock(mu);
      seen.insert(me);
    }
    for (int round = 0; round < 20; round++) {
      Sched::yield();
      if (!pthread_equal(me, pthread_self()) || me != test::self->block->thread()) wrong++;
    }
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(seen.size(), static_cast<size_t>(kGs));
}

TEST(Identity, LibcStatePerThread) {
  std::atomic<int> wrong{0};
  locale_t utf8 = newlocale(LC_ALL_MASK, "C.UTF-8", nullptr);
  ASSERT_NE(utf8, nullptr);
  int moved = onManyGs(kGs, [&](int i) {
    bool wide = i % 2 == 0;
    if (wide) uselocale(utf8);
    std::string error = "Unknown error " + std::to_string(10000 + i);
    const char* told = strerror(10000 + i);
    for (int round = 0; round < 5; round++) Sched::move();
    if (error != told) wrong++;
    if (MB_CUR_MAX != (wide ? 6u : 1u) || !isalpha('x') || isalpha('1')) wrong++;
    if ((uselocale(nullptr) == utf8) != wide) wrong++;
    if (wide) uselocale(LC_GLOBAL_LOCALE);
  });
  freelocale(utf8);
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(moved, kGs);
}

TEST(Identity, StdioBelongsToTheG) {
  char* text = nullptr;
  size_t size = 0;
  FILE* out = open_memstream(&text, &size);
  onManyGs(50, [&](int i) {
    for (int round = 0; round < 20; round++) {
      flockfile(out);  // recursive, by owner: held over calls, not over a yield
      fprintf(out, "%d.%d ", i, round);
      fprintf(out, "%d.%d\n", i, round);
      funlockfile(out);
      Sched::yield();
    }
  });
  fclose(out);
  int lines = 0;
  for (char* line = strtok(text, "\n"); line != nullptr; line = strtok(nullptr, "\n")) {
    std::string all = line;
    size_t half = all.find(' ');
    EXPECT_EQ(all.substr(0, half), all.substr(half + 1));
    lines++;
  }
  EXPECT_EQ(lines, 1000);
  free(text);
}

TEST(Identity, ExceptionsSurviveSwitches) {
  std::atomic<int> caught{0}, wrong{0};
  int moved = onManyGs(kGs, [&](int i) {
    for (int round = 0; round < 5; round++) {
      try {
        try {
          Sched::move();
          throw i;
        } catch (int n) {
          Sched::move();
          if (n != i || std::uncaught_exceptions() != 0) wrong++;
          try {
            throw std::string("inner");
          } catch (std::string& s) {
            Sched::move();
            if (s != "inner") wrong++;
          }
          throw;  // the outer one, after others were thrown on this M meanwhile
        }
      } catch (int n) {
        if (n == i) caught++;
      }
    }
  });
  EXPECT_EQ(caught, kGs * 5);
  EXPECT_GT(moved, kGs * 5);
  EXPECT_EQ(wrong, 0);
}

TEST(Identity, PthreadExitUnwindsAndRunsHandlers) {
  std::atomic<int> unwound{0}, handled{0}, passed{0};
  struct OnStack {
    std::atomic<int>& n;
    ~OnStack() { n++; }
  };
  Sched sched(2);
  std::vector<G*> gs;
  gone = 0;
  for (int i = 0; i < 50; i++) {
    gs.push_back(sched.spawn([&, i]() -> void* {
      counted.value++;
      OnStack on_stack{unwound};
      pthread_cleanup_push([](void* n) { (*static_cast<std::atomic<int>*>(n))++; }, &handled);
      try {
        Sched::move();
        pthread_exit(reinterpret_cast<void*>(static_cast<intptr_t>(1000 + i)));
      } catch (...) {
        passed++;
        Sched::move();
        throw;
      }
      pthread_cleanup_pop(0);
      return nullptr;
    }));
  }
  sched.wait();
  for (int i = 0; i < 50; i++) {
    EXPECT_EQ(reinterpret_cast<intptr_t>(gs[static_cast<size_t>(i)]->result), 1000 + i);
  }
  EXPECT_EQ(unwound, 50);
  EXPECT_EQ(handled, 50);
  EXPECT_EQ(passed, 50);
  EXPECT_EQ(gone, 50);
}

std::atomic<int> destroyed{0};
pthread_key_t again_key;

TEST(Identity, KeysAndTheirDestructors) {
  constexpr int kKeys = 70;  // more than struct pthread's own 32
  pthread_key_t keys[kKeys], deleted;
  for (pthread_key_t& k : keys) {
    ASSERT_EQ(pthread_key_create(&k, [](void*) { destroyed++; }), 0);
  }
  pthread_key_create(&deleted, [](void*) { destroyed += 1'000'000; });
  // Sets itself again for ever: four rounds are run, as POSIX allows.
  pthread_key_create(&again_key, [](void* v) {
    destroyed++;
    pthread_setspecific(again_key, v);
  });
  std::atomic<int> wrong{0};
  onManyGs(20, [&](int i) {
    void* mine = &wrong + i;
    for (pthread_key_t k : keys) {
      if (pthread_getspecific(k) != nullptr) wrong++;
      pthread_setspecific(k, mine);
    }
    pthread_setspecific(deleted, mine);
    pthread_setspecific(again_key, mine);
    Sched::yield();
    for (pthread_key_t k : keys) {
      if (pthread_getspecific(k) != mine) wrong++;
    }
    if (i == 19) pthread_key_delete(deleted);
    // The others must not end before the key is gone.
    while (pthread_setspecific(deleted, mine) == 0) Sched::yield();
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(destroyed, 20 * (kKeys + PTHREAD_DESTRUCTOR_ITERATIONS));
  for (pthread_key_t k : keys) pthread_key_delete(k);
  pthread_key_delete(again_key);
}

TEST(Identity, BacktraceIsComplete) {
  std::atomic<int> wrong{0};
  onManyGs(4, [&](int) {
    void* frames[100];
    int n = backtrace(frames, 100);
    auto* last = static_cast<char*>(frames[n - 1]);
    if (n < 4 || n == 100 || last < graft_first_frame || last > graft_first_frame + 32) wrong++;
  });
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace graft::glibc
