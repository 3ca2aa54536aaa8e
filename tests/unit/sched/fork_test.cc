// fork with a scheduler: in the child the one surviving thread is an ordinary one, nothing of the
// parent's Gs, timers and waits is left, and a scheduler can be started again, more than once.
#include "tests/unit/sched/in_process.h"

namespace graft::sched {
namespace {

constexpr uint64_t kLong = 1'000'000'000'000;

int runSome(const Config& config) {
  if (s.on()) return 10;
  if (currentM() != nullptr || currentG() != nullptr) return 11;
  if (!startScheduler(config)) return 12;
  static Count done;
  done.n = 0;
  for (int i = 0; i < 500; i++) go([](void*) { done.add(); }, nullptr);
  done.waitFor(500);
  if (s.totals().gs != 501) return 13;
  return s.valid() ? 42 : 14;
}

int statusOf(pid_t pid) {
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Fork, TheChildStartsAnew) {
  inChild(2, [] {
    static uint32_t never = 0;
    for (int i = 0; i < 20; i++) {
      go([](void*) { s.wait(&never, 0, os::nowNs() + kLong); }, nullptr);
      go([](void*) { s.sleepUntil(os::nowNs() + kLong); }, nullptr);
    }
    s.sleepUntil(os::nowNs() + 5'000'000);
    for (int i = 0; i < 10; i++) {
      pid_t pid = fork();
      if (pid != 0) {
        SCHED_CHECK(statusOf(pid) == 42);
        continue;
      }
      s.forkChild();
      int first = runSome(testConfig(2));
      if (first != 42) _exit(first);
      pid_t grandchild = fork();
      if (grandchild != 0) _exit(statusOf(grandchild));
      s.forkChild();
      _exit(runSome(testConfig(1)));
    }
  });
}

}  // namespace
}  // namespace graft::sched
