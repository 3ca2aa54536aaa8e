// Waiting for several descriptors at once, below shims/io: one word, moved by an event of any of
// them, by nothing once it is off their lists.
#include <sys/uio.h>

#include "tests/unit/sched/in_process.h"

namespace graft::sched {
namespace {

constexpr size_t kPipes = 5;
int pipes[kPipes][2];
base::Atomic<uint32_t> moved{0}, rounds{0};
Watch watches[kPipes + 1];

// A byte, if there is one.
uint32_t takeOne(int fd) {
  constexpr long kRwfNoWait = 8;
  char c;
  iovec piece{&c, 1};
  return os::sys(SYS_preadv2, fd, os::arg(&piece), 1, -1, -1, kRwfNoWait) == 1;
}

void waitForAny(void*) {
  for (size_t i = 0; i <= kPipes; i++) {  // the first one twice
    watches[i].fd = pipes[i % kPipes][0];
    watches[i].direction = i % 2 == 0 ? Netpoll::kRead : Netpoll::kAny;
    watches[i].moved = &moved;
    SCHED_CHECK(s.net().slot(watches[i].fd) != nullptr);
  }
  s.watch(watches, kPipes + 1);
  while (rounds.loadRelaxed() < 200) {
    uint32_t seen = moved.loadAcquire();
    uint32_t got = 0;
    for (auto& p : pipes) got += takeOne(p[0]);
    if (got != 0) {
      rounds.fetchAddAcqRel(got);
      continue;
    }
    s.netWaitBegins();
    for (auto& p : pipes) SCHED_CHECK(s.net().arm(p[0], p[0]) >= 0);
    s.wait(reinterpret_cast<uint32_t*>(&moved), seen);
    s.netWaitEnds();
  }
  s.unwatch(watches, kPipes + 1);
  rounds.fetchAddAcqRel(1);
}

void run() {
  for (auto& p : pipes) SCHED_CHECK(os::sys(SYS_pipe2, os::arg(p), 0) == 0);
  auto nap = [] { s.sleepUntil(os::nowNs() + 20'000); };
  go(waitForAny, nullptr);
  for (uint32_t i = 0; i < 200; i++) {
    SCHED_CHECK(os::sys(SYS_write, pipes[i * 7 % kPipes][1], os::arg("x"), 1) == 1);
    while (rounds.loadAcquire() < i + 1) nap();
  }
  while (rounds.loadAcquire() != 201) nap();
  uint32_t after = moved.loadAcquire();
  SCHED_CHECK(os::sys(SYS_write, pipes[0][1], os::arg("x"), 1) == 1);
  s.sleepUntil(os::nowNs() + 20'000'000);
  SCHED_CHECK(moved.loadAcquire() == after && s.valid());
}

TEST(Netpoll, AnyOfSeveralWakesOnOneP) { inChild(1, run); }
TEST(Netpoll, AnyOfSeveralWakesOnTwoPs) { inChild(2, run); }

}  // namespace
}  // namespace graft::sched
