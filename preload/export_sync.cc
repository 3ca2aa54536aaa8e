// The exported synchronisation functions of pthread.h, semaphore.h and threads.h, and those that
// wait for descriptors. Each is one jump
// through a table: to glibc's own function in a process whose threads are kernel threads, where
// nothing but glibc's code ever touches the objects; to shims/sync (sync_gs.h) in one whose threads
// are Gs. Which of the two is decided once, by the constructor or the first call that comes before
// it, so before a second thread exists, and holds for the life of the process and of its forks:
// the two do not understand each other's waiters.
//
// Any thread of the program, in its signal handlers where glibc's function may be called there.
#include <dlfcn.h>
#include <string.h>

#include "core/base/atomic.h"
#include "core/base/options.h"
#include "preload/process.h"
#include "preload/sync_gs.h"
#include "shims/start.h"
#include "shims/sync/real.h"

#define GRAFT_EXPORT extern "C" [[gnu::visibility("default")]]

namespace graft::preload {
namespace {

// Whether this process wants its threads to be Gs.
bool wantsGs() { return base::options.threads.get() == base::Threads::kMToN; }

constexpr uint32_t kUndecided = 0, kGlibcs = 1, kShims = 2;
constinit base::Atomic<uint32_t> owner{kUndecided};

// What the table holds until it is filled.
namespace first {

#define SYNC(type, name, parameters, arguments) type name parameters;
#define ALIAS(second, name)
#include "preload/jumps.def"
#undef SYNC

}  // namespace first

struct Jumps {
#define SYNC(type, name, parameters, arguments) type(*name) parameters = first::name;
#include "preload/jumps.def"
#undef SYNC
};
constinit Jumps jumps;

namespace first {

#define SYNC(type, name, parameters, arguments) \
  type name parameters {                        \
    resolveSync();                              \
    return jumps.name arguments;                \
  }
#include "preload/jumps.def"
#undef SYNC

}  // namespace first

// dlsym gives the default version of each, which for condition variables is the 48-byte one; or
// the wrapper of a library that was preloaded after us.
template <class F>
void set(F*& jump, const char* name, F* for_gs) {
  // graft_fcntl stands for fcntl, which a header declares as variadic.
  constexpr char kPrefix[] = "graft_";
  if (strncmp(name, kPrefix, sizeof kPrefix - 1) == 0) name += sizeof kPrefix - 1;
  F* f = for_gs != nullptr ? for_gs : reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
  __atomic_store_n(&jump, f, __ATOMIC_RELAXED);
}

}  // namespace

bool syncIsForGs() {
  uint32_t now = owner.loadAcquire();
  if (now == kUndecided) {
    uint32_t wanted = shims::startRuntime() && wantsGs() ? kShims : kGlibcs;
    if (owner.casAcqRel(now, wanted)) now = wanted;
  }
  return now == kShims;
}

// Not for later: dlsym takes a lock of the loader's, which a thread in dlopen may hold that waits
// for us, and must not be called in a signal handler.
void resolveSync() {
  bool gs = syncIsForGs();
  if (gs) shims::findRealSync();
#define SYNC(type, name, parameters, arguments) set(jumps.name, #name, gs ? gs::name : nullptr);
#include "preload/jumps.def"
#undef SYNC
}

}  // namespace graft::preload

using graft::preload::jumps;
using graft::preload::RoutineOfOnce;

#undef ALIAS
#define SYNC(type, name, parameters, arguments) \
  GRAFT_EXPORT type name parameters { return jumps.name arguments; }
#define ALIAS(second, name) \
  asm(".globl " #second "\n\t.type " #second ", @function\n\t.set " #second ", " #name);
#include "preload/jumps.def"
#undef ALIAS
#undef SYNC
