// glibc's own synchronisation functions behind our exports: used while the program's threads are
// kernel threads, and for objects that other processes or the kernel look into. Looked up all at
// once in the constructor, or by the first call that comes before it; any thread, read only after
// that.
#pragma once

#include <pthread.h>
#include <semaphore.h>

namespace graft::shims {

struct RealSync {
#define REAL(field, name) decltype(&::name) field = nullptr;
#include "shims/sync/real.def"
#undef REAL
};

const RealSync& realSyncSlow();
extern constinit RealSync real_sync;

inline const RealSync& realSync() {
  return __builtin_expect(real_sync.last != nullptr, 1) ? real_sync : realSyncSlow();
}

}  // namespace graft::shims
