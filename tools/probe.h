// Tries out each capability of core/base/capability.def on this machine, in this process, the same
// way the runtime will, and undoes it. One probe per row; a row without one does not compile.
#pragma once

#include <cstdint>
#include <string>

#include "core/base/capability.h"

namespace graft::tools {

struct ProbeResult {
  enum class Answer { kYes, kNo, kUnknown };
  Answer answer = Answer::kUnknown;
  std::string detail;  // why not, or what is needed to know
};

// `reserve_gib` is the option of that name: how much `reserve` asks for.
ProbeResult probe(base::Capability capability, int64_t reserve_gib);

}  // namespace graft::tools
