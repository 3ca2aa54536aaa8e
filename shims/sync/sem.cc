// Semaphores over sem_words.h; the word protocol is glibc's, so named and process-shared ones need
// only a different kind of waiting, and sem_init, sem_getvalue and sem_destroy stay glibc's. See
// sync.h.
#include <errno.h>

#include "shims/sync/real.h"
#include "shims/sync/sem.h"
#include "shims/sync/sync.h"

namespace graft::shims {
namespace {

using Word64 = SemWord<base::RealAtom>;

int failWith(int error) {
  errno = error;
  return -1;
}

}  // namespace

int semWait(sched::Sched& s, sem_t* sem, const Deadline& until) {
  if (until.at != nullptr && !clockSupported(until.clock)) return failWith(EINVAL);
  if (until.at != nullptr && !until.valid()) return failWith(EINVAL);
  pthread_testcancel();
  SemLayout& l = semLayout(sem);
  Word64 word(l.data);
  if (word.tryTake()) return 0;
  Waits waits(s, l.shared != 0, WaitKind::kInterruptible);
  WaitResult r;
  if (waits.onG()) {
    // A handler with SA_RESTART does not end the wait, nor does a cancellation that is disabled.
    uint32_t before = sched::currentG()->interrupting;
    do {
      r = word.take(waits, until);
      if (r == WaitResult::kInterrupted) pthread_testcancel();
    } while (r == WaitResult::kInterrupted && sched::currentG()->interrupting == before);
  } else {
    OnCancel cancelled([](void* w) { static_cast<Word64*>(w)->abandon(); }, &word);
    r = word.take(waits, until);
  }
  if (r == WaitResult::kWoken) return 0;
  if (r == WaitResult::kTimedOut) return failWith(ETIMEDOUT);
  pthread_testcancel();
  return failWith(EINTR);
}

int semTryWait(sem_t* sem) {
  return SemWord<base::RealAtom>(semLayout(sem).data).tryTake() ? 0 : failWith(EAGAIN);
}

int semPost(sched::Sched& s, sem_t* sem) {
  SemLayout& l = semLayout(sem);
  Waits waits(s, l.shared != 0);
  return SemWord<base::RealAtom>(l.data).post(waits) ? 0 : failWith(EOVERFLOW);
}

}  // namespace graft::shims
