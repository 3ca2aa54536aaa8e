// Read-write locks: glibc's layout and kinds over rwlock_words.h, with the case that nobody holds a
// private one inline, for the exports; the rest is in rwlock.cc. Any thread of the program in user
// code. No locks.
#pragma once

#include <pthread.h>

#include "shims/glibc/own_tid.h"
#include "shims/sync/rwlock_words.h"

namespace graft::shims {

using Rw = RwWords<base::RealAtom>;

inline Rw wordsOf(pthread_rwlock_t* l) {
  auto& d = l->__data;
  return Rw(wordOf(d.__readers), wordOf(d.__writers),
            d.__flags == PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
}
inline bool sharedLock(pthread_rwlock_t* l) { return l->__data.__shared != 0; }
inline Word& writerOf(pthread_rwlock_t* l) { return wordOf(l->__data.__cur_writer); }

// False: the slow path has to look.
inline bool readLockFast(pthread_rwlock_t* l) {
  return !sharedLock(l) && wordsOf(l).tryRead() == RwResult::kOk;
}
inline bool writeLockFast(pthread_rwlock_t* l) {
  if (sharedLock(l) || !wordsOf(l).tryWrite()) return false;
  writerOf(l).storeRelaxed(glibc::ownTid());
  return true;
}

}  // namespace graft::shims
