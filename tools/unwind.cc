// See unwind.h. libdw wants a process with threads: it is given one thread, whose registers and
// memory are those of the stack at hand.
#include "tools/unwind.h"

#include <elfutils/libdwfl.h>
#include <fmt/core.h>

#include <cstring>
#include <filesystem>

#include "tools/symbols.h"

namespace graft::tools {
namespace {

constexpr size_t kMostFrames = 256;
constexpr pid_t kOnlyThread = 1;

}  // namespace

struct Unwinder::State {
  Symbols symbols;
  Dwfl* dwfl = nullptr;  // its
  const StackCopy* stack = nullptr;
  std::vector<std::pair<uint64_t, bool>> pcs;  // and whether the pc itself is in the function

  static pid_t nextThread(Dwfl*, void* arg, void** thread) {
    if (*thread != nullptr) return 0;
    *thread = arg;
    return kOnlyThread;
  }
  static bool getThread(Dwfl*, pid_t tid, void* arg, void** thread) {
    *thread = arg;
    return tid == kOnlyThread;
  }
  static bool readMemory(Dwfl*, Dwarf_Addr at, Dwarf_Word* out, void* arg) {
    const StackCopy& s = *static_cast<State*>(arg)->stack;
    uint64_t offset = at - s.sp();
    if (at < s.sp() || offset + sizeof *out > s.bytes.size()) return false;
    std::memcpy(out, s.bytes.data() + offset, sizeof *out);
    return true;
  }
  static bool setRegisters(Dwfl_Thread* thread, void* arg) {
    const StackCopy& s = *static_cast<State*>(arg)->stack;
    for (int i = 0; i < StackCopy::kRip; i++) {
      if (!s.registers[i].has_value()) continue;
      Dwarf_Word word = s.registers[i].value_or(0);
      if (!dwfl_thread_state_registers(thread, i, 1, &word)) return false;
    }
    dwfl_thread_state_register_pc(thread, s.registers[StackCopy::kRip].value_or(0));
    return true;
  }
  static int onFrame(Dwfl_Frame* frame, void* arg) {
    State& self = *static_cast<State*>(arg);
    Dwarf_Addr pc = 0;
    bool exact = false;
    if (!dwfl_frame_pc(frame, &pc, &exact)) return DWARF_CB_ABORT;
    self.pcs.emplace_back(pc, exact);
    return self.pcs.size() < kMostFrames ? DWARF_CB_OK : DWARF_CB_ABORT;
  }

  bool isCode(uint64_t pc) const { return dwfl_addrmodule(dwfl, pc) != nullptr; }

  static uint64_t wordAt(const StackCopy& s, uint64_t at) {
    uint64_t word = 0;
    std::memcpy(&word, s.bytes.data() + (at - s.sp()), sizeof word);
    return word;
  }

  // The walk came as far as the frame with this pc, whose own frame pointer it needs. Above the
  // slot that the pc was read from, that is where a word points up the stack from below a return
  // address.
  bool guessFramePointer(StackCopy& s, uint64_t pc) const {
    uint64_t top = s.sp() + s.bytes.size();
    uint64_t at = (s.sp() + 7) & ~uint64_t{7};
    for (; pcs.size() > 1 && at + 8 <= top && wordAt(s, at) != pc; at += 8) {
    }
    for (; at + 16 <= top; at += 8) {
      uint64_t up = wordAt(s, at);
      bool saved = at % 16 == 0 && up % 16 == 0 && up > at && up < top;
      if (!saved || !isCode(wordAt(s, at + 8))) continue;
      s.registers[StackCopy::kRbp] = at;
      return true;
    }
    return false;
  }
};

Unwinder::Unwinder() : state_(std::make_unique<State>()) {}
Unwinder::~Unwinder() = default;

std::string Unwinder::open(pid_t pid) {
  static const Dwfl_Thread_Callbacks kThreads = {
      State::nextThread, State::getThread, State::readMemory, State::setRegisters, nullptr, nullptr,
  };
  State& s = *state_;
  if (std::string problem = s.symbols.openProcess(pid); !problem.empty()) return problem;
  s.dwfl = s.symbols.dwfl();
  return dwfl_attach_state(s.dwfl, nullptr, pid, &kThreads, &s) ? "" : dwfl_errmsg(-1);
}

Frame Unwinder::name(uint64_t pc, bool exact) {
  Place p = state_->symbols.name(exact ? pc : pc - 1);  // within the call
  Frame f;
  f.pc = pc;
  f.function = p.function;
  if (!p.module.empty()) f.offset = p.offset + (exact ? 0 : 1);
  f.of_graft = std::filesystem::path(p.module).filename() == "libgraft.so";
  f.place = p.file.empty() ? p.module : fmt::format("{}:{}", p.file, p.line);
  return f;
}

std::vector<Frame> Unwinder::walk(StackCopy& stack) {
  State& s = *state_;
  std::vector<Frame> frames;
  if (!stack.registers[StackCopy::kRsp] || !stack.registers[StackCopy::kRip]) return frames;
  s.stack = &stack;
  s.pcs.clear();
  dwfl_getthread_frames(s.dwfl, kOnlyThread, State::onFrame, &s);
  // Whether the walk came to the stack's end or only to the need of a register, libdw does not say:
  // what goes further is right.
  bool guess = !stack.registers[StackCopy::kRbp] && !s.pcs.empty();
  if (guess && s.guessFramePointer(stack, s.pcs.back().first)) {
    auto without = std::move(s.pcs);
    s.pcs.clear();
    dwfl_getthread_frames(s.dwfl, kOnlyThread, State::onFrame, &s);
    if (s.pcs.size() < without.size()) s.pcs = std::move(without);
  }
  for (auto [pc, exact] : s.pcs) {
    if (pc != 0) frames.push_back(name(pc, exact));
  }
  return frames;
}

}  // namespace graft::tools
