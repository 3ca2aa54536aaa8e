// The timer heap of a P by itself: order, lazy cancelling, cleaning, and what a firing that
// overlaps with the next arming of the same timer does.
#include "core/sched/timer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

namespace graft::sched {
namespace {

void first(M*, Timer*, uint64_t) {}
void second(M*, Timer*, uint64_t) {}

TEST(TimerHeap, FiresInOrderWhatWasNotCancelled) {
  auto heap = std::make_unique<TimerHeap>();
  std::vector<Timer> timers(5000);
  std::mt19937_64 rng(1);
  std::vector<uint64_t> live;
  for (Timer& t : timers) {
    uint64_t when = 1 + rng() % 100000;
    ASSERT_TRUE(heap->add(&t, when, 1, first));
    if (rng() % 3 != 0) {
      EXPECT_TRUE(t.cancel(1));
      EXPECT_FALSE(t.cancel(1));
    } else {
      live.push_back(when);
    }
    ASSERT_TRUE(heap->valid());
  }
  // Cancelled entries never are much more than half.
  EXPECT_LT(heap->size(), live.size() * 3);
  std::sort(live.begin(), live.end());
  TimerHeap::Entry e;
  EXPECT_FALSE(heap->popDue(live[0] - 1, e));
  for (uint64_t when : live) {
    ASSERT_TRUE(heap->popDue(100001, e));
    EXPECT_EQ(e.when, when);
    EXPECT_FALSE(e.timer->cancel(1));
  }
  EXPECT_FALSE(heap->popDue(100001, e));
  EXPECT_EQ(heap->first(), 0u);
}

// Popped for its first arming, the timer is armed again before that firing is carried out.
TEST(TimerHeap, AFiringBelongsToItsArming) {
  auto heap = std::make_unique<TimerHeap>();
  Timer t;
  ASSERT_TRUE(heap->add(&t, 10, 1, first));
  TimerHeap::Entry e;
  ASSERT_TRUE(heap->popDue(10, e));
  ASSERT_TRUE(heap->add(&t, 20, 2, second));
  EXPECT_EQ(e.fire, &first);
  EXPECT_EQ(e.ticket, 1u);
  EXPECT_FALSE(t.cancel(1));
  ASSERT_TRUE(heap->popDue(20, e));
  EXPECT_EQ(e.fire, &second);
}

}  // namespace
}  // namespace graft::sched
