// A small reader of ELF files for `graft run` and `graft doctor`: what kind of program is this,
// what does it load, which symbols does it define? It reads the file in bounded pieces and trusts
// no offset, count or size in it; a truncated or corrupt file gives a reason, never a crash. Knows
// 64-bit little-endian files in full; of any other it only says what they are.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace graft::tools {

struct ElfInfo {
  bool is_elf = false;   // has the magic number
  std::string problem;   // not empty: unreadable or corrupt; the fields below are partial
  bool is_64 = false;    // 64-bit, little-endian
  uint16_t machine = 0;  // EM_*
  uint16_t type = 0;     // ET_*
  std::string interp;    // PT_INTERP; empty: statically linked, or a library
  std::string soname;
  std::vector<std::string> needed;

  bool isX86_64() const;
};

ElfInfo readElf(const std::string& path);

// The first of `names` that the file defines in its dynamic or full symbol table, or "".
std::string definedSymbol(const std::string& path, std::initializer_list<std::string_view> names);

// "aarch64" and the like, for messages.
std::string machineName(const ElfInfo& info);

}  // namespace graft::tools
