// Making and taking apart glibc thread blocks; see thread_block.h. create() writes what
// allocate_stack and start_thread of nptl write, by copying a pristine block and moving its inner
// pointers.
#include "shims/glibc/thread_block.h"

#include <errno.h>
#include <sys/single_threaded.h>

#include "core/base/atomic.h"
#include "core/base/bits.h"
#include "core/base/check.h"
#include "core/base/types.h"
#include "core/os/sys.h"
#include "shims/glibc/facts.h"
#include "shims/glibc/real_thread.h"
#include "shims/glibc/stack_pool.h"
#include "shims/glibc/tcb.h"
#include "shims/glibc/thread_list.h"

namespace graft::glibc {
namespace {

// A vector of dynamic TLS with room for nothing, for Ms: they must not use any.
struct EmptyDtv {
  uint64_t capacity[2] = {0, 0};
  uint64_t generation[2] = {0, 0};
};
constinit EmptyDtv empty_dtv;

size_t tlsBelow() { return static_cast<size_t>(facts.static_tls_size - facts.sizeof_pthread); }

void initPoolOnce() {
  static constinit base::Atomic<uint32_t> done{0};
  if (done.loadAcquire() != 0) return;
  initStackPool(static_cast<size_t>(facts.static_tls_size + facts.static_tls_align) +
                sizeof(ThreadBlock));
  done.storeRelease(1);
}

// Where struct pthread goes in the slot that ends with `b`.
uintptr_t placeFor(ThreadBlock* b) {
  return roundDown(reinterpret_cast<uintptr_t>(b) - static_cast<size_t>(facts.sizeof_pthread),
                   static_cast<size_t>(facts.static_tls_align));
}

// Copies the pristine block, from byte `from` on, to where its first byte belongs at `low`.
void copyTemplate(uintptr_t low, size_t from, size_t first_relocation) {
  base::copyBytes(reinterpret_cast<void*>(low + from), pristine.bytes + from,
                  static_cast<size_t>(facts.static_tls_size) - from);
  uintptr_t moved = low - pristine.made_at;
  for (size_t i = first_relocation; i < pristine.relocated_count; i++) {
    *reinterpret_cast<uintptr_t*>(low + size_t{pristine.relocated[i]} * 8) += moved;
  }
}

void describeStack(ThreadBlock* b, const ThreadSpec& spec) {
  uintptr_t tp = b->fs_base;
  if (spec.user_stack != nullptr) {
    b->stack_low = b->attr_low = reinterpret_cast<uintptr_t>(spec.user_stack);
    b->stack_high = b->stack_low + spec.stack_size;
    b->attr_size = spec.stack_size;
    b->guard_size = 0;
  } else {
    b->stack_low = slotStackLow(b);
    b->stack_high = roundDown(tp - tlsBelow(), 64);
    // As glibc reports it: the requested size, TLS and struct pthread included, at a page border.
    uintptr_t end = roundUp(reinterpret_cast<uintptr_t>(b), kOsPage);
    b->attr_size = roundDown(spec.stack_size, 64);
    b->attr_low = end - b->attr_size;
    b->guard_size = roundUp(spec.guard_size, kOsPage);
  }
  wordAt(tp, facts.stackblock) = b->attr_low - b->guard_size;
  wordAt(tp, facts.stackblock + 8) = b->attr_size + b->guard_size;
  if (proven(FactId::guardsize)) wordAt(tp, facts.guardsize) = b->guard_size;
  if (proven(FactId::reported_guardsize)) wordAt(tp, facts.reported_guardsize) = b->guard_size;
}

void fillThread(ThreadBlock* b, const ThreadSpec& spec) {
  uintptr_t tp = b->fs_base;
  *reinterpret_cast<uint32_t*>(at(tp, facts.tid)) = spec.tid;
  wordAt(tp, facts.start_routine) = reinterpret_cast<uintptr_t>(spec.fn);
  wordAt(tp, facts.arg) = reinterpret_cast<uintptr_t>(spec.arg);
  describeStack(b, spec);
}

// Thread variables that start_thread sets, and that the loader's initial image does not have.
void fillThreadVariables(uintptr_t tp) {
  wordAt(tp, facts.resp) = at(tp, facts.res);
  if (proven(FactId::rseq_area) && facts.rseq_area < 0) {
    constexpr uint64_t kNotRegistered = uint64_t{0xfffffffe} << 32;  // cpu_id_start 0, cpu_id -2
    wordAt(tp, facts.rseq_area) = kNotRegistered;
  }
}

// The loader's part: a vector of dynamic TLS, and the initial image of every module. In the list
// before that, so that a dlopen in between initialises the block as well (both write the same).
bool linkAndAllocateTls(uintptr_t tp) {
  linkThread(tp);
  if (fns.allocateTls(reinterpret_cast<void*>(tp)) != nullptr) return true;
  unlinkThread(tp);
  return false;
}

}  // namespace

int create(const ThreadSpec& spec, ThreadBlock** out) {
  initPoolOnce();
  bool own_stack = spec.user_stack != nullptr;
  if (own_stack && spec.stack_size < kOsPage) return EINVAL;
  ThreadBlock* b = acquireSlot(own_stack ? 0 : spec.stack_size, own_stack ? 0 : spec.guard_size);
  if (b == nullptr) return EAGAIN;
  b->fs_base = placeFor(b);
  b->kind = BlockKind::kThread;
  b->user_stack = own_stack;
  b->result = nullptr;
  copyTemplate(b->fs_base - tlsBelow(), tlsBelow(), pristine.relocated_tls);
  fillThread(b, spec);
  if (!linkAndAllocateTls(b->fs_base)) {
    releaseSlot(b);
    return EAGAIN;
  }
  fillThreadVariables(b->fs_base);
  *out = b;
  return 0;
}

ThreadBlock* createMachine(size_t stack_size, uint32_t tid) {
  initPoolOnce();
  ThreadBlock* b = acquireSlot(stack_size, kOsPage);
  if (b == nullptr) return nullptr;
  b->fs_base = placeFor(b);
  b->kind = BlockKind::kMachine;
  b->user_stack = false;
  b->result = nullptr;
  copyTemplate(b->fs_base - tlsBelow(), 0, 0);
  wordAt(b->fs_base, facts.dtv) = reinterpret_cast<uintptr_t>(&empty_dtv.generation);
  ThreadSpec spec;
  spec.stack_size = stack_size;
  spec.tid = tid;
  fillThread(b, spec);
  return b;
}

void release(ThreadBlock* b) {
  if (b->kind != BlockKind::kAdopted) releaseSlot(b);
}

bool adopt(ThreadBlock* b) {
  pthread_attr_t attr;
  if (pthread_getattr_np(pthread_self(), &attr) != 0) return false;
  void* low = nullptr;
  size_t size = 0, guard = 0;
  pthread_attr_getstack(&attr, &low, &size);
  pthread_attr_getguardsize(&attr, &guard);
  pthread_attr_destroy(&attr);
  *b = {};
  b->fs_base = os::threadPointer();
  b->kind = BlockKind::kAdopted;
  b->stack_low = b->attr_low = reinterpret_cast<uintptr_t>(low);
  b->stack_high = b->stack_low + size;
  b->attr_size = size;
  b->guard_size = guard;
  markThreaded();
  return true;
}

void markThreaded() {
  // Calibration made a real thread, so glibc's private flag says "threads" for good; the public one
  // may have a second copy, in the executable.
  __libc_single_threaded = 0;
  if (auto* flag = symbol<char>(libc(), "__libc_single_threaded")) *flag = 0;
  if (proven(FactId::multiple_threads)) {
    *reinterpret_cast<uint32_t*>(at(os::threadPointer(), facts.multiple_threads)) = 1;
  }
}

size_t staticTlsBelow() { return tlsBelow(); }

bool unregisterRseq() {
  if (!proven(FactId::rseq_area)) return false;
  constexpr long kRseq = 334, kUnregister = 1, kSignature = 0x53053053;
  uintptr_t area = at(os::threadPointer(), facts.rseq_area);
  long got = -22;
  for (long size = 32; size <= 64 && got == -22; size += 32) {  // glibc registers 32 bytes so far
    got = os::sys(kRseq, static_cast<long>(area), size, kUnregister, kSignature);
  }
  if (os::failed(got)) return false;
  *reinterpret_cast<uint32_t*>(area + 4) = static_cast<uint32_t>(-2);
  return true;
}

void resetAfterFork(ThreadBlock* survivor) { resetPoolAfterFork(survivor); }

}  // namespace graft::glibc
