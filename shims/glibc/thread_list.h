// glibc's list of threads on stacks that it does not own. Being in it makes a dlopen of a library
// with initial-exec TLS initialise the thread's block too, gdb's libthread_db see it, and set*id
// count it. Same callers and the same rule about waiting as glibc_lock.h. glibc's record of a
// change in flight is not kept: fork's child empties this list without looking into it.
#pragma once

#include <stdint.h>

#include "shims/glibc/facts.h"
#include "shims/glibc/glibc_lock.h"

namespace graft::glibc {

struct ListNode {
  ListNode* next;
  ListNode* prev;
};

inline ListNode* listNodeOf(uintptr_t tp) {
  return reinterpret_cast<ListNode*>(tp + static_cast<uintptr_t>(facts.list));
}

inline void linkThread(uintptr_t tp) {
  auto* word = reinterpret_cast<GlibcLockWord*>(facts.stack_cache_lock);
  auto* head = reinterpret_cast<ListNode*>(facts.stack_user);
  ListNode* node = listNodeOf(tp);
  lock(word);
  node->next = head->next;
  node->prev = head;
  head->next->prev = node;
  head->next = node;
  unlock(word);
}

inline void unlinkThread(uintptr_t tp) {
  auto* word = reinterpret_cast<GlibcLockWord*>(facts.stack_cache_lock);
  ListNode* node = listNodeOf(tp);
  lock(word);
  node->next->prev = node->prev;
  node->prev->next = node->next;
  unlock(word);
}

}  // namespace graft::glibc
