// For tests that must leave the frames of the test framework before they start: call it in a forked
// child; `body` runs directly below main() and does not return.
#pragma once

namespace graft::glibc::test {

[[noreturn]] void runOutside(void (*body)());

}  // namespace graft::glibc::test
