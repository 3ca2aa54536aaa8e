// Look-up of libc's own functions and the start of a real pthread; see real_thread.h.
#include "shims/glibc/real_thread.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>

#include "core/os/sys.h"

namespace graft::glibc {

void* libc() {
  static void* handle = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
  return handle;
}

void* symbolAddress(void* library, const char* name) {
  return library != nullptr ? dlsym(library, name) : nullptr;
}

int startRealThread(void* stack_low, size_t stack_size, void* (*fn)(void*), void* arg,
                    pthread_t* out) {
  auto* create = symbol<decltype(pthread_create)>(libc(), "pthread_create");
  if (create == nullptr) return ENOSYS;
  pthread_attr_t attr;
  if (int error = pthread_attr_init(&attr)) return error;
  int error = pthread_attr_setstack(&attr, stack_low, stack_size);
  if (error == 0) {
    // The real call: a shim of ours would note the mask as the program's.
    uint64_t all = ~uint64_t{0}, old = 0;
    os::sys(SYS_rt_sigprocmask, SIG_SETMASK, os::arg(&all), os::arg(&old), 8);
    error = create(out, &attr, fn, arg);
    os::sys(SYS_rt_sigprocmask, SIG_SETMASK, os::arg(&old), 0, 8);
  }
  pthread_attr_destroy(&attr);
  return error;
}

int joinRealThread(pthread_t thread, void** result) {
  auto* join = symbol<decltype(pthread_join)>(libc(), "pthread_join");
  return join != nullptr ? join(thread, result) : ENOSYS;
}

}  // namespace graft::glibc
