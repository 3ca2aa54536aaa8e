// The options of graft: a struct of values and a table that describes them, from options.def.
//
// `options` is the only mutable global of core besides per-thread pointers. parseEnv() fills it at
// process start, before any other thread exists; kMutable options may be set later by any thread.
// Reading is one relaxed load, allowed anywhere: fast paths, signal handlers, a stopped world.
// Nothing here allocates, locks, calls libc or has a static constructor.
// The caller decides whether the environment may be trusted at all (AT_SECURE: do not parse it).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/base/capability.h"
#include "core/base/format.h"

namespace graft::base {

using Bool = bool;
using Int = int64_t;
using Str = const char*;

enum class Misuse : uint8_t { kAbort, kReport };
constexpr const char* choicesOf(Misuse) { return "abort|report"; }  // in the order of the enum

enum class Deadlock : uint8_t { kReport, kAbort, kOff };
constexpr const char* choicesOf(Deadlock) { return "report|abort|off"; }

enum class Threads : uint8_t { kOneToOne, kMToN };
constexpr const char* choicesOf(Threads) { return "1:1|m:n"; }

enum class GcMode : uint8_t { kOff, kDetect, kReclaim };
constexpr const char* choicesOf(GcMode) { return "off|detect|reclaim"; }

// One option's value. Atomic: relaxed everywhere; an option never publishes other data.
template <class T>
class OptionValue {
 public:
  constexpr OptionValue(T v) : v_(v) {}  // NOLINT(google-explicit-constructor): rows' defaults
  OptionValue(const OptionValue& o) : v_(o.get()) {}
  OptionValue& operator=(const OptionValue& o) {
    set(o.get());
    return *this;
  }
  T get() const {
    T out;
    __atomic_load(&v_, &out, __ATOMIC_RELAXED);
    return out;
  }
  void set(T v) { __atomic_store(&v_, &v, __ATOMIC_RELAXED); }
  operator T() const { return get(); }  // NOLINT(google-explicit-constructor): reads as a field

 private:
  T v_;
};

struct Options {
#define OPTION(member, env, type, def, min, max, mutability, help) OptionValue<type> member{def};
#include "core/base/options.def"
#undef OPTION
  OptionValue<uint32_t> denied{0};  // GRAFT_DENY as the bits of a CapabilitySet
};

extern constinit Options options;

enum class OptionType : uint8_t { kBool, kInt, kEnum, kStr };
enum class Mutability : uint8_t { kFixed, kMutable };

struct OptionInfo {
  const char* name;  // the member, as in options.def
  const char* env;
  const char* help;
  const char* choices;       // kEnum: names separated by '|', in the order of their values
  const char* default_text;  // kStr
  Int default_value;         // all but kStr; kEnum: index into choices
  Int min;
  Int max;
  uint16_t offset;  // of the OptionValue within Options
  OptionType type;
  Mutability mutability;
};

namespace option_detail {

constexpr OptionInfo row(const char* name, const char* env, Bool def, Int min, Int max,
                         Mutability mut, const char* help, size_t offset) {
  return {name,
          env,
          help,
          "",
          "",
          def ? 1 : 0,
          min,
          max,
          static_cast<uint16_t>(offset),
          OptionType::kBool,
          mut};
}
constexpr OptionInfo row(const char* name, const char* env, Int def, Int min, Int max,
                         Mutability mut, const char* help, size_t offset) {
  return {name, env, help, "", "", def, min, max, static_cast<uint16_t>(offset), OptionType::kInt,
          mut};
}
constexpr OptionInfo row(const char* name, const char* env, Str def, Int min, Int max,
                         Mutability mut, const char* help, size_t offset) {
  return {name, env, help, "", def, 0, min, max, static_cast<uint16_t>(offset), OptionType::kStr,
          mut};
}
template <class Enum>
  requires(sizeof(Enum) == 1 && requires(Enum e) { choicesOf(e); })
constexpr OptionInfo row(const char* name, const char* env, Enum def, Int min, Int max,
                         Mutability mut, const char* help, size_t offset) {
  return {name,
          env,
          help,
          choicesOf(def),
          "",
          static_cast<Int>(def),
          min,
          max,
          static_cast<uint16_t>(offset),
          OptionType::kEnum,
          mut};
}

}  // namespace option_detail

inline constexpr OptionInfo kOptions[] = {
#define OPTION(member, env, type, def, min, max, mutability, help)                    \
  option_detail::row(#member, env, type{def}, min, max, Mutability::mutability, help, \
                     offsetof(Options, member)),
#include "core/base/options.def"
#undef OPTION
};
inline constexpr size_t kOptionCount = sizeof(kOptions) / sizeof(kOptions[0]);

// Takes one finished line, newline included, ready for a single write(2).
using ReportFn = void (*)(const char* line, size_t n);

// Walks the environment block once, sets what it finds in `out`, then reports what it could not
// use: one line for each unknown GRAFT_* name and each bad value, whose default is kept. An empty
// value counts as not set; of a name given twice the first counts, as in getenv(). Values are set
// before the first line is reported, so the callback may use out.log; with GRAFT=off nothing is
// reported. `report` may be null. Str values point into the block, which must stay.
// Cost without any variable that starts with "GRAFT" or "GO": one look at the first bytes of each.
void parseEnv(Options& out, char* const* envp, ReportFn report);
inline void parseEnv(char* const* envp, ReportFn report) { parseEnv(options, envp, report); }

// on, off and their synonyms. False, and nothing changed, for any other text.
bool parseBool(const char* text, Int& out);
// Sets one option from text. False, and nothing changed, when the text is not acceptable.
bool setOption(Options& out, const OptionInfo& info, const char* text);

// The row whose member is `name` (n bytes), or null. '-' matches '_', for flags.
const OptionInfo* findOption(const char* name, size_t n);

// What setOption() accepts, for messages: "an integer from -1 to 3600000".
void describeAccepted(const OptionInfo& info, Line& out);

// The value as a user would write it: "1000", "on", "abort".
void formatDefault(const OptionInfo& info, Line& out);
void formatValue(const Options& from, const OptionInfo& info, Line& out);

// Appends at most 40 characters of text that came from outside, unprintable ones as '?'.
void quoteValue(const char* text, size_t n, Line& out);

// Appends `; did you mean X?` if one of the `count` names is close to `name` (n bytes); nameAt(i)
// gives the i-th.
void suggestName(const char* name, size_t n, size_t count, const char* (*nameAt)(size_t),
                 Line& out);

// The next item of a comma list at `p`: sets `item`, returns its length without spaces around it,
// moves `p` behind the comma. Items may be empty.
size_t nextItem(const char*& p, const char*& item);

// True if the comma list has the item `name`; spaces around items do not count.
bool listHas(const char* list, const char* name);

// Whether GRAFT, GRAFT_ONLY and GRAFT_SKIP leave graft on in this executable (path or name).
bool enabledFor(const Options& o, const char* executable);

}  // namespace graft::base
