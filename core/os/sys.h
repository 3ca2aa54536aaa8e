// Raw Linux system calls: value or -errno, never errno itself, so that the runtime can be entered
// from any point of a program without disturbing it. Inline, any stack, no locks.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

namespace graft::os {

inline long sys(long nr, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
  long ret;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(ret)
               : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return ret;
}

template <class T>
long arg(T* p) {
  return static_cast<long>(reinterpret_cast<uintptr_t>(p));
}

inline bool failed(long ret) { return static_cast<unsigned long>(ret) > -4096UL; }

// What getdents64 gives: linux_dirent64.
struct DirEntry {
  uint64_t inode;
  int64_t offset;
  uint16_t bytes;
  uint8_t type;
  char name[];
};

inline int gettid() { return static_cast<int>(sys(SYS_gettid)); }
inline int getpid() { return static_cast<int>(sys(SYS_getpid)); }

// Words of a thread's block that glibc keeps equal in all threads (tcbhead_t).
inline constexpr size_t kStackGuard = 0x28, kPointerGuard = 0x30;
inline uint64_t fsWord(size_t offset) {
  uint64_t v;
  asm("movq %%fs:(%1), %0" : "=r"(v) : "r"(offset));
  return v;
}

// The thread pointer (%fs:0): one value per live thread of the process.
inline uintptr_t threadPointer() {
  uintptr_t tp;
  asm("mov %%fs:0, %0" : "=r"(tp));
  return tp;
}

}  // namespace graft::os
