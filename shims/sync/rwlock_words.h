// The protocol of a private read-write lock, for Gs and for kernel threads alike, in glibc's words
// (gdb's printer agrees): `state` says who holds it and whether somebody may sleep, and sleepers of
// both kinds sleep on it, told apart by their wake bits.
//
//   state: bit 0 and 1 a writer holds it, bit 2 somebody may sleep, from bit 3 the readers
//
// One instruction both frees the lock and clears bit 2; who did wakes: after readers one writer, or
// else all readers; after a writer all readers, or else one writer (a lock that prefers writers:
// always one writer first). Who has slept takes the lock with bit 2 set, because those that were
// not woken sleep on.
//
// INV-RW-1  While somebody sleeps, the lock is held with bit 2 set, or someone was woken who will
//           try again, and sets it if he cannot have the lock.
// INV-RW-2  Readers held off only by waiting writers (the count) try again when the last gives up:
//           it clears bit 2, which moves the word that they compare, and wakes everybody.
//
// Any thread of the program; no locks. Source: the layout is glibc's, the protocol ours.
#pragma once

#include "shims/sync/waits.h"

namespace graft::shims {

enum class RwResult { kOk, kBusy, kTimedOut, kTooMany };

template <class Atom>
class RwWords {
 public:
  using Atomic = typename Atom::template Atomic<uint32_t>;
  static constexpr uint32_t kHeld = 3, kSleepers = 4, kReader = 8;
  static constexpr uint32_t kReadBit = 1, kWriteBit = 2;

  RwWords(Atomic& state, Atomic& writers, bool writers_first)
      : state_(state), writers_(writers), writers_first_(writers_first) {}

  RwResult tryRead() { return read(0); }
  bool tryWrite() { return write(0); }
  bool heldByWriter() const { return (state_.loadRelaxed() & kHeld) != 0; }

  template <class W>
  RwResult takeRead(W& waits, const typename W::Until& until) {
    for (uint32_t slept = 0;; slept = kSleepers) {
      RwResult r = read(slept);
      if (r != RwResult::kBusy) return r;
      uint32_t s = state_.loadRelaxed();
      // A lock that nobody holds is kept for a writer that is on its way.
      if (!announce(s) || !heldOff(s)) continue;
      if (waits.wait(state_, s, until, kReadBit) == WaitResult::kTimedOut) {
        return RwResult::kTimedOut;
      }
    }
  }
  template <class W>
  RwResult takeWrite(W& waits, const typename W::Until& until) {
    writers_.fetchAddAcqRel(1);
    WaitResult end = WaitResult::kWoken;
    uint32_t slept = 0;
    while (!write(slept)) {
      uint32_t s = state_.loadRelaxed();
      if (free(s) || !announce(s)) continue;
      end = waits.wait(state_, s, until, kWriteBit);
      slept = kSleepers;
      if (end == WaitResult::kTimedOut) break;
    }
    uint32_t others = writers_.fetchSubAcqRel(1) - 1;
    if (end != WaitResult::kTimedOut) return RwResult::kOk;
    bool quiet = base::planted(base::Plant::kRwQuietGiveUp);
    if (others == 0 && writers_first_ && !quiet) {  // INV-RW-2
      state_.fetchAndAcqRel(~kSleepers);
      waits.wake(&state_, W::kAll);
    }
    return RwResult::kTimedOut;
  }

  template <class W>
  void freeRead(W& waits) {
    uint32_t s = kReader, next;  // a guess: the only reader
    do {
      next = s - kReader;
      if (next == kSleepers) next = 0;
    } while (!state_.casAcqRel(s, next));
    if (s == (kReader | kSleepers)) wakeWriterFirst(waits);
  }
  template <class W>
  void freeWrite(W& waits) {
    bool first = writers_first_;
    if ((state_.exchangeAcqRel(0) & kSleepers) == 0) return;
    if (first) {
      wakeWriterFirst(waits);
    } else if (waits.wake(&state_, W::kAll, kReadBit) == 0) {
      waits.wake(&state_, 1, kWriteBit);
    }
  }

 private:
  static bool free(uint32_t s) { return (s & ~kSleepers) == 0; }
  bool heldOff(uint32_t s) const {
    return (s & kHeld) != 0 || (writers_first_ && writers_.loadAcquire() != 0);
  }
  RwResult read(uint32_t slept) {
    if (base::planted(base::Plant::kRwForgets)) slept = 0;
    uint32_t s = 0;  // a guess: nobody has it
    while (!heldOff(s)) {
      if (s + kReader < s) return RwResult::kTooMany;
      if (state_.casAcquire(s, (s + kReader) | slept)) return RwResult::kOk;
    }
    return RwResult::kBusy;
  }
  bool write(uint32_t slept) {
    if (base::planted(base::Plant::kRwForgets)) slept = 0;
    uint32_t s = 0;  // a guess
    while (free(s)) {
      if (state_.casAcquire(s, s | kHeld | slept)) return true;
    }
    return false;
  }
  // Sets bit 2. s: the state that may be slept on.
  bool announce(uint32_t& s) {
    if ((s & kSleepers) != 0) return true;
    if (!state_.casAcqRel(s, s | kSleepers)) return false;
    s |= kSleepers;
    return true;
  }
  template <class W>
  void wakeWriterFirst(W& waits) {
    if (waits.wake(&state_, 1, kWriteBit) == 0) waits.wake(&state_, W::kAll, kReadBit);
  }

  Atomic& state_;
  Atomic& writers_;
  bool writers_first_;
};

}  // namespace graft::shims
