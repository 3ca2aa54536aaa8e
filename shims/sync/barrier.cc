// Barriers in glibc's words: threads number themselves by `in`, sleep until `round` has reached
// their number, and count themselves out; destroy waits until as many are out as went in. The
// counters start again when they come near their end, with the last one out. See sync.h.
#include <errno.h>

#include "shims/sync/sync.h"

namespace graft::shims {
namespace {

struct Layout {
  Word in, round;
  uint32_t count;
  int shared;  // 0: private
  Word out;
};
static_assert(sizeof(Layout) <= sizeof(pthread_barrier_t));

constexpr uint32_t kThreshold = ~0u / 2;

Layout& layoutOf(pthread_barrier_t* b) { return *reinterpret_cast<Layout*>(b); }

// The last number before the counters start again; it ends a round.
uint32_t lastNumber(const Layout& l) { return kThreshold - kThreshold % l.count; }

uint32_t number(Layout& l, Waits& waits) {
  for (;;) {
    uint32_t mine = l.in.fetchAddAcqRel(1) + 1;
    uint32_t last = lastNumber(l);
    if (mine <= last) return mine;
    for (uint32_t now = mine; now > last; now = l.in.loadRelaxed()) waits.wait(l.in, now);
  }
}

// Ends every round that `mine` completes; false: its own is not complete yet.
bool endRounds(Layout& l, Waits& waits, uint32_t mine) {
  uint32_t ended = l.round.loadRelaxed();
  while (ended + l.count <= mine) {
    uint32_t next = mine - mine % l.count;
    if (!l.round.casAcqRel(ended, next)) continue;
    waits.wake(&l.round, Waits::kAll);
    return mine <= next;
  }
  return mine <= ended;
}

}  // namespace

int barrierWait(sched::Sched& s, pthread_barrier_t* b) {
  Layout& l = layoutOf(b);
  Waits waits(s, l.shared != 0);
  uint32_t count = l.count, last = lastNumber(l);
  uint32_t mine = number(l, waits);
  if (!endRounds(l, waits, mine)) {
    for (uint32_t r = l.round.loadAcquire(); r < mine; r = l.round.loadAcquire()) {
      waits.wait(l.round, r);
    }
  }
  // From here on the object may go away, unless this is the last one out before a new start.
  if (l.out.fetchAddAcqRel(1) + 1 == last) {
    l.round.storeRelaxed(0);
    l.out.storeRelaxed(0);
    l.in.exchangeRelease(0);
    waits.wake(&l.in, Waits::kAll);
  }
  return mine % count == 0 ? PTHREAD_BARRIER_SERIAL_THREAD : 0;
}

// Nobody is blocked any more, but some may not be out yet: `out` is filled up as if everyone up to
// the last number had come, so whoever really is the last one out starts the counters again.
int barrierDestroy(sched::Sched& s, pthread_barrier_t* b) {
  Layout& l = layoutOf(b);
  Waits waits(s, l.shared != 0);
  uint32_t in = l.in.loadRelaxed();
  if (l.out.fetchAddAcqRel(lastNumber(l) - in) == in) return 0;
  for (; in != 0; in = l.in.loadAcquire()) waits.wait(l.in, in);
  return 0;
}

}  // namespace graft::shims
