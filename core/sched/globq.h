// The global run queue: a list of Gs linked by G::link, first in, first out, for Gs that no P wants
// to keep (overflow, Gs whose M lost its P, Gs readied by threads that are no M). Every method but
// empty() with the scheduler's lock held.
#pragma once

#include "core/sched/g.h"

namespace graft::sched {

class GlobalQueue {
 public:
  void put(G* g) {
    g->link = nullptr;
    (tail_ == nullptr ? head_ : tail_->link) = g;
    tail_ = g;
    size_.storeRelaxed(size_.loadRelaxed() + 1);
  }
  G* get() {
    G* g = head_;
    if (g == nullptr) return nullptr;
    head_ = g->link;
    if (head_ == nullptr) tail_ = nullptr;
    size_.storeRelaxed(size_.loadRelaxed() - 1);
    return g;
  }
  size_t size() const { return size_.loadRelaxed(); }
  bool valid() const {  // every G in it is runnable, and they are as many as it says
    size_t n = 0;
    for (G* g = head_; g != nullptr; g = g->link, n++) {
      if (g->state.look() != GState::kRunnable) return false;
    }
    return n == size();
  }
  bool empty() const { return size() == 0; }  // racy without the lock

 private:
  G* head_ = nullptr;
  G* tail_ = nullptr;
  base::Atomic<size_t> size_{0};
};

}  // namespace graft::sched
