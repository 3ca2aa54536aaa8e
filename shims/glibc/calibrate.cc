// Finds out and proves the facts of facts.def. Steps:
//   1. names: private functions and variables by dlsym, offsets from glibc's thread_db descriptors;
//   2. one real pthread on a known stack with a known argument copies its own block, before
//   anything
//      ran on it, as the template of all others, and looks for what it knows;
//   3. the starter holds glibc's stack list lock, walks the list and sees the thread wait for it;
//   4. the thread returns a known value, which is then found in its block.
// Whatever does not come out as expected ends the attempt with a reason; addresses that might be
// wrong are read through the kernel, so that a wrong guess is an answer and not a fault.
// Runs on the program's thread and on the real thread it makes, one at a time; no lock of graft's.
#include <dlfcn.h>
#include <link.h>
#include <linux/futex.h>
#include <pthread.h>
#include <resolv.h>
#include <signal.h>
#include <string.h>

#include "core/base/atomic.h"
#include "core/base/bits.h"
#include "core/base/capability.h"
#include "core/base/types.h"
#include "core/os/clock.h"
#include "core/os/mem.h"
#include "core/os/sys.h"
#include "core/os/thread.h"
#include "shims/glibc/calibration.h"
#include "shims/glibc/facts.h"
#include "shims/glibc/glibc_lock.h"
#include "shims/glibc/machine_check.h"
#include "shims/glibc/real_thread.h"
#include "shims/glibc/tcb.h"

