// Bit arithmetic on 64-bit words and block copies without libc: popcount and copies are our own
// because libgraft must run on baseline x86-64 and its text must not call out (HZ-NORUN).
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace graft::base {

constexpr unsigned popcount(uint64_t x) {
  x -= (x >> 1) & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return static_cast<unsigned>((x * 0x0101010101010101u) >> 56);
}

// Index of the lowest set bit; x must not be 0.
constexpr unsigned lowestBit(uint64_t x) { return static_cast<unsigned>(__builtin_ctzll(x)); }

// Index of the highest set bit; x must not be 0.
constexpr unsigned highestBit(uint64_t x) {
  return 63u - static_cast<unsigned>(__builtin_clzll(x));
}

// The lowest `n` set bits of `x` (all of them when it has fewer).
constexpr uint64_t lowestBits(uint64_t x, unsigned n) {
  uint64_t rest = x;
  for (; n != 0 && rest != 0; n--) rest &= rest - 1;
  return x & ~rest;
}

// Bits [0, n) set, n <= 64.
constexpr uint64_t maskBelow(unsigned n) { return n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; }

// String instructions: fast for the block sizes that reach them (slow paths only), and one
// instruction long, so that a signal never sees a half-called libc function.
inline void copyBytes(void* dst, const void* src, size_t n) {
  asm volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
}
inline void fillBytes(void* dst, uint8_t value, size_t n) {
  asm volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(value) : "memory");
}

constexpr size_t stringLength(const char* s) {
  size_t n = 0;
  while (s[n] != '\0') n++;
  return n;
}

}  // namespace graft::base
