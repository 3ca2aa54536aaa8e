// Full glibc thread identities for what is no kernel thread: a stack, a static TLS block and a
// struct pthread, so that errno, thread_local, locale, keys, stdio owners, exceptions and
// pthread_exit work on a G as on a thread. Used by the scheduler; nothing here knows how threads
// are scheduled.
//
// Life of a block:
//   create()    on the creator (a G or the program's thread)   block is linked into glibc's list
//   [makeContext(.., block->stack_low, .., entry, block) and the first switch with fs_base]
//   run()       on the new G, first: the thread function, pthread_exit included
//   finish()    on the G, last: thread_local destructors, keys, unlink, free what TLS holds
//   [last switch away]
//   release()   on any stack, g0 too: the block may be handed out again
// A slot of stack memory, lowest address first:
//   | guard | stack, at least what was asked | static TLS | struct pthread | ThreadBlock |
// The last three are built anew for each thread, so a recycled block has fresh thread variables and
// a vector of dynamic TLS made for the modules that are loaded then (HZ-TLSREUSE).
//
// Calls into libc (malloc, the loader's lock, glibc's stack list lock): create, run, finish,
// adopt*; so never on g0, in sysmon or in a signal handler, and with the ownership word at `user`.
// acquire and release take one lock of graft's per size of stack and make system calls only. If you
// change what create() writes, look at facts.def too. Source: nptl's allocate_stack and
// start_thread; template cloning is ours.
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

namespace graft::glibc {

struct ThreadSpec {
  void* (*fn)(void*) = nullptr;
  void* arg = nullptr;
  size_t stack_size = 0;  // what pthread_attr_getstacksize says
  size_t guard_size = 4096;  // what pthread_attr_getguardsize says
  void* user_stack = nullptr;  // lowest address, of stack_size bytes (pthread_attr_setstack)
  uint32_t tid = 0;  // never changes while the block lives (HZ-TID)
};

enum class BlockKind : uint8_t {
  kThread,  // a G: linked into glibc's list, has dynamic TLS
  kMachine,  // an M's g0: glibc does not know it, no dynamic TLS, nothing that libc may lock
  kAdopted,  // a thread that glibc made itself: the main thread
};

struct ThreadBlock {
  uintptr_t fs_base;  // FS base of the thread; what pthread_self() returns
  uintptr_t stack_low;  // where the thread may run
  uintptr_t stack_high;
  uintptr_t attr_low;  // what pthread_getattr_np should report
  size_t attr_size;
  size_t guard_size;
  void* result;  // set by run()
  BlockKind kind;
  bool user_stack;

  // Of stack_pool.cc.
  bool clean;  // the stack was given back to the kernel since it was last used
  bool guard_by_mprotect;
  uint8_t size_class;
  uint32_t fork_epoch;  // of the process that took the block
  size_t guard_installed;
  ThreadBlock* next;

  pthread_t thread() const { return static_cast<pthread_t>(fs_base); }
};

// 0 or EAGAIN (no memory, no address space). EINVAL: user stack that cannot hold a frame.
int create(const ThreadSpec& spec, ThreadBlock** out);
// The first thing on the new thread: runs the function to its end, be it return, pthread_exit or a
// forced unwind. The signal mask is the caller's business.
void* run(ThreadBlock* block);
// The last thing on the thread, after run(): everything the thread leaves behind is destroyed, in
// glibc's order. Afterwards only static TLS may be touched.
void finish(ThreadBlock* block);
// After the last switch away from the thread, and when its pthread_t may be used for another.
void release(ThreadBlock* block);

// A block for runtime code: stack of at least `stack_size` bytes and a TCB that libc does not know.
// Uses neither libc nor its locks; g0 and sysmon may call it. Null: no memory.
ThreadBlock* createMachine(size_t stack_size, uint32_t tid);

// The calling thread, made by glibc (the main thread): keeps its TLS and stack. Fills `out` and
// marks the process as threaded, so that libc and libstdc++ use locks.
bool adopt(ThreadBlock* out);
// The latter alone; in the child of a fork, where the calling thread may have a block already.
void markThreaded();

// How much room static TLS takes below a thread pointer.
size_t staticTlsBelow();

// pthread_exit (or a forced unwind) on an adopted thread would end in libc's start code, which ends
// the kernel thread it happens to run on. Instead ended(block) is called, on the thread's own
// stack, after its handlers, C++ objects and keys are done, with block->result set; it must not
// return. Call it on the adopted thread. False: libc's saved state is not as expected, nothing was
// changed.
bool catchExit(ThreadBlock* block, void (*ended)(ThreadBlock* block));

// The kernel thread must not write into the calling thread's block any more: unregisters the area
// for restartable sequences, so that sched_getcpu() asks the kernel. Call it on the main thread
// before it can move; Ms are never registered. True: nothing is registered now.
bool unregisterRseq();

// In the child of fork, on the surviving thread (null: not one of ours): every other block is
// forgotten, not unlinked, since glibc's child side has emptied its list already; their memory is
// used again. No allocation, no libc (HZ-FORK).
void resetAfterFork(ThreadBlock* survivor);

// Gives the stacks of up to `most` idle blocks back to the kernel; returns how many. Background
// use.
size_t trimIdle(size_t most);

struct BlockStats {
  uint64_t slots;  // ever made
  uint64_t recycled;  // handed out again
  uint64_t idle;
  uint64_t mprotect_guards;
};
BlockStats blockStats();

}  // namespace graft::glibc
