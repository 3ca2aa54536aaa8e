// What graft knows about the glibc in this process, and whether it was proven. The table of facts
// is facts.def; calibrate() fills it once, at the first use of threads, with the help of one
// short-lived real thread. If any required fact cannot be proven, or the machine lacks what a
// switch in user space needs, calibrated() is false, whyNotCalibrated() says why, and nothing else
// of this folder may be used: every thread then keeps a kernel thread of its own.
//
// calibrate(): the program's thread, outside signal handlers, no lock of graft's held; it calls
// libc (pthread_create, dlsym, malloc). Everything else: any stack, read only after calibrate().
// Source: GLIBC's own thread_db descriptors, as gdb reads them; the template idea is ours.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/base/format.h"

namespace graft::glibc {

// Offsets are from the thread pointer (struct pthread); negative ones lie in the static TLS block.
// Values are addresses where the name is a variable's.
struct Facts {
#define FACT(name, need, how, check, otherwise) int64_t name = 0;
#include "shims/glibc/facts.def"
#undef FACT
};

enum class FactId : uint8_t {
#define FACT(name, need, how, check, otherwise) name,
#include "shims/glibc/facts.def"
#undef FACT
};

enum class Need : uint8_t { kRequired, kOptional };

struct FactInfo {
  const char* name;
  Need need;
  const char* how;
  const char* check;
  const char* otherwise;
  int64_t Facts::* value;
};

inline constexpr FactInfo kFacts[] = {
#define FACT(name, need, how, check, otherwise) \
  {#name, Need::need, how, check, otherwise, &Facts::name},
#include "shims/glibc/facts.def"
#undef FACT
};
inline constexpr size_t kFactCount = sizeof(kFacts) / sizeof(kFacts[0]);
static_assert(kFactCount <= 64, "the proven set is one word");

// Private functions of glibc, resolved by name.
struct PrivateFunctions {
  void* (*allocateTls)(void* tcb) = nullptr;
  void (*deallocateTls)(void* tcb, bool free_tcb) = nullptr;
  void (*callTlsDtors)() = nullptr;
  void (*ctypeInit)() = nullptr;
  void (*resNclose)(void* state) = nullptr;  // null: resolver sockets of ended threads leak
};

// The pristine block of a thread that has not run anything yet: static TLS, then struct pthread.
// `relocated` lists the words that point into the block itself.
struct Template {
  const char* bytes = nullptr;  // static_tls_size of them
  uintptr_t made_at = 0;        // address of the first byte when it was taken
  const uint16_t* relocated = nullptr;  // in words from the first byte, ascending
  size_t relocated_count = 0;
  size_t relocated_tls = 0;     // how many of them lie before struct pthread
};

extern constinit Facts facts;
extern constinit PrivateFunctions fns;
extern constinit Template pristine;

// Proves the facts, once; later calls return what the first found. True: calibrated.
bool calibrate();
bool calibrated();
// "" while calibrated or not tried yet.
const char* whyNotCalibrated();

bool proven(FactId id);

// glibc's version, and one line per fact: name, value, proven or not, origin. `put` takes whole
// lines.
void printFacts(void (*put)(const base::Line& line, void* arg), void* arg);

}  // namespace graft::glibc
