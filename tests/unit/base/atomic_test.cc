// Tests of Atomic<T>: each operation computes what its name says for every kind of type it takes;
// orders are the model checker's business.
#include "core/base/atomic.h"

#include <gtest/gtest.h>

#include <thread>

namespace graft::base {
namespace {

enum class Color : uint8_t { kRed, kGreen };

TEST(Atomic, LoadsAndStores) {
  Atomic<uint32_t> a{5};
  EXPECT_EQ(a.loadRelaxed(), 5u);
  a.storeRelaxed(6);
  EXPECT_EQ(a.loadAcquire(), 6u);
  a.storeRelease(7);
  EXPECT_EQ(a.loadAcquire(), 7u);
  a.storeSeqCst(8);
  EXPECT_EQ(a.loadRelaxed(), 8u);
  Atomic<Color> c{Color::kGreen};
  EXPECT_EQ(c.loadRelaxed(), Color::kGreen);
  c.storeRelease(Color::kRed);
  EXPECT_EQ(c.exchangeAcqRel(Color::kGreen), Color::kRed);
  int x = 0;
  Atomic<int*> p{&x};
  EXPECT_EQ(p.exchangeRelaxed(nullptr), &x);
  EXPECT_EQ(p.loadRelaxed(), nullptr);
  static_assert(sizeof(Atomic<uint8_t>) == 1 && sizeof(Atomic<uint64_t>) == 8);
}

TEST(Atomic, CompareAndSwap) {
  Atomic<int> a{1};
  int expected = 2;
  EXPECT_FALSE(a.casAcqRel(expected, 9));
  EXPECT_EQ(expected, 1) << "a failure says what it found";
  EXPECT_TRUE(a.casAcqRel(expected, 9));
  EXPECT_EQ(a.loadRelaxed(), 9);
  expected = 9;
  EXPECT_TRUE(a.casRelaxed(expected, 10));
  expected = 10;
  EXPECT_TRUE(a.casAcquire(expected, 11));
  expected = 11;
  EXPECT_TRUE(a.casRelease(expected, 12));
  EXPECT_EQ(a.loadRelaxed(), 12);
}

TEST(Atomic, FetchOperationsReturnTheValueBefore) {
  Atomic<uint64_t> a{0b1100};
  EXPECT_EQ(a.fetchOrAcqRel(0b0110), 0b1100u);
  EXPECT_EQ(a.fetchAndAcqRel(0b0111), 0b1110u);
  EXPECT_EQ(a.loadRelaxed(), 0b0110u);
  Atomic<int32_t> n{0};
  EXPECT_EQ(n.fetchSubAcqRel(5), 0);
  EXPECT_EQ(n.fetchAddRelaxed(2), -5);
  EXPECT_EQ(n.fetchAddRelease(2), -3);
  EXPECT_EQ(n.loadRelaxed(), -1);
}

TEST(Atomic, NothingIsLost) {
  Atomic<uint64_t> n{0};
  auto work = [&] {
    for (int i = 0; i < 100'000; i++) n.fetchAddRelaxed(1);
  };
  std::thread t(work);
  work();
  t.join();
  EXPECT_EQ(n.loadRelaxed(), 200'000u);
}

}  // namespace
}  // namespace graft::base
