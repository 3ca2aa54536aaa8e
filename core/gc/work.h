// Grey buffers: what is marked and not yet scanned. Each worker fills and empties a chunk of its
// own; full ones, and half of what it has when somebody starves, go to the pool that all share. A
// worker that finds nothing waits there; when all wait, no grey is left and marking is done.
//
//   entry   | class byte | address |   class 0: a piece of a large object begins at the address
//
// The pool grows by committing reserved memory. When the kernel gives none, get() fails and the
// object stays marked but unscanned: overflowed() tells the marker to look for such objects.
//
// Workers only, world stopped. mu_ is a leaf, held for a few instructions per 500 entries.
// Source: Go's gcWork and workbufs; waiting at the pool as in Boehm's parallel marker.
#pragma once

#include "core/base/atomic.h"
#include "core/base/plant.h"
#include "core/base/types.h"
#include "core/os/mutex.h"
#include "core/os/thread.h"

namespace graft::gc {

struct Chunk {
  static constexpr size_t kRoom = 510;
  Chunk* next;
  size_t n;
  uint64_t entry[kRoom];
};
static_assert(sizeof(Chunk) == 4096);

inline constexpr unsigned kEntryShift = 48;
constexpr uint64_t makeEntry(Addr at, uint8_t cls) { return uint64_t{cls} << kEntryShift | at; }
constexpr Addr addrOfEntry(uint64_t e) { return e & ((uint64_t{1} << kEntryShift) - 1); }
constexpr uint8_t classOfEntry(uint64_t e) { return static_cast<uint8_t>(e >> kEntryShift); }

class GreyPool {
 public:
  // Reserves up to `most` bytes and commits a few chunks. False: not even those can be had.
  bool init(size_t most);
  Addr base() const { return base_; }
  size_t reserved() const { return reserved_; }

  void beginMark(uint32_t workers);
  // There are only so many, after all.
  void limitWorkers(uint32_t workers);
  Chunk* get();  // an empty one; null: out of memory
  void put(Chunk* empty);
  void give(Chunk* with_entries);
  // One with entries; waits for one. Null: nothing grey is left anywhere, marking is done.
  Chunk* takeOrFinish();
  Chunk* take();  // the same without waiting
  bool hungry() const { return idle_.loadRelaxed() != 0; }
  bool overflowed() const { return overflow_.loadRelaxed() != 0; }
  void clearOverflow() { overflow_.storeRelaxed(0); }
  // After the cycle: the memory goes back to the system.
  void shrink();
  void limitForTest(size_t chunks) { most_chunks_ = chunks; }
  size_t made() const { return made_; }

 private:
  static constexpr size_t kFirst = 16, kStep = 256;  // chunks

  os::Mutex mu_;
  Addr base_ = 0;
  size_t reserved_ = 0;
  size_t most_chunks_ = 0;
  size_t committed_ GRAFT_GUARDED_BY(mu_) = 0;  // chunks
  size_t made_ = 0;
  Chunk* empty_ GRAFT_GUARDED_BY(mu_) = nullptr;
  Chunk* full_ GRAFT_GUARDED_BY(mu_) = nullptr;
  uint32_t workers_ GRAFT_GUARDED_BY(mu_) = 0;
  base::Atomic<uint32_t> idle_{0};
  base::Atomic<uint32_t> done_{0};
  base::Atomic<uint32_t> news_{0};  // moves with each give(); a futex word
  base::Atomic<uint32_t> overflow_{0};
};

}  // namespace graft::gc
