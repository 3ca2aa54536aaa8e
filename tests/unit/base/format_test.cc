// Tests of the line builder: every number form, the limits of its buffer, JSON escapes.
#include "core/base/format.h"

#include <gtest/gtest.h>

#include <cinttypes>
#include <cstdio>
#include <limits>
#include <string>

namespace graft::base {
namespace {

std::string text(const Line& line) { return std::string(line.data(), line.size()); }

constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

TEST(Line, Numbers) {
  for (int64_t v : {int64_t{0}, int64_t{7}, int64_t{-1}, int64_t{10}, int64_t{-10}, kMin, kMax}) {
    EXPECT_EQ(text(Line().dec(v)), std::to_string(v));
  }
  for (uint64_t v : {uint64_t{0}, uint64_t{9}, uint64_t{10}, ~uint64_t{0}, uint64_t{1} << 63}) {
    EXPECT_EQ(text(Line().udec(v)), std::to_string(v));
    char hex[32];
    snprintf(hex, sizeof hex, "0x%" PRIx64, v);
    EXPECT_EQ(text(Line().hex(v)), hex);
  }
  int x = 0;
  char pointer[32];
  snprintf(pointer, sizeof pointer, "%p", static_cast<void*>(&x));
  EXPECT_EQ(text(Line().ptr(&x)), pointer);
  EXPECT_EQ(text(Line().ptr(nullptr)), "0x0");
}

TEST(Line, ColumnsAreRightAligned) {
  Line line;
  EXPECT_STREQ(line.column(0, 3).column(12345, 3).column(7, 1).c_str(), "   0 12345 7");
}

TEST(Line, BytesInTheLargestExactUnit) {
  EXPECT_EQ(text(Line().bytes(0)), "0 B");
  EXPECT_EQ(text(Line().bytes(48)), "48 B");
  EXPECT_EQ(text(Line().bytes(1023)), "1023 B");
  EXPECT_EQ(text(Line().bytes(1024)), "1 KiB");
  EXPECT_EQ(text(Line().bytes(1025)), "1025 B");
  EXPECT_EQ(text(Line().bytes(64 << 10)), "64 KiB");
  EXPECT_EQ(text(Line().bytes(3 << 20)), "3 MiB");
  EXPECT_EQ(text(Line().bytes((3 << 20) + 1024)), "3073 KiB");
  EXPECT_EQ(text(Line().bytes(uint64_t{5} << 40)), "5242880 MiB");
}

TEST(Line, PiecesAreJoined) {
  Line line;
  line.str("a").chr('=').dec(-3).str("bcd", 2).nl();
  EXPECT_EQ(text(line), "a=-3bc\n");
  EXPECT_STREQ(line.c_str(), "a=-3bc\n");
  line.clear();
  EXPECT_EQ(line.size(), 0u);
  EXPECT_STREQ(line.c_str(), "");
}

TEST(Line, JsonEscapes) {
  EXPECT_EQ(text(Line().json("")), "\"\"");
  EXPECT_EQ(text(Line().json("a\"b\\c")), "\"a\\\"b\\\\c\"");
  EXPECT_EQ(text(Line().json("\n\t\x01\x1f")), "\"\\u000a\\u0009\\u0001\\u001f\"");
  EXPECT_EQ(text(Line().json("gr\xc3\xbcn")), "\"gr\xc3\xbcn\"");
}

TEST(Line, FullIsCutNeverOverrun) {
  struct {
    Line line;
    char guard[64];
  } s;
  for (char& c : s.guard) c = 42;
  std::string expected;
  for (int i = 0; i < 500; i++) {
    s.line.str("word").udec(~uint64_t{0}).json("x\n").hex(1);
    expected += "word18446744073709551615\"x\\u000a\"0x1";
  }
  EXPECT_GE(s.line.size(), 512u);
  EXPECT_LE(s.line.size(), sizeof(Line));
  EXPECT_EQ(text(s.line), expected.substr(0, s.line.size()));
  size_t n = s.line.size();
  EXPECT_EQ(std::string(s.line.c_str()), expected.substr(0, n - 1)) << "gives up the last byte";
  for (char c : s.guard) EXPECT_EQ(c, 42);
}

}  // namespace
}  // namespace graft::base
