// The lock-free half of a span's life: giving slots back from any thread, and taking them with the
// class lock held. Written over the Atom policy so that tests/model runs this very code under the
// interleaving checker.
//
// A flush first sets free bits, then adds the number of slots to nfree [SPAN-B]; a refill clears
// bits first, then subtracts. So nfree never exceeds the bits that are set, may be negative for a
// moment, and reaches nelems only when every slot is back and every flush of the span has finished
// touching it: whoever makes it reach nelems may release the span.
//
//   flusher                              refiller (class lock)
//   word |= bits                         take = word & wanted; word &= ~take
//   prev = nfree += k                    now = nfree -= |take|
//   prev <= 0 < prev + k: lock, list     now <= 0: unlist
//   prev + k == nelems:   lock, release
//
// Source: the batch-by-span OR of HEAP.md section 4.5; Go keeps the same truth in allocBits.
#pragma once

#include "core/base/atomic.h"
#include "core/base/bits.h"
#include "core/base/plant.h"

namespace graft::heap {

template <class Atom>
struct SpanBits {
  using Word = typename Atom::template Atomic<uint64_t>;
  using Count = typename Atom::template Atomic<int32_t>;

  struct Effect {
    bool became_partial;  // the span must be listed (take the class lock, look again)
    bool maybe_empty;     // every slot is back (take the class lock, look again)
  };

  // Gives slots back; returns those bits of `mask` that were set before: slots freed twice.
  static uint64_t give(Word& word, uint64_t mask) { return word.fetchOrAcqRel(mask) & mask; }

  // Accounts for `k` slots given, after all their give() calls [SPAN-B].
  static Effect account(Count& nfree, int32_t k, int32_t nelems) {
    int32_t prev = nfree.fetchAddAcqRel(k);
    return {prev <= 0 && prev + k > 0, prev + k == nelems};
  }

  // Takes up to `max` of the lowest free slots of a word. Class lock held.
  static uint64_t take(Word& word, unsigned max) {
    uint64_t want = base::lowestBits(word.loadRelaxed(), max);
    if (want == 0) return 0;
    if (base::planted(base::Plant::kDoubleHandOut)) {
      word.fetchAndAcqRel(~(want & (want - 1)));
      return want;
    }
    return word.fetchAndAcqRel(~want) & want;
  }

  // Accounts for `k` slots taken; true when the span has to leave the list. Class lock held.
  static bool accountTaken(Count& nfree, int32_t k) { return nfree.fetchSubAcqRel(k) - k <= 0; }
};

// Shape readers' side of [SPAN-A]: returns what `read` sees of one unchanging shape, or nothing
// when the shape is changing. While it changes no slot of the span is handed out, so "nothing" is
// a true answer for that instant and the reader need not wait for a writer that may be stopped.
template <class Atom, class Seq, class Read>
bool readShape(Seq& seq, Read read) {
  uint32_t before = seq.loadAcquire();
  if ((before & 1) != 0) return false;
  if (!read()) return false;
  if (base::planted(base::Plant::kMarkerRace)) return true;
  Atom::fenceAcquire();
  return seq.loadRelaxed() == before;
}

}  // namespace graft::heap
