// Both halves of waiting; see waits.h. A G's deadline becomes a monotonic one when it goes to
// sleep, and a real-time one is compared with that clock again when its time is up, since it may
// have been set back. Errno is left alone: system calls are inline.
#include "shims/sync/waits.h"

#include <errno.h>
#include <linux/futex.h>

#include "core/os/clock.h"

namespace graft::shims {

constinit Word kernel_waiters{0};

namespace {

constexpr uint64_t kSecond = 1'000'000'000;

uint64_t inNs(const timespec& t) {
  if (t.tv_sec < 0) return 0;
  uint64_t seconds = static_cast<uint64_t>(t.tv_sec);
  if (seconds >= sched::kNoDeadline / kSecond - 1) return sched::kNoDeadline - 1;
  return seconds * kSecond + static_cast<uint64_t>(t.tv_nsec);
}

// How long until then, by its own clock.
uint64_t remaining(const Deadline& until) {
  timespec now{};
  os::sys(SYS_clock_gettime, until.clock, os::arg(&now));
  uint64_t at = inNs(*until.at), t = inNs(now);
  return at > t ? at - t : 0;
}

struct KernelWait {
  const Word* word;
  uint32_t expected, bits;
  const Deadline* until;
  bool shared;

  long run() const {
    long op = FUTEX_WAIT_BITSET | (shared ? 0 : FUTEX_PRIVATE_FLAG);
    if (until->at != nullptr && until->clock == CLOCK_REALTIME) op |= FUTEX_CLOCK_REALTIME;
    return os::sys(SYS_futex, os::arg(word), op, expected, os::arg(until->at), 0, bits);
  }
  static long call(void* self) { return static_cast<const KernelWait*>(self)->run(); }

  // As glibc's own waits do it: cancellation is asynchronous during the system call.
  long runCancellable() const {
    OnCancel undo([](void*) { kernel_waiters.fetchSubAcqRel(1); }, nullptr);
    int type;
    // NOLINTNEXTLINE(concurrency-thread-canceltype-asynchronous): nothing but the call is inside
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    long got = run();
    pthread_setcanceltype(type, nullptr);
    return got;
  }
};

}  // namespace

WaitResult Waits::wait(const Word& word, uint32_t expected, const Deadline& until, uint32_t bits) {
  if (until.at != nullptr && until.at->tv_sec < 0) return WaitResult::kTimedOut;
  if (shared_ || !onG()) return waitInKernel(word, expected, until, bits);
  const uint32_t* at = reinterpret_cast<const uint32_t*>(&word);
  if (until.at == nullptr) return s_.wait(at, expected, sched::kNoDeadline, bits);
  for (;;) {
    uint64_t left = remaining(until);
    if (left == 0) return WaitResult::kTimedOut;
    uint64_t now = os::nowNs();
    uint64_t deadline = left < sched::kNoDeadline - 1 - now ? now + left : sched::kNoDeadline;
    WaitResult r = s_.wait(at, expected, deadline, bits);
    if (r != WaitResult::kTimedOut) return r;
  }
}

WaitResult Waits::waitInKernel(const Word& word, uint32_t expected, const Deadline& until,
                               uint32_t bits) {
  KernelWait call{&word, expected, bits, &until, shared_};
  kernel_waiters.fetchAddAcqRel(1);  // [SYNC-A]
  long got;
  if (onG()) {
    got = s_.blocking(KernelWait::call, &call);  // hands its P on and waits on its M
  } else {
    do {
      got = kind_ == WaitKind::kPlain ? call.run() : call.runCancellable();
    } while (got == -EINTR && kind_ != WaitKind::kInterruptible);
  }
  kernel_waiters.fetchSubAcqRel(1);
  if (got == -ETIMEDOUT) return WaitResult::kTimedOut;
  if (got == -EAGAIN) return WaitResult::kMismatch;
  return got == -EINTR ? WaitResult::kInterrupted : WaitResult::kWoken;
}

uint32_t Waits::wakeInKernel(const void* word, uint32_t n, uint32_t bits) {
  // [SYNC-A] The word was changed by a locked instruction.
  if (!shared_ && kernel_waiters.loadRelaxed() == 0) return 0;
  long op = FUTEX_WAKE_BITSET | (shared_ ? 0 : FUTEX_PRIVATE_FLAG);
  long got = os::sys(SYS_futex, os::arg(word), op, n < kAll ? n : kAll, 0, 0, bits);
  return os::failed(got) ? 0 : static_cast<uint32_t>(got);
}

uint32_t Waits::wake(const void* word, uint32_t n, uint32_t bits) {
  uint32_t woken = !shared_ && s_.on() ? s_.wake(word, n, bits) : 0;
  return woken < n ? woken + wakeInKernel(word, n - woken, bits) : woken;
}

uint32_t Waits::wakeFromHandler(const void* word, uint32_t n) {
  uint32_t woken = !shared_ && s_.on() ? s_.wakeFromHandler(word, n) : 0;
  return woken < n ? woken + wakeInKernel(word, n - woken, ~0u) : woken;
}

}  // namespace graft::shims
