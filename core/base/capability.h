// The capabilities that graft can lack (capability.def) and the set of those to treat as missing.
//
// A set is a plain value of 32 bits. The denied set of the process lives in `options` (options.h),
// is written by parseEnv() before any thread exists and only read afterwards, from any context.
// Whoever is about to use a capability asks isDenied() first, then tries it, then falls back.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace graft::base {

enum class Capability : uint8_t {
#define CAPABILITY(name, in_use, needed_for, otherwise) name,
#include "core/base/capability.def"
#undef CAPABILITY
};

struct CapabilityInfo {
  const char* name;
  bool in_use;             // false: for GRAFT_THREADS=m:n, or a part that does not exist yet
  const char* needed_for;  // what uses it
  const char* otherwise;   // what happens without it
};

inline constexpr CapabilityInfo kCapabilities[] = {
#define CAPABILITY(name, in_use, needed_for, otherwise) {#name, in_use, needed_for, otherwise},
#include "core/base/capability.def"
#undef CAPABILITY
};
inline constexpr size_t kCapabilityCount = sizeof(kCapabilities) / sizeof(kCapabilities[0]);
static_assert(kCapabilityCount <= 32, "CapabilitySet has 32 bits");

class CapabilitySet {
 public:
  constexpr CapabilitySet() = default;
  constexpr explicit CapabilitySet(uint32_t bits) : bits_(bits) {}
  static constexpr CapabilitySet all() {
    return CapabilitySet(static_cast<uint32_t>((uint64_t{1} << kCapabilityCount) - 1));
  }
  constexpr bool has(Capability c) const { return (bits_ & bitOf(c)) != 0; }
  constexpr void add(Capability c) { bits_ |= bitOf(c); }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr uint32_t bits() const { return bits_; }

 private:
  static constexpr uint32_t bitOf(Capability c) { return uint32_t{1} << static_cast<unsigned>(c); }
  uint32_t bits_ = 0;
};

// True when GRAFT_DENY of this process names `c`. One relaxed load.
bool isDenied(Capability c);

// Parses the value of GRAFT_DENY: names separated by commas, or `all`; empty items are skipped.
// Each unknown name costs one line through `report` (may be null) and nothing else.
CapabilitySet parseDeny(const char* list, void (*report)(const char* line, size_t n));

}  // namespace graft::base
