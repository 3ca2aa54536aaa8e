// Tests of the ELF reader and of LD_PRELOAD lists, on files made from this test's own executable:
// whole, cut short at every interesting place, and with damaged headers. No answer may crash.
#include "tools/elf.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "tools/find_lib.h"

extern "C" __attribute__((used, noinline)) int graft_elf_test_marker() { return 1; }

namespace graft::tools {
namespace {

std::string wholeFile() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Elf : public testing::Test {
 protected:
  void SetUp() override {
    int fd = mkstemp(path_);
    ASSERT_GE(fd, 0);
    close(fd);
  }
  void TearDown() override { unlink(path_); }

  std::string put(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
    return path_;
  }

  char path_[32] = "/tmp/graft-elf-test-XXXXXX";
};

TEST_F(Elf, ReadsThisProgram) {
  ElfInfo info = readElf("/proc/self/exe");
  EXPECT_TRUE(info.is_elf);
  EXPECT_EQ(info.problem, "");
  EXPECT_TRUE(info.isX86_64());
  EXPECT_NE(info.interp.find("ld-linux"), std::string::npos);
  EXPECT_NE(std::find(info.needed.begin(), info.needed.end(), "libc.so.6"), info.needed.end());
  EXPECT_EQ(definedSymbol("/proc/self/exe", {"no_such_symbol", "graft_elf_test_marker"}),
            "graft_elf_test_marker");
  EXPECT_EQ(definedSymbol("/proc/self/exe", {"no_such_symbol"}), "");
}

TEST_F(Elf, OtherFiles) {
  EXPECT_FALSE(readElf(put("#!/bin/sh\n")).is_elf);
  EXPECT_FALSE(readElf(put("")).is_elf);
  EXPECT_TRUE(readElf(put("\x7f"
                          "ELF"))
                  .is_elf);
  EXPECT_NE(readElf(put("\x7f"
                        "ELF"))
                .problem,
            "");
  EXPECT_NE(readElf("/no/such/file").problem, "");
  EXPECT_FALSE(readElf("/proc").is_elf);
  EXPECT_EQ(definedSymbol("/no/such/file", {"x"}), "");
}

TEST_F(Elf, CutShort) {
  std::string bytes = wholeFile();
  for (size_t size = 0; size < bytes.size(); size += size < 1024 ? 7 : bytes.size() / 50) {
    std::string path = put(bytes.substr(0, size));
    ElfInfo info = readElf(path);
    definedSymbol(path, {"graft_elf_test_marker"});
    EXPECT_EQ(info.is_elf, size >= 4) << size;
    if (size >= 4 && size < 700) {
      EXPECT_NE(info.problem, "") << size;
    }
  }
}

TEST_F(Elf, DamagedHeaders) {
  std::string bytes = wholeFile();
  Elf64_Ehdr header;
  std::memcpy(&header, bytes.data(), sizeof header);
  size_t end = header.e_phoff + header.e_phnum * sizeof(Elf64_Phdr);
  for (size_t at = 4; at < end; at += 3) {
    for (char value : {'\0', '\x7f', '\xff'}) {
      std::string copy = bytes;
      for (size_t i = at; i < at + 4; i++) copy[i] = value;
      std::string path = put(copy.substr(0, 64 * 1024));
      readElf(path);
      definedSymbol(path, {"graft_elf_test_marker"});
    }
  }
}

TEST(PreloadItems, SplitsAsTheLoaderDoes) {
  using List = std::vector<std::string>;
  EXPECT_EQ(preloadItems("", false), List{});
  EXPECT_EQ(preloadItems("a.so:b.so c.so", false), (List{"a.so", "b.so", "c.so"}));
  EXPECT_EQ(preloadItems(" ::a.so: ", false), (List{"a.so"}));
  EXPECT_EQ(preloadItems("a.so # b.so\nc.so\td.so#e", true), (List{"a.so", "c.so", "d.so"}));
}

TEST(PreloadItems, GraftComesFirstAndOnce) {
  EXPECT_EQ(preloadWith("/x/libgraft.so", nullptr), "/x/libgraft.so");
  EXPECT_EQ(preloadWith("/x/libgraft.so", "a.so /y/libgraft.so:b.so"), "/x/libgraft.so:a.so:b.so");
}

}  // namespace
}  // namespace graft::tools
