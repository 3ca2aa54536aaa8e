// A bounded queue of batches of blocks between threads: a full ring stops the producers, so the
// number of blocks on their way is bounded. Any number of threads may put and get. One mutex and
// two condition variables, taken once per batch of 64, so that the malloc dominates and not the
// queue.
#pragma once

#include "workload.h"

namespace workload {

struct Batch {
  static constexpr size_t kBlocks = 64;
  Block blocks[kBlocks];
  size_t count = 0;
};

class Ring {
 public:
  explicit Ring(size_t batches) : slots_(batches) {}

  void put(const Batch& batch) {
    pthread_mutex_lock(&mutex_);
    while (count_ == slots_.size()) pthread_cond_wait(&not_full_, &mutex_);
    append(batch);
    pthread_mutex_unlock(&mutex_);
  }

  // False if there is no room.
  bool tryPut(const Batch& batch) {
    pthread_mutex_lock(&mutex_);
    const bool room = count_ != slots_.size();
    if (room) append(batch);
    pthread_mutex_unlock(&mutex_);
    return room;
  }

  // False if nothing is waiting.
  bool tryGet(Batch* batch) {
    pthread_mutex_lock(&mutex_);
    const bool found = count_ != 0;
    if (found) take(batch);
    pthread_mutex_unlock(&mutex_);
    return found;
  }

  // Waits; false once the ring is closed and empty.
  bool get(Batch* batch) {
    pthread_mutex_lock(&mutex_);
    while (count_ == 0 && !closed_) pthread_cond_wait(&not_empty_, &mutex_);
    const bool found = count_ != 0;
    if (found) take(batch);
    pthread_mutex_unlock(&mutex_);
    return found;
  }

  // No put may follow, until open().
  void close() {
    pthread_mutex_lock(&mutex_);
    closed_ = true;
    pthread_cond_broadcast(&not_empty_);
    pthread_mutex_unlock(&mutex_);
  }

  void open() {
    pthread_mutex_lock(&mutex_);
    closed_ = false;
    pthread_mutex_unlock(&mutex_);
  }

 private:
  void append(const Batch& batch) {
    slots_[(first_ + count_) % slots_.size()] = batch;
    count_++;
    pthread_cond_signal(&not_empty_);
  }

  void take(Batch* batch) {
    *batch = slots_[first_];
    first_ = (first_ + 1) % slots_.size();
    count_--;
    pthread_cond_signal(&not_full_);
  }

  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t not_full_ = PTHREAD_COND_INITIALIZER;
  pthread_cond_t not_empty_ = PTHREAD_COND_INITIALIZER;
  // Guarded by mutex_.
  std::vector<Batch> slots_;
  size_t first_ = 0;
  size_t count_ = 0;
  bool closed_ = false;
};

// A batch under way to a ring: full ones are put there, the rest by flush().
class Outbox {
 public:
  explicit Outbox(Ring* ring) : ring_(ring) {}
  void add(const Block& block) {
    batch_.blocks[batch_.count++] = block;
    if (batch_.count == Batch::kBlocks) flush();
  }
  void flush() {
    if (batch_.count == 0) return;
    ring_->put(batch_);
    batch_.count = 0;
  }

 private:
  Ring* ring_;
  Batch batch_;
};

inline size_t releaseAll(const Batch& batch) {
  for (size_t i = 0; i < batch.count; i++) release(batch.blocks[i]);
  return batch.count;
}

}  // namespace workload
