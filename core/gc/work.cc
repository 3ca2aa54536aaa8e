// The shared pool of grey buffers, and how workers wait at it for each other; see work.h for rules.
#include "core/gc/work.h"

#include "core/os/mem.h"

namespace graft::gc {

bool GreyPool::init(size_t most) {
  for (reserved_ = roundUp(most, kStep * sizeof(Chunk)); reserved_ != 0;) {
    base_ = os::reserve(reserved_, 0);
    if (base_ != 0) break;
    reserved_ =
        reserved_ / 4 >= kStep * sizeof(Chunk) ? roundUp(reserved_ / 4, kStep * sizeof(Chunk)) : 0;
  }
  if (base_ == 0 || !os::commit(base_, kFirst * sizeof(Chunk))) return false;
  os::Lock lock(mu_);
  committed_ = kFirst;
  most_chunks_ = reserved_ / sizeof(Chunk);
  return true;
}

void GreyPool::beginMark(uint32_t workers) {
  limitWorkers(workers);
  idle_.storeRelaxed(0);
  done_.storeRelaxed(0);
}

void GreyPool::limitWorkers(uint32_t workers) {
  {
    os::Lock lock(mu_);
    workers_ = workers;
  }
  news_.fetchAddRelease(1);
  os::futexWakeAll(&news_);
}

Chunk* GreyPool::get() {
  os::Lock lock(mu_);
  Chunk* c = empty_;
  if (c != nullptr) {
    empty_ = c->next;
    c->n = 0;
    return c;
  }
  if (made_ == committed_ && made_ < most_chunks_) {
    size_t step = most_chunks_ - committed_ < kStep ? most_chunks_ - committed_ : kStep;
    if (os::commit(base_ + committed_ * sizeof(Chunk), step * sizeof(Chunk))) committed_ += step;
  }
  if (made_ >= committed_ || made_ >= most_chunks_) {
    overflow_.storeRelaxed(1);
    return nullptr;
  }
  c = reinterpret_cast<Chunk*>(base_ + made_++ * sizeof(Chunk));
  c->n = 0;
  return c;
}

void GreyPool::put(Chunk* empty) {
  os::Lock lock(mu_);
  empty->next = empty_;
  empty_ = empty;
}

void GreyPool::give(Chunk* c) {
  {
    os::Lock lock(mu_);
    if (base::planted(base::Plant::kLostGrey)) {
      c->next = empty_;
      empty_ = c;
      return;
    }
    c->next = full_;
    full_ = c;
  }
  news_.fetchAddRelease(1);
  if (idle_.loadRelaxed() != 0) os::futexWakeOne(&news_);
}

Chunk* GreyPool::take() {
  os::Lock lock(mu_);
  Chunk* c = full_;
  if (c != nullptr) full_ = c->next;
  return c;
}

// Whoever is idle has nothing grey of its own, and only those who are not can give: both change
// under the lock, together with what is taken.
Chunk* GreyPool::takeOrFinish() {
  bool counted = false;
  for (;;) {
    uint32_t seen = news_.loadAcquire();
    {
      os::Lock lock(mu_);
      if (Chunk* c = full_; c != nullptr) {
        full_ = c->next;
        if (counted) idle_.fetchSubRelaxed(1);
        return c;
      }
      if (!counted) idle_.fetchAddRelaxed(1);
      counted = true;
      if (idle_.loadRelaxed() == workers_) done_.storeRelease(1);
    }
    if (done_.loadAcquire() != 0) {
      news_.fetchAddRelease(1);
      os::futexWakeAll(&news_);
      return nullptr;
    }
    os::futexWaitNs(&news_, seen, 1'000'000);
  }
}

void GreyPool::shrink() {
  os::Lock lock(mu_);
  empty_ = full_ = nullptr;
  if (made_ > kFirst) {
    os::purge(base_ + kFirst * sizeof(Chunk), (made_ - kFirst) * sizeof(Chunk));
  }
  made_ = 0;
}

}  // namespace graft::gc
