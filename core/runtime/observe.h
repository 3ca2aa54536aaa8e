// What the process says about its threads on the control socket (core/prof/control.h): who they
// are, and the stack of one of them as bytes with the registers that go with it. Nothing is
// unwound or named here: that is the tool's business.
//
//   process      one object: version, mode, Ps
//   gs           one object per living G
//   stack ID     one object with registers and "bytes", then that much stack from its pointer up
//
// On the control socket's thread: no lock of the heap's, inline system calls only.
#pragma once

#include "core/prof/control.h"

namespace graft::runtime {

extern const prof::Control::Command kObserveCommands[];

// Gs are timed from now on, in cycles; see Config::times.
void beginTimes();

}  // namespace graft::runtime
