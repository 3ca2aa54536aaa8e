// How graft starts in a process: lazily at the first allocation, at the latest in the constructor;
// and how it says good-bye: fork handlers and the run summary. Decides from the outside whether
// graft may run at all: AT_SECURE, valgrind, sanitizers.
#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include "core/runtime/collect.h"
#include "core/runtime/runtime.h"
#include "preload/dl.h"
#include "preload/process.h"
#include "preload/real.h"
#include "shims/facts.h"
#include "shims/start.h"
#include "shims/threads/real.h"
#include "shims/threads/signals.h"
#include "shims/threads/threads.h"

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
bool underValgrindHeapTool(char** env) {
  for (char** e = env; e != nullptr && *e != nullptr; e++) {
    if (strncmp(*e, "LD_PRELOAD=", 11) != 0) continue;
    for (const char* at = strstr(*e, "vgpreload_"); at != nullptr;
         at = strstr(at + 1, "vgpreload_")) {
      if (strncmp(at, "vgpreload_core", 14) != 0) return true;
    }
  }
  return false;
}

// A library that is initialised before libc (-z initfirst) may allocate while environ is not set
// yet: then the environment is read where the kernel put it.
extern "C" void* __libc_stack_end;
char** environment() {
  if (environ != nullptr) return environ;
  long* entry = static_cast<long*>(__libc_stack_end);  // argc, argv..., null, envp...
  constexpr long kMostArguments = 1 << 22;
  if (entry == nullptr || *entry < 0 || *entry > kMostArguments) return nullptr;
  char** argv = reinterpret_cast<char**>(entry + 1);
  return argv[*entry] == nullptr ? argv + *entry + 1 : nullptr;
}

const char* offBecause(char** env) {
  if (&__asan_init != nullptr || &__tsan_init != nullptr || &__msan_init != nullptr ||
      &__lsan_init != nullptr) {
    return "a sanitizer's runtime is in the process";
  }
  if (underValgrindHeapTool(env)) return "a valgrind tool replaces malloc";
  return nullptr;
}

// glibc's names for checked mode: MALLOC_CHECK_=1..3 and GLIBC_TUNABLES=glibc.malloc.check=1..3.
bool checksAskedOfGlibc(char** env) {
  auto wanted = [](const char* value) { return *value >= '1' && *value <= '9'; };
  for (char** e = env; e != nullptr && *e != nullptr; e++) {
    if (strncmp(*e, "MALLOC_CHECK_=", 14) == 0) return wanted(*e + 14);
    if (strncmp(*e, "GLIBC_TUNABLES=", 15) != 0) continue;
    const char* at = strstr(*e, "glibc.malloc.check=");
    if (at != nullptr && (at[-1] == '=' || at[-1] == ':') && wanted(at + 19)) return true;
  }
  return false;
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

bool locked_for_fork = false;

// glibc runs prepare handlers first and takes its stdio list lock after them; a thread in
// fflush(NULL) holds that lock and may want ours. So the list lock comes first (HZ-FORK).
extern "C" void _IO_list_lock();
extern "C" void _IO_list_unlock();

void prepare() {
  locked_for_fork = __libc_single_threaded == 0;
  if (locked_for_fork) _IO_list_lock();
  rt.forkPrepare(locked_for_fork);
}
void parent() {
  rt.forkParent(locked_for_fork);
  if (locked_for_fork) _IO_list_unlock();
}
// glibc resets its list lock in the child by itself.
void child() {
  rt.forkChild(locked_for_fork);
  shims::forkChildThreads();
}

__attribute__((constructor)) void startUp() {
  bool on = shims::startRuntime();
  preload::initDl();
  preload::resolveProcess();
  preload::resolveSync();
  shims::resolveRealThreads();
  if (on) pthread_atfork(prepare, parent, child);
  if (on && rt.collector.on()) shims::startStopSignal();
  if (!base::options.child) forgetPreload();
  rt.sayVerbose();
}

__attribute__((destructor)) void sayGoodBye() {
  shims::writeFacts();
  if (rt.on()) runtime::writeLeaks(rt);
  rt.writeSummary();
  rt.control.leave();
}

}  // namespace

namespace shims {

bool startRuntime() {
  if (rt.on()) return true;
  if (rt.off() || rt.starting()) {
    // Off, or someone is starting it: start() waits where that is right.
    return rt.off() ? false : rt.start({});
  }
  preload::installHost();
  // With AT_SECURE (set-id programs) the environment is an attacker's: defaults only.
  char** env = environment();
  char** trusted = getauxval(AT_SECURE) != 0 ? nullptr : env;
  bool on = rt.start({trusted, offBecause(env), checksAskedOfGlibc(trusted)});
  if (rt.off()) preload::resolveReal();
  return on;
}

}  // namespace shims
}  // namespace graft
