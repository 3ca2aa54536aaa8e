// What the collector remembers per object, beside the heap: a bit, or a 32-bit record. Tables as
// long as the heap's address space, of which only what is used is ever there: a page of bits serves
// half a megabyte of the heap, a page of records sixteen kilobytes.
//
// Owned by Leaks; bits may be taken by any thread, records change in a stopped world. No locks.
#pragma once

#include "core/base/atomic.h"
#include "core/heap/arena.h"

namespace graft::gc {

// A bit per 16 bytes of the heap: per object, by its first byte.
class ObjectBits {
 public:
  bool init(const heap::AddressSpace& space);
  void clear(const heap::AddressSpace& space);
  void set(Addr object) { word(object).fetchOrRelaxed(bit(object)); }
  bool has(Addr object) const { return (word(object).loadRelaxed() & bit(object)) != 0; }
  // True for one caller only.
  bool take(Addr object) {
    return has(object) && (word(object).fetchAndRelaxed(~bit(object)) & bit(object)) != 0;
  }
  Addr memory() const { return at_; }
  size_t bytes() const { return bytes_; }

 private:
  base::Atomic<uint64_t>& word(Addr a) const {
    return reinterpret_cast<base::Atomic<uint64_t>*>(at_)[(a - heap_) / 1024];
  }
  uint64_t bit(Addr a) const { return uint64_t{1} << ((a - heap_) / 16 % 64); }

  Addr at_ = 0, heap_ = 0;
  size_t bytes_ = 0;
};

// What is known of an object that was found white: in which cycle first, what it held then, and how
// far up the ladder it is (ladder.h).
struct Record {
  static constexpr uint32_t kBirths = 512, kHashBits = 19;
  uint32_t birth : 9 = 0;  // the cycle, modulo kBirths
  uint32_t candidate : 1 = 0;  // in the present cycle: old and unchanged
  uint32_t passed : 3 = 0;  // the last confirm scan that has not found it, 1 to 7; 0: none
  uint32_t hash : kHashBits = 0;
};
static_assert(sizeof(Record) == 4);

class ObjectRecords {
 public:
  bool init(const heap::AddressSpace& space);
  // Before a cycle's first use. False: no memory.
  bool fit(const heap::AddressSpace& space);
  Record& of(Addr object) const { return reinterpret_cast<Record*>(at_)[(object - heap_) / 16]; }
  Addr memory() const { return at_; }
  size_t bytes() const { return bytes_; }

 private:
  Addr at_ = 0, heap_ = 0;
  size_t bytes_ = 0, committed_ = 0;
};

}  // namespace graft::gc
