// Programs whose threads stay kernel threads even with GRAFT_THREADS=m:n, because they do with
// their threads what only kernel threads can do. The runtime goes by it (shims/threads/rules.cc),
// and `graft doctor` prints it. Constants: anybody, anywhere.
#pragma once

namespace graft::base {

struct ThreadRule {
  const char* executable;  // its name, "" for any
  const char* library;  // one that is loaded, "" for any
  const char* why;
};

inline constexpr ThreadRule kThreadRules[] = {
    {"", "libjvm.so",
     "the Java virtual machine stops its threads by signals and walks their stacks"},
    {"", "libgc.so.1", "the Boehm collector stops the threads by signals and walks their stacks"},
    {"", "libcoreclr.so", "the .NET runtime stops its threads by signals and walks their stacks"},
};

}  // namespace graft::base
