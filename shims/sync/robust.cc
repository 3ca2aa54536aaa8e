// Robust mutexes of Gs. The kernel finds those of a thread that ends by the list whose head it was
// told; a G that locks one is wired, so its M tells the kernel of the G's head, and a process that
// dies leaves nothing locked. A G that ends alone does for its list what the kernel would have
// done.
//
// An M may keep the head of a G that is gone: the kernel passes over words with another owner's id.
// The G itself, wired, in user code. Source: Linux kernel/futex/core.c, exit_robust_list.
#include <linux/futex.h>

#include "shims/glibc/own_tid.h"
#include "shims/sync/sync.h"

namespace graft::shims {
namespace {

constexpr size_t kMostEntries = ROBUST_LIST_LIMIT;
constexpr uintptr_t kInherits = 1;  // in the address of a mutex with priority inheritance

// From the thread pointer; 0: not known.
constinit int64_t head_offset = 0;

uintptr_t threadPointer() {
  uintptr_t tp;
  asm("movq %%fs:0, %0" : "=r"(tp));
  return tp;
}

robust_list_head* ownHead() {
  return reinterpret_cast<robust_list_head*>(threadPointer() + static_cast<uintptr_t>(head_offset));
}

void ownerDied(robust_list* entry, long futex_offset, uint32_t tid) {
  uintptr_t at = reinterpret_cast<uintptr_t>(entry) & ~kInherits;
  Word& word = *reinterpret_cast<Word*>(at + static_cast<uintptr_t>(futex_offset));
  uint32_t now = word.loadRelaxed();
  do {
    if ((now & FUTEX_TID_MASK) != tid) return;
  } while (!word.casAcqRel(now, (now & FUTEX_WAITERS) | FUTEX_OWNER_DIED));
  // Private or not: the mutex may be either, and the waiters sleep in the kernel.
  if ((now & FUTEX_WAITERS) == 0) return;
  os::sys(SYS_futex, os::arg(&word), FUTEX_WAKE, 1);
  os::sys(SYS_futex, os::arg(&word), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
}

}  // namespace

// On a kernel thread: where glibc keeps the head in each thread block.
void findRobustHead() {
  robust_list_head* head = nullptr;
  size_t size = 0;
  if (os::failed(os::sys(SYS_get_robust_list, 0, os::arg(&head), os::arg(&size)))) return;
  uintptr_t offset = reinterpret_cast<uintptr_t>(head) - threadPointer();
  if (head != nullptr && size == sizeof *head && offset < 4096) {
    head_offset = static_cast<int64_t>(offset);
  }
}

void* robustHead() { return head_offset != 0 ? ownHead() : nullptr; }

void announceRobust() {
  if (head_offset != 0) {
    os::sys(SYS_set_robust_list, os::arg(ownHead()), sizeof(robust_list_head));
  }
}

void endRobust() {
  if (head_offset == 0) return;
  robust_list_head& head = *ownHead();
  uint32_t tid = static_cast<uint32_t>(os::gettid());
  robust_list* entry = head.list.next;
  for (size_t i = 0; entry != nullptr && i < kMostEntries; i++) {
    entry = reinterpret_cast<robust_list*>(reinterpret_cast<uintptr_t>(entry) & ~kInherits);
    if (entry == &head.list) break;
    robust_list* next = entry->next;  // once its owner died, it is another's
    ownerDied(entry, head.futex_offset, tid);
    entry = next;
  }
  head.list.next = &head.list;
}

}  // namespace graft::shims
