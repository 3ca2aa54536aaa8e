// glibc's own synchronisation functions behind our exports: for objects that other processes or
// the kernel look into. Looked up all at once, at the start of a process whose threads are Gs; any
// thread, read only after that.
#pragma once

#include <pthread.h>

namespace graft::shims {

struct RealSync {
#define REAL(field, name) decltype(&::name) field = nullptr;
#include "shims/sync/real.def"
#undef REAL
};

// Also where glibc keeps a thread's id, which all of shims/sync needs.
const RealSync& findRealSync();
extern constinit RealSync real_sync;

inline const RealSync& realSync() {
  return __builtin_expect(real_sync.last != nullptr, 1) ? real_sync : findRealSync();
}

}  // namespace graft::shims
