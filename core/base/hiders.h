// Runtimes that keep pointers where no scan finds them, told by what they have mapped; and the
// kernel's own queues. In a process with one of these nothing is ever given back (GRAFT_GC=reclaim
// then is detect). One table: the collector goes by it at each cycle, `graft doctor` prints it.
// Constants: anybody, anywhere.
// Source: GC.md section 5, the classes that a conservative scan does not cover.
#pragma once

namespace graft::base {

struct Hider {
  const char* name;  // how the last part of the mapping's name begins
  bool whole;  // that part is nothing else
  const char* why;
};

inline constexpr Hider kHiders[] = {
    {"libjvm.so", false, "the Java virtual machine compresses pointers"},
    {"libcoreclr.so", false, "the .NET runtime has a collector of its own"},
    {"libmono", false, "Mono has a collector of its own"},
    {"libgc.so", false, "the Boehm collector hides pointers to its own objects"},
    {"node", true, "V8 compresses and tags pointers"},
    {"libnode.so", false, "V8 compresses and tags pointers"},
    {"libv8", false, "V8 compresses and tags pointers"},
    {"chrome", true, "V8 compresses and tags pointers"},
    {"chromium", true, "V8 compresses and tags pointers"},
    {"libmozjs", false, "SpiderMonkey boxes pointers"},
    {"libjavascriptcore", false, "JavaScriptCore boxes pointers"},
    {"libluajit", false, "LuaJIT boxes and compresses pointers"},
    {"libpypy", false, "PyPy has a collector of its own"},
    {"beam.smp", true, "Erlang's machine boxes pointers"},
    {"anon_inode:[io_uring]", false, "io_uring keeps pointers in the kernel"},
    {"[aio]", false, "asynchronous I/O keeps pointers in the kernel"},
};

}  // namespace graft::base