namespace graft::glibc {
namespace {

constexpr size_t kStackSize = 128_KiB;
constexpr size_t kMostTls = 64_KiB;
constexpr uint64_t kPatienceMs = 2000;  // for a thread of ours to reach its next step
void* const kReturned = reinterpret_cast<void*>(0x5eedbeefcafe);
constexpr size_t kFirstLevel = 32;  // words of struct pthread's `specific`

// What the starter and the real thread share.
struct Attempt {
  CalibrationResult* result;
  uintptr_t stack = 0;
  char* snapshot = nullptr;  // static_tls_size bytes
  base::Atomic<uint32_t> step{0};  // futex word: see Step
  const char* problem = nullptr;
  uintptr_t tp = 0;
};
enum Step : uint32_t { kStarted, kLooked, kMayTakeLock, kTookLock };

void prove(CalibrationResult& r, FactId id) {
  r.proven |= uint64_t{1} << static_cast<unsigned>(id);
}

// rt_sigprocmask reads its set before it looks at what to do with it: EFAULT or EINVAL.
bool readable(uintptr_t at) {
  constexpr long kBadHow = 77;
  return os::sys(SYS_rt_sigprocmask, kBadHow, static_cast<long>(at), 0, 8) == -22;
}

bool load(uintptr_t at, uintptr_t* out) {
  if (at % sizeof(uintptr_t) != 0 || !readable(at)) return false;
  *out = *reinterpret_cast<uintptr_t*>(at);
  return true;
}

uintptr_t word(uintptr_t at) { return *reinterpret_cast<uintptr_t*>(at); }
uint32_t half(uintptr_t at) { return *reinterpret_cast<uint32_t*>(at); }

// --- 1. Names
// -------------------------------------------------------------------------------------

// glibc's descriptor of a field: size in bits, number of elements, offset.
struct Descriptor {
  uint32_t bits, count, offset;
};

const char* describe(const char* name, uint32_t bits, int64_t* out) {
  auto* d = symbol<const Descriptor>(libc(), name);
  if (d == nullptr || (bits != 0 && d->bits != bits)) return name;
  *out = d->offset;
  return nullptr;
}

const char* findFunctions() {
  fns.allocateTls = symbol<void*(void*)>(libc(), "_dl_allocate_tls");
  fns.deallocateTls = symbol<void(void*, bool)>(libc(), "_dl_deallocate_tls");
  fns.callTlsDtors = symbol<void()>(libc(), "__call_tls_dtors");
  fns.ctypeInit = symbol<void()>(libc(), "__ctype_init");
  fns.resNclose = symbol<void(void*)>(libc(), "__res_nclose");
  auto* info = symbol<void(size_t*, size_t*)>(libc(), "_dl_get_tls_static_info");
  if (fns.allocateTls == nullptr || fns.deallocateTls == nullptr || info == nullptr) {
    return "the loader exports no functions for TLS blocks";
  }
  if (fns.callTlsDtors == nullptr || fns.ctypeInit == nullptr) {
    return "libc exports no functions for starting and ending threads";
  }
  size_t size = 0, align = 0;
  info(&size, &align);
  facts.static_tls_size = static_cast<int64_t>(size);
  facts.static_tls_align = static_cast<int64_t>(align);
  if (size > kMostTls) return "the static TLS block is larger than 64 KiB";
  if (!isPow2(align) || align > kOsPage) return "the alignment of static TLS is unusual";
  return nullptr;
}

const char* findOffsets() {
  auto* size = symbol<const uint32_t>(libc(), "_thread_db_sizeof_pthread");
  if (size == nullptr) return "libc describes no thread layout (_thread_db_sizeof_pthread)";
  facts.sizeof_pthread = *size;
  if (*size % 64 != 0 || *size < 704 || *size > facts.static_tls_size) {
    return "the size of struct pthread makes no sense";
  }
  struct {
    const char* name;
    uint32_t bits;
    int64_t* out;
  } wanted[] = {{"_thread_db_pthread_tid", 32, &facts.tid},
                {"_thread_db_pthread_list", 128, &facts.list},
                {"_thread_db_pthread_cancelhandling", 32, &facts.cancelhandling},
                {"_thread_db_pthread_start_routine", 64, &facts.start_routine},
                {"_thread_db_pthread_specific", 0, &facts.specific},
                {"_thread_db_pthread_dtvp", 64, &facts.dtv},
                {"_thread_db_rtld_global__dl_stack_user", 128, &facts.stack_user}};
  for (auto& w : wanted) {
    if (const char* missing = describe(w.name, w.bits, w.out)) return missing;
    if (w.out != &facts.stack_user && *w.out + 8 > facts.sizeof_pthread) return w.name;
  }
  if (facts.dtv != 8) return "the thread's TLS vector is not where the ABI puts it";
  facts.self = 0x10;
  facts.multiple_threads = 0x18;
  facts.cleanup_jmp_buf = facts.cancelhandling - 8;
  facts.arg = facts.start_routine + 8;
  facts.result = facts.start_routine - 16;
  return nullptr;
}

const char* findVariables() {
  uintptr_t global = reinterpret_cast<uintptr_t>(symbolAddress(libc(), "_rtld_global"));
  if (global == 0) return "the loader exports no _rtld_global";
  Dl_info info;
  ElfW(Sym)* sym = nullptr;
  if (dladdr1(reinterpret_cast<void*>(global), &info, reinterpret_cast<void**>(&sym),
              RTLD_DL_SYMENT) == 0 ||
      sym == nullptr || static_cast<uint64_t>(facts.stack_user) + 48 + 4 > sym->st_size) {
    return "the list of stacks lies outside _rtld_global";
  }
  facts.stack_user += static_cast<int64_t>(global);
  facts.stack_cache_lock = facts.stack_user + 48;
  facts.rseq_area = 0;
  if (auto* offset = symbol<const ptrdiff_t>(libc(), "__rseq_offset")) facts.rseq_area = *offset;
  return nullptr;
}

void markDtor(void*) {}

// The table of keys: 16 bytes each, sequence number and destructor.
const char* findKeys() {
  facts.keys =
      static_cast<int64_t>(reinterpret_cast<uintptr_t>(symbolAddress(libc(), "__pthread_keys")));
  int64_t destr = 0, data = 0;
  auto* size = symbol<const uint32_t>(libc(), "_thread_db_sizeof_pthread_key_struct");
  auto* data_size = symbol<const uint32_t>(libc(), "_thread_db_sizeof_pthread_key_data");
  auto* create = symbol<decltype(pthread_key_create)>(libc(), "pthread_key_create");
  auto* remove = symbol<decltype(pthread_key_delete)>(libc(), "pthread_key_delete");
  if (facts.keys == 0 || size == nullptr || data_size == nullptr || create == nullptr ||
      remove == nullptr || describe("_thread_db_pthread_key_struct_destr", 64, &destr) ||
      describe("_thread_db_pthread_key_data_data", 64, &data)) {
    return "libc does not export its table of keys";
  }
  if (*size != 16 || *data_size != 16 || destr != 8 || data != 8) {
    return "the table of keys has an unknown layout";
  }
  pthread_key_t key;
  // A program that has taken every key leaves none to try with; the descriptors have to do then.
  if (create(&key, markDtor) != 0) return nullptr;
  bool found = word(at(static_cast<uintptr_t>(facts.keys), key * 16 + 8)) ==
               reinterpret_cast<uintptr_t>(markDtor);
  remove(key);
  return found ? nullptr : "a new key is not found in the table of keys";
}

// --- 2. On the real thread
// ------------------------------------------------------------------------

uintptr_t blockLow(uintptr_t tp) {
  return tp + static_cast<uintptr_t>(facts.sizeof_pthread - facts.static_tls_size);
}

// The only word of struct pthread that holds `value`, as an offset; 0 when there is none or
// several.
int64_t scanFor(uintptr_t tp, uintptr_t value) {
  int64_t found = 0;
  for (int64_t i = 0; i + 8 <= facts.sizeof_pthread; i += 8) {
    if (word(at(tp, i)) != value) continue;
    if (found != 0) return 0;
    found = i;
  }
  return found;
}

bool inBlock(int64_t offset, size_t size) {
  return offset >= facts.sizeof_pthread - facts.static_tls_size &&
         offset + static_cast<int64_t>(size) <= facts.sizeof_pthread;
}

void* firstFunction(void* arg);

const char* lookAtBlock(Attempt& a, uintptr_t here) {
  uintptr_t tp = a.tp;
  if (tp % static_cast<uintptr_t>(facts.static_tls_align) != 0 || tp < a.stack ||
      tp + static_cast<uintptr_t>(facts.sizeof_pthread) > a.stack + kStackSize) {
    return "a new thread's block is not at the top of its stack";
  }
  if (word(tp) != tp || word(at(tp, facts.self)) != tp) return "self";
  if (half(at(tp, facts.tid)) != static_cast<uint32_t>(os::gettid())) return "tid";
  if (word(at(tp, facts.start_routine)) != reinterpret_cast<uintptr_t>(firstFunction)) {
    return "start_routine";
  }
  if (word(at(tp, facts.arg)) != reinterpret_cast<uintptr_t>(&a)) return "arg";
  uintptr_t buffer = word(at(tp, facts.cleanup_jmp_buf));
  if (buffer <= here || buffer >= blockLow(tp)) return "cleanup_jmp_buf";
  facts.stackblock = scanFor(tp, a.stack);
  if (facts.stackblock == 0 || word(at(tp, facts.stackblock + 8)) != kStackSize) {
    return "stackblock";
  }
  uintptr_t first = word(at(tp, facts.specific));
  if (first <= tp || first + kFirstLevel * 16 > at(tp, facts.specific)) return "specific";
  for (size_t i = 1; i < kFirstLevel; i++) {
    if (word(at(tp, facts.specific) + i * 8) != 0) return "specific";
  }
  return nullptr;
}

const char* lookAtCancellation(uintptr_t tp) {
  uint32_t before = half(at(tp, facts.cancelhandling));
  int old = 0;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
  uint32_t during = half(at(tp, facts.cancelhandling));
  pthread_setcancelstate(old, nullptr);
  return before == 0 && during == 1 ? nullptr : "cancelhandling";
}

const char* lookAtResolver(Attempt& a) {
  auto* resp = symbol<uintptr_t>(libc(), "__resp");  // of this thread
  if (resp == nullptr) return "resp";
  facts.resp = static_cast<int64_t>(reinterpret_cast<uintptr_t>(resp) - a.tp);
  if (!inBlock(facts.resp, 8)) return "resp";
  facts.res = static_cast<int64_t>(*resp - a.tp);
  if (facts.res <= 0 ||
      facts.res + static_cast<int64_t>(sizeof(struct __res_state)) > facts.sizeof_pthread) {
    return "res";
  }
  return nullptr;
}

// Puts values of our own where the guard sizes should be and asks pthread_getattr_np.
void lookAtGuardSizes(Attempt& a) {
  facts.guardsize = facts.stackblock + 16;
  facts.reported_guardsize = facts.stackblock + 24;
  if (facts.reported_guardsize + 8 > facts.sizeof_pthread) return;
  auto* getattr = symbol<decltype(pthread_getattr_np)>(libc(), "pthread_getattr_np");
  auto* guard = reinterpret_cast<uintptr_t*>(at(a.tp, facts.guardsize));
  auto* reported = reinterpret_cast<uintptr_t*>(at(a.tp, facts.reported_guardsize));
  if (getattr == nullptr || *guard != 0) return;
  uintptr_t was = *reported;
  *guard = 3 * kOsPage;
  *reported = 5 * kOsPage;
  pthread_attr_t attr;
  size_t size = 0, guard_size = 0;
  void* low = nullptr;
  bool asked = getattr(pthread_self(), &attr) == 0;
  *guard = 0;
  *reported = was;
  if (!asked) return;
  pthread_attr_getstack(&attr, &low, &size);
  pthread_attr_getguardsize(&attr, &guard_size);
  pthread_attr_destroy(&attr);
  if (size == kStackSize - 3 * kOsPage) prove(*a.result, FactId::guardsize);
  if (guard_size == 5 * kOsPage) prove(*a.result, FactId::reported_guardsize);
}

// nptl's own mark that a thread has set a value for some key.
bool marksKeys(uintptr_t tp) {
  facts.specific_used = facts.specific + static_cast<int64_t>(kFirstLevel) * 8;
  auto* mark = reinterpret_cast<const char*>(at(tp, facts.specific_used));
  pthread_key_t key;
  if (facts.specific_used >= facts.sizeof_pthread || *mark != 0) return false;
  if (pthread_key_create(&key, nullptr) != 0) return false;
  pthread_setspecific(key, &key);
  bool marked = *const_cast<const volatile char*>(mark) == 1;
  pthread_setspecific(key, nullptr);
  pthread_key_delete(key);
  return marked;
}

void lookAtOptional(Attempt& a) {
  CalibrationResult& r = *a.result;
  if (marksKeys(a.tp)) prove(r, FactId::specific_used);
  if (half(at(a.tp, facts.multiple_threads)) == 1) prove(r, FactId::multiple_threads);
  if (facts.rseq_area != 0 && inBlock(facts.rseq_area, 32)) prove(r, FactId::rseq_area);
  lookAtGuardSizes(a);
  constexpr int kNoSignal = 12345, kNoError = 54321;
  facts.strsignal_buffer = scanFor(a.tp, reinterpret_cast<uintptr_t>(strsignal(kNoSignal)));
  if (facts.strsignal_buffer != 0) prove(r, FactId::strsignal_buffer);
  facts.strerror_buffer = scanFor(a.tp, reinterpret_cast<uintptr_t>(strerror(kNoError)));
  if (facts.strerror_buffer != 0) prove(r, FactId::strerror_buffer);
  if (void* unread = symbolAddress(libc(), "__libc_dlerror_result")) {
    facts.dlerror_result = static_cast<int64_t>(reinterpret_cast<uintptr_t>(unread) - a.tp);
    if (inBlock(facts.dlerror_result, 8)) prove(r, FactId::dlerror_result);
  }
}

void reach(Attempt& a, Step step) {
  a.step.storeRelease(step);
  os::futexWakeAll(&a.step);
}

bool waitFor(Attempt& a, Step step) {
  for (uint64_t i = 0; i < kPatienceMs / 10; i++) {
    uint32_t now = a.step.loadAcquire();
    if (now >= step) return true;
    os::futexWaitMs(&a.step, now, 10);
  }
  return a.step.loadAcquire() >= step;
}

// Takes the lock inside libc, and nothing else: looks for a cached stack first, then fails to map
// one that is larger than the address space.
void wantLock() {
  auto* create = symbol<decltype(pthread_create)>(libc(), "pthread_create");
  pthread_attr_t attr;
  pthread_t never;
  if (pthread_attr_init(&attr) != 0) return;
  if (pthread_attr_setstacksize(&attr, size_t{1} << 48) == 0) {
    create(&never, &attr, firstFunction, nullptr);
  }
  pthread_attr_destroy(&attr);
}

void* firstFunction(void* arg) {
  Attempt& a = *static_cast<Attempt*>(arg);
  a.tp = os::threadPointer();
  base::copyBytes(a.snapshot, reinterpret_cast<void*>(blockLow(a.tp)),
                  static_cast<size_t>(facts.static_tls_size));
  a.problem = lookAtBlock(a, reinterpret_cast<uintptr_t>(__builtin_frame_address(0)));
  if (a.problem == nullptr) a.problem = lookAtCancellation(a.tp);
  if (a.problem == nullptr) a.problem = lookAtResolver(a);
  if (a.problem == nullptr) lookAtOptional(a);
  reach(a, kLooked);
  if (a.problem == nullptr && waitFor(a, kMayTakeLock)) {
    wantLock();
    reach(a, kTookLock);
  }
  return kReturned;
}

// --- 3. The list and its lock
// ---------------------------------------------------------------------

const char* findInList(uintptr_t node) {
  constexpr int kMostThreads = 1 << 20;
  uintptr_t head = static_cast<uintptr_t>(facts.stack_user);
  bool found = false;
  uintptr_t previous = head;
  for (int i = 0; i < kMostThreads; i++) {
    uintptr_t current, back;
    if (!load(previous, &current) || !load(current + 8, &back) || back != previous) {
      return "the list of stacks is not whole";
    }
    if (current == head) return found ? nullptr : "a new thread is not in the list of stacks";
    found |= current == node;
    previous = current;
  }
  return "the list of stacks does not end";
}

const char* checkListAndLock(Attempt& a) {
  auto* word = reinterpret_cast<GlibcLockWord*>(facts.stack_cache_lock);
  int tries = 0;
  while (!tryLock(word)) {
    if (++tries > 1000) return "stack_cache_lock";
    os::sys(SYS_sched_yield);
  }
  const char* problem = findInList(at(a.tp, facts.list));
  reach(a, kMayTakeLock);
  bool waited = false;
  for (uint64_t i = 0; i < kPatienceMs * 20 && problem == nullptr; i++) {
    waited = word->loadAcquire() == 2;
    if (waited || a.step.loadAcquire() == kTookLock) break;
    if (i > 10) os::sleepNs(50'000);
    os::sys(SYS_sched_yield);
  }
  unlock(word);
  if (problem != nullptr) return problem;
  return waited ? nullptr : "stack_cache_lock";
}

// --- 4. The end of the real thread, and the template
// ----------------------------------------------

const char* checkResult(Attempt& a) {
  uintptr_t tid = at(a.tp, facts.tid);
  for (uint64_t i = 0; half(tid) != 0; i++) {
    if (i > kPatienceMs * 20) return "a finished thread keeps its tid";
    os::futexWaitMs(reinterpret_cast<base::Atomic<uint32_t>*>(tid), half(tid), 1);
  }
  return word(at(a.tp, facts.result)) == reinterpret_cast<uintptr_t>(kReturned) ? nullptr
                                                                                : "result";
}

void setWord(char* block, int64_t offset, uintptr_t value, size_t size = 8) {
  char* to = block + (facts.static_tls_size - facts.sizeof_pthread) + offset;
  base::copyBytes(to, &value, size);
}

// Makes the snapshot one of a thread that is nobody in particular.
void neutralise(Attempt& a) {
  char* block = a.snapshot;
  setWord(block, facts.tid, 0, 4);
  setWord(block, facts.dtv, 0);
  setWord(block, facts.list, at(a.tp, facts.list));
  setWord(block, facts.list + 8, at(a.tp, facts.list));
  setWord(block, facts.cleanup_jmp_buf, 0);
  setWord(block, facts.result, 0);
  setWord(block, facts.start_routine, 0);
  setWord(block, facts.arg, 0);
  setWord(block, facts.stackblock, 0);
  setWord(block, facts.stackblock + 8, 0);
  if (proven(FactId::rseq_area)) {
    constexpr uint32_t kNotRegistered = static_cast<uint32_t>(-2);
    for (int64_t i = 0; i < 32; i += 8) setWord(block, facts.rseq_area + i, 0);
    setWord(block, facts.rseq_area + 4, kNotRegistered, 4);
  }
}

// Lists the words that point into the block; refuses a template that points into its old stack.
const char* findRelocations(Attempt& a, uint16_t* list) {
  uintptr_t low = blockLow(a.tp);
  size_t size = static_cast<size_t>(facts.static_tls_size);
  size_t tls = size - static_cast<size_t>(facts.sizeof_pthread);
  size_t count = 0;
  for (size_t i = 0; i < size / 8; i++) {
    uintptr_t value;
    memcpy(&value, a.snapshot + i * 8, 8);
    if (value >= a.stack && value < low) return "the template points into its stack";
    if (value < low || value >= low + size) continue;
    list[count++] = static_cast<uint16_t>(i);
    if (i * 8 < tls) pristine.relocated_tls = count;
  }
  pristine.bytes = a.snapshot;
  pristine.made_at = low;
  pristine.relocated = list;
  pristine.relocated_count = count;
  return nullptr;
}

const char* runThread(Attempt& a, bool* stack_free) {
  pthread_t thread;
  if (startRealThread(reinterpret_cast<void*>(a.stack), kStackSize, firstFunction, &a, &thread) !=
      0) {
    return "no thread could be started";
  }
  *stack_free = false;
  if (!waitFor(a, kLooked)) return "a thread does not start";
  if (a.problem != nullptr) {
    if (joinRealThread(thread, nullptr) == 0) *stack_free = true;
    return a.problem;
  }
  const char* problem = checkListAndLock(a);
  if (const char* other = checkResult(a)) return problem != nullptr ? problem : other;
  void* returned = nullptr;
  if (joinRealThread(thread, &returned) != 0 || returned != kReturned) return "result";
  *stack_free = true;
  return problem;
}

constinit Attempt attempt{};  // outlives a thread that never gets to its end

const char* attemptAll(CalibrationResult& result) {
  if (base::isDenied(base::Capability::calibration)) return "GRAFT_DENY names calibration";
  if (const char* why = whyNoUserSwitch(); why[0] != '\0') return why;
  if (libc() == nullptr) return "libc.so.6 is not loaded";
  const char* (*const steps[])() = {findFunctions, findOffsets, findVariables, findKeys};
  for (auto* step : steps) {
    if (const char* problem = step()) return problem;
  }
  Attempt& a = attempt;
  a.result = &result;
  // The stack, and behind it the template with its list of words.
  size_t room = roundUp(static_cast<size_t>(facts.static_tls_size) * 2, kOsPage);
  a.stack = os::reserve(kStackSize, 0);
  uintptr_t keep = os::reserve(room, 0);
  if (a.stack == 0 || keep == 0 || !os::commit(a.stack, kStackSize) || !os::commit(keep, room)) {
    return "no memory";
  }
  a.snapshot = reinterpret_cast<char*>(keep);
  bool stack_free = true;
  const char* problem = runThread(a, &stack_free);
  if (problem == nullptr) {
    neutralise(a);
    problem = findRelocations(
        a, reinterpret_cast<uint16_t*>(keep + static_cast<size_t>(facts.static_tls_size)));
  }
  if (stack_free) os::release(a.stack, kStackSize);
  return problem;
}

}  // namespace

void runCalibration(CalibrationResult& result) {
  if (const char* problem = attemptAll(result)) {
    result.why_not = problem;
    return;
  }
  for (size_t i = 0; i < kFactCount; i++) {
    if (kFacts[i].need == Need::kRequired) prove(result, static_cast<FactId>(i));
  }
}

}  // namespace graft::glibc
