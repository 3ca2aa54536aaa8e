// A thread that was stopped for the collector in the middle of a system call finds that call ended
// with EINTR, which no program expects that has no signal handlers (HZ-UNAWARE: no signal of the
// program's was delivered, so nobody may see that one came). restartCall() edits the frame so that
// the call is made once more. Handler of the stop signal, at its end, all signals blocked.
#pragma once

namespace graft::runtime {

void restartCall(void* ucontext);

}  // namespace graft::runtime
