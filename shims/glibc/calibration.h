// Between facts.cc, which keeps what is known, and calibrate.cc, which finds it out. Private to
// this folder; the program's thread, once.
#pragma once

#include <stdint.h>

namespace graft::glibc {

struct CalibrationResult {
  bool tried = false;
  const char* why_not = "";  // "" when every required fact is proven
  uint64_t proven = 0;       // one bit per FactId
};

// Fills facts, fns, pristine and `result`. Never crashes: what it does not understand it refuses.
void runCalibration(CalibrationResult& result);

}  // namespace graft::glibc
