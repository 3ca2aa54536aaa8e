// The only way graft speaks: whole lines to the program's stderr, as long as descriptor 2 still
// is the file it was at start, or to GRAFT_LOG. Nothing is kept open between messages, so a
// program that closes every descriptor closes none of ours. Any stack, no locks, no allocation.
#pragma once

#include <stddef.h>

#include "core/base/format.h"

namespace graft::os {

// Remembers what descriptor 2 is; `log` is the GRAFT_LOG pattern or "" (kept, not copied).
void initMessages(const char* log);
// Writes one or more whole lines. Falls silent when there is nowhere to write.
void say(const char* text, size_t n);
inline void say(const base::Line& line) { say(line.data(), line.size()); }
// The reason why the process is about to end: also goes to a terminal or pipe that has since become
// descriptor 2 (a parent that captures stderr), but never to a file or socket.
void sayLast(const char* text, size_t n);
// Opens a file of ours for writing: CLOEXEC, moved above descriptor 512 where that is possible;
// %p in `pattern` is the process id. Returns the descriptor or -errno.
int openOutput(const char* pattern, bool append);
void writeAll(int fd, const char* text, size_t n);
void closeOutput(int fd);
// Ends the process as abort() does (through the host's abort where there is one).
[[noreturn]] void die();

}  // namespace graft::os
