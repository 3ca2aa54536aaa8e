// Walks and names a stack that a process handed out: registers, and the bytes from the stack
// pointer up. Unwind tables, symbols and lines come from the files that the process has mapped,
// through libdw; nothing is read from the process but its map. Missing registers stop the walk
// where they are needed, but for the frame pointer, which is looked for on the stack.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace graft::tools {

struct StackCopy {
  static constexpr int kRbp = 6, kRsp = 7, kRip = 16;
  std::optional<uint64_t> registers[17];  // by their numbers in DWARF
  std::string bytes;

  uint64_t sp() const { return registers[kRsp].value_or(0); }
};

struct Frame {
  uint64_t pc = 0;
  std::string function;  // demangled; "" when unknown
  std::string place;  // file:line, or the library
  uint64_t offset = 0;  // from the function's begin
  bool of_graft = false;
};

class Unwinder {
 public:
  Unwinder();
  ~Unwinder();
  Unwinder(const Unwinder&) = delete;
  Unwinder& operator=(const Unwinder&) = delete;

  // "" or why the process's files cannot be read.
  std::string open(pid_t pid);
  std::vector<Frame> walk(StackCopy& stack);

 private:
  struct State;
  Frame name(uint64_t pc, bool exact);
  std::unique_ptr<State> state_;
};

}  // namespace graft::tools
