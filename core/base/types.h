// Units and constants that every layer shares: addresses, and the page, which is the page of the
// operating system (4 KiB; Go has 8 KiB): a span gives back whichever of its pages is free. No
// state, no operating system, no libc calls; safe on every stack.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace graft {

using Addr = uintptr_t;     // a byte address of the program
using PageId = uint32_t;    // index of a graft page, counted from the start of the reservation
using SpanId = uint32_t;    // index of a span record in units of kSpanUnit; 0 means none

inline constexpr size_t kPageShift = 12;
inline constexpr size_t kPageSize = size_t{1} << kPageShift;
inline constexpr size_t kOsPage = 4096;
inline constexpr size_t kCacheLine = 64;

inline constexpr size_t operator""_KiB(unsigned long long n) { return n << 10; }
inline constexpr size_t operator""_MiB(unsigned long long n) { return n << 20; }
inline constexpr size_t operator""_GiB(unsigned long long n) { return n << 30; }

constexpr size_t roundUp(size_t n, size_t to) { return (n + to - 1) & ~(to - 1); }
constexpr size_t roundDown(size_t n, size_t to) { return n & ~(to - 1); }
constexpr bool isPow2(size_t n) { return n != 0 && (n & (n - 1)) == 0; }
constexpr size_t pagesFor(size_t bytes) { return (bytes + kPageSize - 1) >> kPageShift; }

}  // namespace graft
