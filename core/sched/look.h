// Looking at a G from outside, for those who want to show its stack: where its registers are, and
// whether they stayed there while somebody copied what they point to. Nothing waits for the looker
// but an M that is computing, for as long as the copy takes.
//
//   the G is                    its registers are
//   parked or on a queue        saved on its stack by the switch: all that a call preserves
//   asleep in the kernel        in the kernel, which tells stack pointer and pc only; nothing is
//                               sent to it, because a signal would end some system calls
//   computing                   in the frame of a signal that its M answers
//
// [any] thread that is no M; one looker at a time. No locks.
#pragma once

#include <stdint.h>

namespace graft::sched {

struct Registers {
  static constexpr int kRbp = 6, kRsp = 7, kRip = 16;
  uint64_t value[17];  // by their numbers in DWARF
  uint32_t known;  // a bit for each
};

enum class Look : uint32_t { kSaved, kInKernel, kAnswered, kGone, kBusy };  // kBusy: ask again

// Copies what it wants; called with registers that hold at that moment.
using LookFn = void (*)(void* arg, const Registers& regs);

// What the kernel says of a thread that sleeps. False: it does not, or nothing is known.
bool sleepersRegisters(uint32_t tid, Registers& out);

}  // namespace graft::sched
