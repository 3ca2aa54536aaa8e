// Tests of fork: while other threads allocate, free and give memory back, a child made between
// forkPrepare() and forkChild() finds a heap that it can use and in which every invariant holds,
// and the parent goes on undisturbed.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "core/heap/heap.h"
#include "tests/unit/heap/test_peer.h"

namespace graft::heap {
namespace {

enum ChildResult { kFine, kInvalidAtStart, kNoMemory, kOverlap, kRefusedFree, kInvalidAtEnd };

// In the child: validate, work, validate. Nothing here may need another thread.
int childWork(Heap& heap, Client& client) {
  auto complain = [](const char* bad) {
    os::writeAll(2, "child: ", 7);
    os::writeAll(2, bad, strlen(bad));
    os::writeAll(2, "\n", 1);
  };
  if (const char* bad = heap.validate()) {
    complain(bad);
    return kInvalidAtStart;
  }
  static void* blocks[3000];
  Rng rng(7);
  for (int round = 0; round < 2; round++) {
    for (size_t i = 0; i < 3000; i++) {
      size_t size = i % 100 == 0 ? 40'000 : 1 + rng.below(900);
      blocks[i] = client.alloc(size);
      if (blocks[i] == nullptr) return kNoMemory;
      memset(blocks[i], static_cast<int>(i), size);
      static_cast<uint8_t*>(blocks[i])[0] = static_cast<uint8_t>(i);
    }
    for (size_t i = 0; i < 3000; i++) {
      if (*static_cast<uint8_t*>(blocks[i]) != static_cast<uint8_t>(i)) return kOverlap;
      if (!client.free(blocks[i])) return kRefusedFree;
    }
    client.drain();
    heap.trim();
  }
  if (const char* bad = heap.validate()) {
    complain(bad);
    return kInvalidAtEnd;
  }
  return kFine;
}

// Forks as the runtime's atfork handlers do; returns the child's result.
int forkOnce(Heap& heap, Client& client, void (*in_window)(Client&) = nullptr) {
  heap.forkPrepare();
  if (in_window != nullptr) in_window(client);
  pid_t pid = fork();
  if (pid == 0) {
    heap.forkChild(&client.cache(), selfTid());
    alarm(60);
    _exit(childWork(heap, client));
  }
  heap.forkParent();
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

TEST(Fork, ChildOfOneThread) {
  TestHeap heap;
  Client client(*heap);
  void* p = client.alloc(100);
  memset(p, 5, 100);
  client.free(client.alloc(500));
  EXPECT_EQ(forkOnce(*heap, client), kFine);
  EXPECT_TRUE(allBytes(p, 100, 5));
  EXPECT_TRUE(client.free(p));
  EXPECT_EQ(heap.broken(), "");
}

// malloc between prepare and fork (other atfork handlers) passes through the locks it holds itself.
TEST(Fork, AllocationInTheWindow) {
  TestHeap heap;
  Client client(*heap);
  auto work = [](Client& c) {
    for (size_t i = 0; i < 500; i++) {
      void* p = c.alloc(i * 100);
      ASSERT_NE(p, nullptr);
      ASSERT_TRUE(c.free(p));
    }
    c.drain();
  };
  EXPECT_EQ(forkOnce(*heap, client, work), kFine);
  EXPECT_EQ(os::fork_owner.loadRelaxed(), 0u);
  // The locks are free again for everybody.
  std::thread other([&] {
    Client mine(*heap);
    for (size_t i = 0; i < 500; i++) mine.free(mine.alloc(i * 100));
    heap->trim();
  });
  other.join();
  EXPECT_EQ(heap.broken(), "");
}

TEST(Fork, WhileTwoThreadsWork) {
  TestHeap heap;
  Client client(*heap);
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  auto work = [&](uint64_t id) {
    Client mine(*heap);
    Rng rng(id);
    std::vector<std::pair<void*, size_t>> live;
    while (!stop) {
      uint64_t what = rng.below(1000);
      if (what < 500 && live.size() < 2000) {
        size_t size = rng.below(40) == 0 ? 33'000 + rng.below(100'000) : 1 + rng.below(500);
        void* p = mine.alloc(size);
        fillPattern(p, size, id);
        live.emplace_back(p, size);
      } else if (what < 985 && !live.empty()) {
        std::swap(live[rng.below(live.size())], live.back());
        if (!checkPattern(live.back().first, live.back().second, id)) wrong++;
        if (!mine.free(live.back().first)) wrong++;
        live.pop_back();
      } else if (what < 995) {
        mine.drain();
      } else {
        heap->trim();
      }
    }
    for (auto [p, size] : live) mine.free(p);
    mine.drain();
  };
  std::thread a(work, 1), b(work, 2);
  constexpr int kForks = kAsan || kTsan ? 25 : 150;
  int results[8] = {}, strange = 0;
  for (int i = 0; i < kForks; i++) {
    int r = forkOnce(*heap, client);
    if (r < 8) {
      results[r]++;
    } else {
      strange = r;
    }
    client.free(client.alloc(static_cast<size_t>(i)));
  }
  stop = true;
  a.join();
  b.join();
  EXPECT_EQ(results[kFine], kForks);
  EXPECT_EQ(results[kInvalidAtStart], 0) << "validate() in the child";
  EXPECT_EQ(results[kNoMemory], 0);
  EXPECT_EQ(results[kOverlap], 0) << "a slot is in two hands";
  EXPECT_EQ(results[kRefusedFree], 0);
  EXPECT_EQ(results[kInvalidAtEnd], 0);
  EXPECT_EQ(strange, 0) << "100 + signal";
  EXPECT_EQ(wrong, 0) << "in the parent";
  EXPECT_EQ(heap.broken(), "");
  EXPECT_EQ(heap.pagesAddUp(), "");
}

}  // namespace
}  // namespace graft::heap
