// How graft starts in a process: lazily at the first allocation, at the latest in the constructor;
// and how it says good-bye: fork handlers and the run summary. Decides from the outside whether
// graft may run at all: AT_SECURE, valgrind, sanitizers.
#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include "core/runtime/runtime.h"
#include "preload/dl.h"
#include "preload/real.h"
#include "shims/start.h"

extern "C" {
// Present only when a sanitizer's runtime is in the process.
void __asan_init() __attribute__((weak));
void __tsan_init() __attribute__((weak));
void __msan_init() __attribute__((weak));
void __lsan_init() __attribute__((weak));
}

namespace graft {
namespace {

using runtime::rt;

// Tools of valgrind that replace malloc preload vgpreload_<tool>; those that do not (callgrind,
// cachegrind, none) have only vgpreload_core, and graft may run under them.
bool underValgrindHeapTool() {
  if (environ == nullptr) return false;
  for (char** e = environ; *e != nullptr; e++) {
    if (strncmp(*e, "LD_PRELOAD=", 11) != 0) continue;
    for (const char* at = strstr(*e, "vgpreload_"); at != nullptr;
         at = strstr(at + 1, "vgpreload_")) {
      if (strncmp(at, "vgpreload_core", 14) != 0) return true;
    }
  }
  return false;
}

const char* offBecause() {
  if (&__asan_init != nullptr || &__tsan_init != nullptr || &__msan_init != nullptr ||
      &__lsan_init != nullptr) {
    return "a sanitizer's runtime is in the process";
  }
  if (underValgrindHeapTool()) return "a valgrind tool replaces malloc";
  return nullptr;
}

// GRAFT_CHILD=0: take ourselves out of what children inherit, and leave the rest of it.
void forgetPreload() {
  for (char** e = environ; e != nullptr && *e != nullptr; e++) {
    if (strncmp(*e, "LD_PRELOAD=", 11) != 0) continue;
    char* out = *e + 11;
    for (const char* in = *e + 11; *in != '\0';) {
      size_t n = strcspn(in, ": ");
      const char* name = in + n;
      while (name > in && name[-1] != '/') name--;
      bool ours = strncmp(name, "libgraft.so", 11) == 0;
      size_t with_separator = n + (in[n] != '\0' ? 1 : 0);
      if (!ours) {
        memmove(out, in, with_separator);
        out += with_separator;
      }
      in += with_separator;
    }
    *out = '\0';
  }
}

// In a process with one thread no lock can be held by anybody else, but perhaps by this very thread
// when fork is called in a signal handler that interrupted malloc: then nothing may be locked.
bool locked_for_fork = false;

// glibc runs prepare handlers first and takes its stdio list lock after them; a thread in
// fflush(NULL) holds that lock and may want ours. So the list lock comes first (HZ-FORK).
extern "C" void _IO_list_lock();
extern "C" void _IO_list_unlock();

void prepare() {
  locked_for_fork = __libc_single_threaded == 0;
  if (!locked_for_fork) return;
  _IO_list_lock();
  rt.forkPrepare();
}
void parent() {
  if (!locked_for_fork) return;
  rt.forkParent();
  _IO_list_unlock();
}
// glibc resets its list lock in the child by itself.
void child() { rt.forkChild(locked_for_fork); }

__attribute__((constructor)) void startUp() {
  bool on = shims::startRuntime();
  preload::initDl();
  if (on) pthread_atfork(prepare, parent, child);
  if (!base::options.child) forgetPreload();
  rt.sayVerbose();
}

__attribute__((destructor)) void sayGoodBye() { rt.writeSummary(); }

}  // namespace

namespace shims {

bool startRuntime() {
  if (rt.on()) return true;
  if (rt.off() || rt.starting()) {
    // Off, or someone is starting it: start() waits where that is right.
    return rt.off() ? false : rt.start(nullptr, nullptr);
  }
  preload::installHost();
  const char* off = offBecause();
  bool on = rt.start(getauxval(AT_SECURE) != 0 ? nullptr : environ, off);
  if (rt.off()) preload::resolveReal();
  return on;
}

}  // namespace shims
}  // namespace graft
