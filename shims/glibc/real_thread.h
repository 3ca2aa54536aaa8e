// pthread_create and its relatives of libc itself, past every interposer (a sanitizer's, ours):
// looked up in libc's own handle. Calibration and sysmon's start; the program's thread.
#pragma once

#include <pthread.h>
#include <stddef.h>

namespace graft::glibc {

// The handle of libc.so.6, or null. Symbols looked up in it are libc's or the loader's own (the
// loader is its only dependency; a handle of the loader itself finds nothing).
void* libc();

// The address of `name`, or null.
void* symbolAddress(void* library, const char* name);
template <class F>
F* symbol(void* library, const char* name) {
  return reinterpret_cast<F*>(symbolAddress(library, name));
}

// Starts a real pthread on the given stack with every signal blocked. Returns what pthread_create
// does, or ENOSYS when libc lacks it. The scheduler keeps one such thread (sysmon), so that glibc
// goes on knowing that the process has threads.
int startRealThread(void* stack_low, size_t stack_size, void* (*fn)(void*), void* arg,
                    pthread_t* out);
int joinRealThread(pthread_t thread, void** result);

}  // namespace graft::glibc
