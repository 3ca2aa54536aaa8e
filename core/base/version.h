// The version of graft, in the one place that the library, the tools and CMake all read it from;
// a plain string so that messages and JSON can be put together at compile time.
#pragma once

#define GRAFT_VERSION "0.1.0"
