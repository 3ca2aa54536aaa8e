// The commands of the control socket; see observe.h. What belongs to a running program is read
// through os::peek, or is never unmapped (Pool); figures of different Gs are not from one instant.
#include "core/runtime/observe.h"

#include "core/base/version.h"
#include "core/os/clock.h"
#include "core/os/peek.h"
#include "core/runtime/collect.h"
#include "core/runtime/runtime.h"

namespace graft::runtime {
namespace {

using sched::GState;
using sched::Look;
using sched::Registers;

constexpr size_t kMostStack = 256_KiB;
constexpr int kTries = 50;

struct Copy {
  const sched::G* g;
  Registers regs;
  size_t bytes;
};
char stack_bytes[kMostStack];
size_t next_g = 0;  // where a tool that asks for one G after the other goes on
uint64_t cycles_at_start = 0, ns_at_start = 0;

const char* process(const char*, prof::Reply& reply) {
  base::Line line;
  line.str("{\"version\": \"" GRAFT_VERSION "\", \"pid\": ").dec(os::getpid());
  line.str(", \"mode\": ").json(rt.sched.on() ? "m:n" : "1:1");
  reply.line(line.str(", \"procs\": ").udec(rt.sched.procs()).chr('}'));
  return nullptr;
}

uint64_t nsSince(uint64_t cycles) {
  uint64_t passed = os::cycles() - cycles_at_start;
  uint64_t ns = os::nowNs() - ns_at_start;
  uint64_t ago = os::cycles() - cycles;
  if (passed == 0 || ago > passed) return 0;
  return static_cast<uint64_t>(static_cast<double>(ago) * static_cast<double>(ns) /
                               static_cast<double>(passed));
}

// "waiting" includes sleeping: its address is 0 then.
const char* stateOf(const sched::G& g, uint32_t& tid) {
  tid = 0;
  switch (g.state.look()) {
    case GState::kRunnable: return "runnable";
    case GState::kRunning: {
      sched::M* m = g.m;
      tid = m != nullptr ? m->tid.loadAcquire() : 0;
      Registers regs;
      return tid != 0 && sched::sleepersRegisters(tid, regs) ? "syscall" : "running";
    }
    case GState::kParking:
    case GState::kNotified:
    case GState::kParked: return "waiting";
    default: return nullptr;
  }
}

const char* gs(const char*, prof::Reply& reply) {
  rt.sched.forEachG([&reply](sched::G& g) {
    uint32_t tid;
    const char* state = stateOf(g, tid);
    if (state == nullptr || reply.failed()) return;
    base::Line line;
    line.str("{\"g\": ").udec(g.id).str(", \"state\": ").json(state);
    if (rt.describe != nullptr) rt.describe(g, line);
    if (tid != 0) line.str(", \"m\": ").udec(tid);
    uint64_t since = g.since.loadRelaxed();
    if (tid == 0 && since != 0) line.str(", \"ns\": ").udec(nsSince(since));
    bool queued = g.wait.bucket.loadRelaxed() != nullptr;
    if (queued) line.str(", \"addr\": ").udec(reinterpret_cast<uintptr_t>(g.wait.addr));
    reply.line(line.chr('}'));
  });
  return nullptr;
}

void copyStack(void* arg, const Registers& regs) {
  Copy& c = *static_cast<Copy*>(arg);
  c.regs = regs;
  uint64_t sp = regs.value[Registers::kRsp];
  uint64_t low = reinterpret_cast<uint64_t>(c.g->stack.low);
  size_t n = kMostStack;
  if (sp - low < c.g->stack.size && low + c.g->stack.size - sp < n) n = low + c.g->stack.size - sp;
  c.bytes = os::peek(sp, stack_bytes, n);
}

const char* nameOf(Look how) {
  if (how == Look::kSaved) return "saved";
  return how == Look::kAnswered ? "signal" : "kernel";
}

sched::G* find(const char* id) {
  uint64_t wanted = 0;
  const char* c = id;
  for (; *c >= '0' && *c <= '9' && c - id < 19; c++) {
    wanted = wanted * 10 + static_cast<uint64_t>(*c - '0');
  }
  if (c == id || *c != '\0') return nullptr;
  sched::G* g = rt.sched.gWithId(wanted, next_g);
  uint32_t tid;
  return g != nullptr && stateOf(*g, tid) != nullptr ? g : nullptr;
}

const char* stack(const char* id, prof::Reply& reply) {
  sched::G* g = find(id);
  if (g == nullptr) return "there is no such G";
  uint64_t wanted = g->id;
  Copy copy{g, {}, 0};
  Look how = Look::kBusy;
  for (int i = 0; i < kTries && how == Look::kBusy; i++) {
    if (i != 0) os::sleepNs(1'000'000);
    how = rt.sched.look(g, copyStack, &copy);
  }
  if (how == Look::kGone || g->id != wanted) return "there is no such G";
  if (how == Look::kBusy) return "the G does not hold still";
  base::Line line;
  line.str("{\"g\": ").udec(wanted).str(", \"how\": ").json(nameOf(how)).str(", \"registers\": [");
  for (int i = 0; i < 17; i++) {
    if (i != 0) line.str(", ");
    if ((copy.regs.known >> i & 1) != 0) {
      line.udec(copy.regs.value[i]);
    } else {
      line.str("null");
    }
  }
  reply.line(line.str("], \"bytes\": ").udec(copy.bytes).chr('}'));
  reply.raw(stack_bytes, copy.bytes);
  return nullptr;
}

}  // namespace

const prof::Control::Command kObserveCommands[] = {{"process", process},    {"gs", gs},
                                                   {"stack", stack},        {"gc", gcCommand},
                                                   {"leaks", leaksCommand}, {nullptr, nullptr}};

void beginTimes() {
  cycles_at_start = os::cycles();
  ns_at_start = os::nowNs();
}

}  // namespace graft::runtime
