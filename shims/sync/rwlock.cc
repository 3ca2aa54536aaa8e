// Read-write locks over rwlock_words.h: glibc's layout and kinds, owners, errors; process-shared
// ones are glibc's own. See sync.h.
#include <errno.h>

#include "shims/sync/real.h"
#include "shims/sync/rwlock.h"
#include "shims/sync/sync.h"

namespace graft::shims {
namespace {

bool ownWriter(pthread_rwlock_t* l) {
  uint32_t writer = writerOf(l).loadRelaxed();
  return writer != 0 && writer == glibc::ownTid();
}

int errorOf(RwResult r) {
  switch (r) {
    case RwResult::kOk: return 0;
    case RwResult::kBusy: return EBUSY;
    case RwResult::kTimedOut: return ETIMEDOUT;
    case RwResult::kTooMany: return EAGAIN;
  }
  return EINVAL;
}

// Waiters for another process's lock sleep in the kernel; the P goes on.
struct RealLock {
  pthread_rwlock_t* l;
  const Deadline* until;
  bool write;

  int run() const {
    const RealSync& r = realSync();
    if (until->at == nullptr) return write ? r.writeLock(l) : r.readLock(l);
    return (write ? r.clockWriteLock : r.clockReadLock)(l, until->clock, until->at);
  }
  static long call(void* self) { return static_cast<const RealLock*>(self)->run(); }
};

int lockShared(sched::Sched& s, RealLock call) {
  if (!Waits(s).onG()) return call.run();
  return static_cast<int>(s.blocking(RealLock::call, &call));
}

bool invalid(const Deadline& until) {
  return until.at != nullptr && (!clockSupported(until.clock) || !until.valid());
}

}  // namespace

int readLock(sched::Sched& s, pthread_rwlock_t* l, const Deadline& until) {
  if (sharedLock(l)) return lockShared(s, {l, &until, false});
  if (invalid(until)) return EINVAL;
  Rw words = wordsOf(l);
  RwResult r = words.tryRead();
  if (r == RwResult::kBusy) {
    if (ownWriter(l)) return EDEADLK;
    Waits waits(s);
    r = words.takeRead(waits, until);
  }
  return errorOf(r);
}

int writeLock(sched::Sched& s, pthread_rwlock_t* l, const Deadline& until) {
  if (sharedLock(l)) return lockShared(s, {l, &until, true});
  if (invalid(until)) return EINVAL;
  Rw words = wordsOf(l);
  if (!words.tryWrite()) {
    if (ownWriter(l)) return EDEADLK;
    Waits waits(s);
    RwResult r = words.takeWrite(waits, until);
    if (r != RwResult::kOk) return errorOf(r);
  }
  writerOf(l).storeRelaxed(glibc::ownTid());
  return 0;
}

int tryReadLock(pthread_rwlock_t* l) {
  return sharedLock(l) ? realSync().tryReadLock(l) : errorOf(wordsOf(l).tryRead());
}

int tryWriteLock(pthread_rwlock_t* l) {
  if (sharedLock(l)) return realSync().tryWriteLock(l);
  if (!wordsOf(l).tryWrite()) return EBUSY;
  writerOf(l).storeRelaxed(glibc::ownTid());
  return 0;
}

int rwUnlock(sched::Sched& s, pthread_rwlock_t* l) {
  if (sharedLock(l)) return realSync().rwUnlock(l);
  Rw words = wordsOf(l);
  Waits waits(s);
  if (words.heldByWriter()) {
    writerOf(l).storeRelaxed(0);
    words.freeWrite(waits);
  } else {
    words.freeRead(waits);
  }
  return 0;
}

}  // namespace graft::shims
