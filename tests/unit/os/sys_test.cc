// Tests of raw system calls, thread identity and the coarse clock: values come back as they are,
// errors as negative numbers, and errno is never touched.
#include "core/os/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <set>
#include <thread>

#include "core/os/clock.h"

namespace graft::os {
namespace {

TEST(Sys, ValueOrNegativeErrno) {
  EXPECT_EQ(sys(SYS_getpid), ::getpid());
  errno = 77;
  long r = sys(SYS_close, -1);
  EXPECT_EQ(r, -EBADF);
  EXPECT_TRUE(failed(r));
  EXPECT_EQ(errno, 77);
  EXPECT_FALSE(failed(0));
  EXPECT_FALSE(failed(1 << 20));
  EXPECT_TRUE(failed(-4095));
  EXPECT_FALSE(failed(-4096)) << "an address near the top";
}

TEST(Sys, SixArgumentsArrive) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  char text[] = "abcdef";
  EXPECT_EQ(sys(SYS_write, fds[1], arg(text), 6), 6);
  // splice has six: a wrong sixth or a lost fifth would not give four bytes.
  int out[2];
  ASSERT_EQ(pipe(out), 0);
  EXPECT_EQ(sys(SYS_splice, fds[0], 0, out[1], 0, 4, 0), 4);
  char got[8] = {};
  EXPECT_EQ(read(out[0], got, sizeof got), 4);
  EXPECT_STREQ(got, "abcd");
  EXPECT_EQ(sys(SYS_splice, fds[0], 0, out[1], 0, 4, ~0L), -EINVAL) << "the sixth: unknown flags";
  for (int fd : {fds[0], fds[1], out[0], out[1]}) close(fd);
}

TEST(Sys, ThreadIdentity) {
  EXPECT_EQ(os::getpid(), ::getpid());
  EXPECT_EQ(os::gettid(), ::getpid()) << "of the main thread";
  std::set<uintptr_t> pointers{threadPointer()};
  std::set<int> tids{os::gettid()};
  EXPECT_EQ(threadPointer(), *pointers.begin());
  std::thread a([&] {
    pointers.insert(threadPointer());
    tids.insert(os::gettid());
    std::thread b([&] {
      pointers.insert(threadPointer());
      tids.insert(os::gettid());
    });
    b.join();
  });
  a.join();
  EXPECT_EQ(pointers.size(), 3u);
  EXPECT_EQ(tids.size(), 3u);
}

TEST(Clock, RunsForwardInMilliseconds) {
  uint64_t before = nowMs();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  uint64_t passed = nowMs() - before;
  EXPECT_GE(passed, 40u);
  EXPECT_LE(passed, 10'000u);
}

}  // namespace
}  // namespace graft::os
