// Tests of the lock-free half of a span's life on real threads and step by step; every interleaving
// of the same code is tests/model's business.
#include "core/heap/span_bits.h"

#include <gtest/gtest.h>

#include <mutex>
#include <thread>
#include <vector>

namespace graft::heap {
namespace {

using Bits = SpanBits<base::RealAtom>;
using Word = base::Atomic<uint64_t>;
using Count = base::Atomic<int32_t>;

TEST(SpanBits, GiveReportsBitsGivenTwice) {
  Word word{0};
  EXPECT_EQ(Bits::give(word, 0b1010), 0u);
  EXPECT_EQ(Bits::give(word, 0b0110), 0b0010u);
  EXPECT_EQ(word.loadRelaxed(), 0b1110u);
}

TEST(SpanBits, TakeTakesTheLowest) {
  Word word{0b1101'1000};
  EXPECT_EQ(Bits::take(word, 2), 0b0001'1000u);
  EXPECT_EQ(word.loadRelaxed(), 0b1100'0000u);
  EXPECT_EQ(Bits::take(word, 9), 0b1100'0000u);
  EXPECT_EQ(Bits::take(word, 9), 0u);
  EXPECT_EQ(Bits::take(word, 0), 0u);
}

TEST(SpanBits, AccountSaysWhenTheSpanChangesList) {
  Count n{0};
  Bits::Effect e = Bits::account(n, 3, 8);
  EXPECT_TRUE(e.became_partial);
  EXPECT_FALSE(e.maybe_empty);
  e = Bits::account(n, 4, 8);
  EXPECT_FALSE(e.became_partial);
  EXPECT_FALSE(e.maybe_empty);
  e = Bits::account(n, 1, 8);
  EXPECT_FALSE(e.became_partial);
  EXPECT_TRUE(e.maybe_empty);
  n.storeRelaxed(0);
  e = Bits::account(n, 8, 8);
  EXPECT_TRUE(e.became_partial);
  EXPECT_TRUE(e.maybe_empty);
  // A refill took more than was accounted for so far.
  n.storeRelaxed(-2);
  e = Bits::account(n, 2, 8);
  EXPECT_FALSE(e.became_partial);
  e = Bits::account(n, 1, 8);
  EXPECT_TRUE(e.became_partial);
}

TEST(SpanBits, AccountTakenSaysWhenTheSpanRunsOut) {
  Count n{3};
  EXPECT_FALSE(Bits::accountTaken(n, 2));
  EXPECT_TRUE(Bits::accountTaken(n, 1));
  n.storeRelaxed(1);
  EXPECT_TRUE(Bits::accountTaken(n, 4));
  EXPECT_EQ(n.loadRelaxed(), -3);
}

TEST(SpanBits, ShapeIsReadOnlyWhileItStays) {
  base::Atomic<uint32_t> seq{4};
  int reads = 0;
  auto read = [&] { return ++reads > 0; };
  EXPECT_TRUE(readShape<base::RealAtom>(seq, read));
  EXPECT_FALSE(readShape<base::RealAtom>(seq, [] { return false; }));
  EXPECT_FALSE(readShape<base::RealAtom>(seq, [&] {
    seq.storeRelaxed(6);
    return true;
  }));
  EXPECT_EQ(reads, 1);
  seq.storeRelaxed(7);
  EXPECT_FALSE(readShape<base::RealAtom>(seq, read));
  EXPECT_EQ(reads, 1) << "an odd sequence number must not be read past";
}

// Three threads take slots under a lock and give them back without one. No slot may be with two of
// them, and of all the calls that bring everything back exactly the last may say "maybe empty".
TEST(SpanBits, ThreadsNeverShareASlot) {
  constexpr int kWords = 3, kSlots = kWords * 64, kRounds = 20'000;
  Word words[kWords];
  Count nfree{kSlots};
  for (Word& w : words) w.storeRelaxed(~uint64_t{0});
  base::Atomic<uint32_t> held[kSlots];
  std::mutex lock;
  std::atomic<int> shared{0}, twice{0};
  auto work = [&](unsigned id) {
    for (int round = 0; round < kRounds; round++) {
      int w = (round + static_cast<int>(id)) % kWords;
      uint64_t got;
      {
        std::lock_guard<std::mutex> guard(lock);
        got = Bits::take(words[w], 1 + id * 7);
        Bits::accountTaken(nfree, static_cast<int32_t>(base::popcount(got)));
      }
      for (uint64_t b = got; b != 0; b &= b - 1) {
        if (held[w * 64 + base::lowestBit(b)].exchangeRelaxed(id + 1) != 0) shared++;
      }
      for (uint64_t b = got; b != 0; b &= b - 1) {
        if (held[w * 64 + base::lowestBit(b)].exchangeRelaxed(0) != id + 1) shared++;
      }
      if (got == 0) continue;
      if (Bits::give(words[w], got) != 0) twice++;
      Bits::account(nfree, static_cast<int32_t>(base::popcount(got)), kSlots);
    }
  };
  std::vector<std::thread> threads;
  for (unsigned id = 0; id < 3; id++) threads.emplace_back(work, id);
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(shared, 0);
  EXPECT_EQ(twice, 0);
  EXPECT_EQ(nfree.loadRelaxed(), kSlots);
  for (Word& w : words) EXPECT_EQ(w.loadRelaxed(), ~uint64_t{0});
}

// All slots are out; two threads bring them back in pieces: exactly one call sees the span complete
// and exactly one sees it become partial.
TEST(SpanBits, ExactlyOneFlusherSeesTheSpanComplete) {
  for (int round = 0; round < 1'000; round++) {
    Word word{0};
    Count nfree{0};
    std::atomic<int> partial{0}, empty{0}, ready{0};
    auto give = [&](uint64_t mask) {
      ready++;
      while (ready < 2) std::this_thread::yield();
      for (unsigned i = 0; i < 2; i++) {
        uint64_t part = mask & (i == 0 ? 0xffffffffu : ~uint64_t{0xffffffffu});
        Bits::give(word, part);
        Bits::Effect e = Bits::account(nfree, static_cast<int32_t>(base::popcount(part)), 64);
        partial += e.became_partial;
        empty += e.maybe_empty;
      }
    };
    std::thread other(give, 0x5555555555555555u);
    give(0xaaaaaaaaaaaaaaaau);
    other.join();
    ASSERT_EQ(partial, 1);
    ASSERT_EQ(empty, 1);
    ASSERT_EQ(nfree.loadRelaxed(), 64);
  }
}

}  // namespace
}  // namespace graft::heap
