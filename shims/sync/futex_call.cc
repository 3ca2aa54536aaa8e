// futex(2) as programs call it through syscall(): waits and wakes on words of this process go to
// the parking lot when the caller is a G. Wakes that find too few sleepers there go on to the
// kernel, where other threads of the process may sleep unseen (inline system calls). Shared words,
// priority inheritance and everything else are the kernel's; a G that may sleep there hands its P
// on. May be called in signal handlers: wakes then go the way of semPost.
#include <errno.h>
#include <linux/futex.h>

#include "shims/sync/sync.h"

namespace graft::shims {
namespace {

using sched::WaitResult;

struct Call {
  uint32_t* word;
  int op;
  uint32_t value;
  const timespec* timeout;  // for some operations a number
  uint32_t* other;
  uint32_t last;

  uint32_t second() const { return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(timeout)); }
  long kernel(int operation, uint32_t n, uint32_t n2) const {
    return os::sys(SYS_futex, os::arg(word), operation, n, n2, os::arg(other), last);
  }
};

long inKernel(void* args) {
  const long* a = static_cast<const long*>(args);
  return os::sys(SYS_futex, a[0], a[1], a[2], a[3], a[4], a[5]);
}

bool sleeps(int op) {
  switch (op & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET:
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
    case FUTEX_WAIT_REQUEUE_PI: return true;
    default: return false;
  }
}

bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % sizeof(uint32_t) == 0; }

long wait(Waits& waits, const Call& c, bool absolute, uint32_t bits) {
  if (bits == 0 || !aligned(c.word)) return -EINVAL;
  timespec at{};
  Deadline until;
  if (c.timeout != nullptr) {
    until = {c.timeout, CLOCK_MONOTONIC};
    if (!until.valid() || c.timeout->tv_sec < 0) return -EINVAL;
    if (absolute) {
      if ((c.op & FUTEX_CLOCK_REALTIME) != 0) until.clock = CLOCK_REALTIME;
    } else {
      os::sys(SYS_clock_gettime, CLOCK_MONOTONIC, os::arg(&at));
      long ns = at.tv_nsec + c.timeout->tv_nsec;
      if (__builtin_add_overflow(at.tv_sec, c.timeout->tv_sec + ns / 1'000'000'000, &at.tv_sec)) {
        at.tv_sec = static_cast<time_t>(~uint64_t{0} >> 1);
      }
      at.tv_nsec = ns % 1'000'000'000;
      until.at = &at;
    }
  }
  switch (waits.wait(*reinterpret_cast<Word*>(c.word), c.value, until, bits)) {
    case WaitResult::kWoken: return 0;
    case WaitResult::kMismatch: return -EAGAIN;
    case WaitResult::kTimedOut: return -ETIMEDOUT;
    case WaitResult::kInterrupted: return -EINTR;
  }
  return -EINVAL;
}

long wake(sched::Sched& s, const Call& c, uint32_t bits) {
  if (bits == 0 || !aligned(c.word)) return -EINVAL;
  uint32_t n = static_cast<int>(c.value) > 1 ? c.value : 1;  // the kernel takes less for one, too
  uint32_t woken = s.wakeFromHandler(c.word, n, bits);
  if (woken >= n) return static_cast<long>(woken);
  long more = os::sys(SYS_futex, os::arg(c.word), FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, n - woken,
                      0, 0, bits);
  return os::failed(more) ? more : more + static_cast<long>(woken);
}

long requeue(sched::Sched& s, const Call& c, bool compare) {
  if (!aligned(c.word) || !aligned(c.other)) return -EINVAL;
  if (static_cast<int>(c.value) < 0 || static_cast<int>(c.second()) < 0) return -EINVAL;
  int64_t done = s.requeue(c.word, compare ? &c.last : nullptr, c.other, c.value, c.second());
  if (done < 0) return -EAGAIN;
  // Threads that are no Gs may sleep there, of whom only the kernel knows.
  uint32_t taken = static_cast<uint32_t>(done);
  uint32_t woken = taken < c.value ? taken : c.value, moved = taken - woken;
  long more = c.kernel(c.op, c.value - woken, c.second() - moved);
  return os::failed(more) ? done : done + more;
}

uint32_t applied(uint32_t encoded, uint32_t old) {
  uint32_t op = encoded >> 28 & 7,
           arg = static_cast<uint32_t>(static_cast<int>(encoded << 8) >> 20);
  if ((encoded >> 31) != 0) arg = 1u << (arg & 31);
  switch (op) {
    case FUTEX_OP_SET: return arg;
    case FUTEX_OP_ADD: return old + arg;
    case FUTEX_OP_OR: return old | arg;
    case FUTEX_OP_ANDN: return old & ~arg;
    default: return old ^ arg;
  }
}

bool compares(uint32_t encoded, uint32_t value) {
  int old = static_cast<int>(value), arg = static_cast<int>(encoded << 20) >> 20;
  switch (encoded >> 24 & 15) {
    case FUTEX_OP_CMP_EQ: return old == arg;
    case FUTEX_OP_CMP_NE: return old != arg;
    case FUTEX_OP_CMP_LT: return old < arg;
    case FUTEX_OP_CMP_LE: return old <= arg;
    case FUTEX_OP_CMP_GT: return old > arg;
    default: return old >= arg;
  }
}

long wakeOp(sched::Sched& s, const Call& c) {
  uint32_t op = c.last >> 28 & 7, cmp = c.last >> 24 & 15;
  if (op > FUTEX_OP_XOR || cmp > FUTEX_OP_CMP_GE) return -ENOSYS;
  if (!aligned(c.word) || !aligned(c.other)) return -EINVAL;
  Word& second = *reinterpret_cast<Word*>(c.other);
  uint32_t old = second.loadRelaxed();
  while (!second.casAcqRel(old, applied(c.last, old))) {
  }
  Call first = c, other = c;
  long woken = wake(s, first, ~0u);
  other.word = c.other;
  other.value = c.second();
  if (woken < 0 || !compares(c.last, old)) return woken;
  long more = wake(s, other, ~0u);
  return more < 0 ? more : woken + more;
}

}  // namespace

bool futexCall(sched::Sched& s, const long (&args)[6], long& result) {
  Call c{reinterpret_cast<uint32_t*>(args[0]), static_cast<int>(args[1]),
         static_cast<uint32_t>(args[2]),       reinterpret_cast<const timespec*>(args[3]),
         reinterpret_cast<uint32_t*>(args[4]), static_cast<uint32_t>(args[5])};
  if (!s.on()) return false;
  Waits waits(s);
  bool ours = (c.op & FUTEX_PRIVATE_FLAG) != 0 && c.word != nullptr;
  if (sleeps(c.op) && !waits.onG()) return false;
  switch (ours ? c.op & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME) : -1) {
    case FUTEX_WAIT: result = wait(waits, c, (c.op & FUTEX_CLOCK_REALTIME) != 0, ~0u); return true;
    case FUTEX_WAIT_BITSET: result = wait(waits, c, true, c.last); return true;
    case FUTEX_WAKE: result = wake(s, c, ~0u); return true;
    case FUTEX_WAKE_BITSET: result = wake(s, c, c.last); return true;
    case FUTEX_REQUEUE: result = requeue(s, c, false); return true;
    case FUTEX_CMP_REQUEUE: result = requeue(s, c, true); return true;
    case FUTEX_WAKE_OP: result = wakeOp(s, c); return true;
    default:
      if (!sleeps(c.op)) return false;
      result = s.blocking(inKernel, const_cast<long*>(args));
      return true;
  }
}

}  // namespace graft::shims
