// The life of the scavenger's thread: it ends when it is told to, whoever else asks for it at the
// same time, and by itself when what waits cannot be returned. Plain threads over a heap of the
// test's own.
#include "core/runtime/scavenger.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "tests/unit/heap/test_peer.h"

namespace graft::runtime {
namespace {

using heap::TestHeap;

// True when it came true within the time.
template <class F>
bool soon(F f) {
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!f()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

// More dirty memory than the scavenger waits for, too young to be returned.
void leaveDirty(TestHeap& heap) {
  heap::Client client(*heap);
  char* p = static_cast<char*>(client.alloc(4_MiB));
  memset(p, 1, 4_MiB);
  client.free(p);
}

// Two threads of the program in setns or setuid while a third allocates: each waits for the thread
// that ran when it asked, not for those that were started since.
TEST(Scavenger, StopReturnsThoughOthersStartItAgain) {
  TestHeap heap;
  leaveDirty(heap);
  ASSERT_TRUE(heap->memoryWaits());
  Scavenger scavenger;
  scavenger.init(*heap, true, 10);
  std::atomic<int> stopping{2};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; t++) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; i++) {
        while (!scavenger.running()) std::this_thread::yield();
        scavenger.stop(false);
      }
      stopping--;
    });
  }
  threads.emplace_back([&] {
    while (stopping != 0) scavenger.wanted();
  });
  if (!soon([&] { return stopping == 0; })) {
    fprintf(stderr, "stop() waits for ever\n");
    std::_Exit(1);  // the threads cannot be ended otherwise
  }
  for (std::thread& t : threads) t.join();
  scavenger.stop(true);
  EXPECT_FALSE(scavenger.running());
  scavenger.wanted();
  EXPECT_FALSE(scavenger.running()) << "stopped for ever";
}

TEST(Scavenger, EndsByItselfWhenNothingCanBeReturned) {
  heap::Config config = heap::testConfig();
  config.deny_purge = true;
  TestHeap heap(config);
  leaveDirty(heap);
  Scavenger scavenger;
  scavenger.init(*heap, true, 1);
  scavenger.wanted();
  EXPECT_TRUE(soon([&] { return !scavenger.running(); })) << "it wakes up for nothing";
  scavenger.stop(true);
}

}  // namespace
}  // namespace graft::runtime
