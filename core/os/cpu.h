// How many CPUs this process may use: its affinity mask, and the CPU quota of its cgroups (v2,
// every level up to the root; v1's cpu controller). Read once, at start, by raw system calls. Any
// stack.
#pragma once

#include <stdint.h>

namespace graft::os {

uint32_t affinityCpus();
// Thousandths of a CPU; 0: no limit.
uint64_t quotaMilliCpus();
// What GOMAXPROCS is by default: the mask's count, or the quota rounded up where that is less.
uint32_t usableCpus();

// For tests: what a cpu.max line allows, in thousandths of a CPU; 0: "max" or not understood.
uint64_t parseCpuMax(const char* text);

}  // namespace graft::os
