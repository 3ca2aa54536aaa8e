// The first and the last steps of a thread, on the thread itself: what nptl's start_thread does
// around the program's function. run() keeps the frame that pthread_exit and forced unwinding come
// back to; destructors run inside it, because they may call pthread_exit as well.
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <resolv.h>
#include <setjmp.h>
#include <stdlib.h>

#include "core/base/check.h"
#include "core/os/sys.h"
#include "shims/glibc/facts.h"
#include "shims/glibc/tcb.h"
#include "shims/glibc/thread_block.h"
#include "shims/glibc/thread_list.h"
#include "shims/glibc/thread_run.h"

namespace graft::glibc {
namespace {

// Struct pthread's first level of keys: 32 pointers to blocks of 32 {sequence, value}.
struct KeyData {
  uintptr_t sequence;
  void* value;
};
struct Key {
  uintptr_t sequence;
  void (*destroy)(void*);
};
constexpr size_t kKeysPerBlock = 32;

KeyData* keyBlock(uintptr_t tp, size_t i) {
  return reinterpret_cast<KeyData*>(wordAt(tp, facts.specific + static_cast<int64_t>(i) * 8));
}

// Most threads have no values: one pass without branches says so.
bool hasValues(const KeyData* block) {
  uintptr_t any = 0;
  for (size_t i = 0; i < kKeysPerBlock; i++) any |= reinterpret_cast<uintptr_t>(block[i].value);
  return any != 0;
}

// One round over all values. True: something was set, so another round may find something.
bool destroyKeys(uintptr_t tp) {
  Key* keys = reinterpret_cast<Key*>(facts.keys);
  bool any = false;
  for (size_t i = 0; i < kKeysPerBlock; i++) {
    KeyData* block = keyBlock(tp, i);
    if (block == nullptr || !hasValues(block)) continue;
    for (size_t j = 0; j < kKeysPerBlock; j++) {
      void* value = block[j].value;
      if (value == nullptr) continue;
      any = true;
      block[j].value = nullptr;
      Key& key = keys[i * kKeysPerBlock + j];
      // A sequence that moved: the key was deleted, and its values with it.
      auto* destroy = __atomic_load_n(&key.destroy, __ATOMIC_RELAXED);
      if (block[j].sequence == __atomic_load_n(&key.sequence, __ATOMIC_ACQUIRE) &&
          destroy != nullptr) {
        destroy(value);
      }
    }
  }
  return any;
}

void endKeys(uintptr_t tp) {
  if (proven(FactId::specific_used) && *reinterpret_cast<char*>(at(tp, facts.specific_used)) == 0) {
    return;
  }
  for (int round = 0; round < PTHREAD_DESTRUCTOR_ITERATIONS && destroyKeys(tp); round++) {
  }
  for (size_t i = 1; i < kKeysPerBlock; i++) {
    KeyData* block = keyBlock(tp, i);
    if (block == nullptr) continue;
    wordAt(tp, facts.specific + static_cast<int64_t>(i) * 8) = 0;
    free(block);
  }
}

void freeBuffer(uintptr_t tp, FactId id, int64_t offset) {
  if (!proven(id)) return;
  free(reinterpret_cast<void*>(wordAt(tp, offset)));
  wordAt(tp, offset) = 0;
}

// What glibc's __libc_thread_freeres does, which it does not export.
void freeLibcState(uintptr_t tp) {
  auto* resolver = reinterpret_cast<struct __res_state*>(at(tp, facts.res));
  if (resolver->nscount != 0 && fns.resNclose != nullptr) fns.resNclose(resolver);
  freeBuffer(tp, FactId::strsignal_buffer, facts.strsignal_buffer);
  freeBuffer(tp, FactId::strerror_buffer, facts.strerror_buffer);
  if (proven(FactId::dlerror_result) && wordAt(tp, facts.dlerror_result) != 0) {
    dlerror();  // the first call hands the text out, the second frees it
    dlerror();
  }
}

}  // namespace

void* run(ThreadBlock* b) {
  uintptr_t tp = b->fs_base;
  fns.ctypeInit();
  __pthread_unwind_buf_t unwind;
  if (__sigsetjmp(reinterpret_cast<__jmp_buf_tag*>(unwind.__cancel_jmp_buf), 0) == 0) {
    unwind.__pad[0] = unwind.__pad[1] = nullptr;  // no outer buffer, no old-style handlers
    wordAt(tp, facts.cleanup_jmp_buf) = reinterpret_cast<uintptr_t>(&unwind);
    auto* fn = reinterpret_cast<void* (*)(void*)>(wordAt(tp, facts.start_routine));
    void* result = fn(reinterpret_cast<void*>(wordAt(tp, facts.arg)));
    wordAt(tp, facts.result) = reinterpret_cast<uintptr_t>(result);
  }
  fns.callTlsDtors();
  endKeys(tp);
  b->result = reinterpret_cast<void*>(wordAt(tp, facts.result));
  return b->result;
}

void endAdopted(ThreadBlock* b) {
  endKeys(b->fs_base);  // thread_local objects of the main thread live until exit()
  b->result = reinterpret_cast<void*>(wordAt(b->fs_base, facts.result));
}

void finish(ThreadBlock* b) {
  uintptr_t tp = b->fs_base;
  freeLibcState(tp);
  wordAt(tp, facts.cleanup_jmp_buf) = 0;
  unlinkThread(tp);
  fns.deallocateTls(reinterpret_cast<void*>(tp), false);
}

}  // namespace graft::glibc
