// Tests of misuse reports: their wording, that they count, that they take the program down unless
// it was asked otherwise.
#include "core/heap/misuse.h"

#include <gtest/gtest.h>

#include "tests/unit/heap/test_peer.h"

namespace graft::heap {
namespace {

TEST(Misuse, LiveBlocksAreNone) {
  EXPECT_EQ(misuseOf(AddrKind::kSmall), nullptr);
  EXPECT_EQ(misuseOf(AddrKind::kLarge), nullptr);
  EXPECT_EQ(misuseOf(AddrKind::kForeign), nullptr);
  for (AddrKind k :
       {AddrKind::kInterior, AddrKind::kFreeSlot, AddrKind::kFreePages, AddrKind::kTail}) {
    EXPECT_NE(misuseOf(k), nullptr);
  }
}

std::string report(TestHeap& heap, const void* p, const char* what) {
  testing::internal::CaptureStderr();
  os::initMessages("");  // messages go to the file that stderr was at start
  uint64_t before = misuseCount();
  reportMisuse(*heap, "free", p, what);
  EXPECT_EQ(misuseCount(), before + 1);
  heap.expectMisuses(1);
  std::string said = testing::internal::GetCapturedStderr();
  os::initMessages("");
  return said;
}

TEST(Misuse, OneLineWithAddressSpanAndState) {
  TestHeap heap;
  Client client(*heap);
  char* p = static_cast<char*>(client.alloc(200));
  std::string line = report(heap, p + 3, "bad");
  EXPECT_EQ(line.find("graft: free(0x"), 0u) << line;
  EXPECT_NE(line.find("): bad; span 0x"), std::string::npos) << line;
  EXPECT_NE(line.find("slots of 208 bytes"), std::string::npos) << line;
  EXPECT_NE(line.find("offset 3 in the block at "), std::string::npos) << line;
  EXPECT_EQ(line.find('\n'), line.size() - 1) << line;
  client.free(p);
  line = report(heap, p, "bad");
  EXPECT_NE(line.find("is free"), std::string::npos) << line;
  void* large = client.alloc(100'000);
  line = report(heap, large, "bad");
  EXPECT_NE(line.find("one large block"), std::string::npos) << line;
  int local = 0;
  line = report(heap, &local, "bad");
  EXPECT_EQ(line.find("span"), std::string::npos) << line;
}

TEST(MisuseDeathTest, EndsTheProgram) {
  TestHeap heap;
  Client client(*heap);
  void* p = client.alloc(64);
  EXPECT_EXIT(
      {
        os::initMessages("");
        base::options.misuse.set(base::Misuse::kAbort);
        reportMisuse(*heap, "free", p, "double free");
      },
      testing::KilledBySignal(SIGABRT), "double free");
}

}  // namespace
}  // namespace graft::heap
