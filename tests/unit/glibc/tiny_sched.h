// A scheduler just large enough to try thread blocks: one queue, any number of Ms by raw clone, Gs
// that yield, park and end. Two Ms taking turns from one queue make every yield a likely migration.
// Ms run on blocks of createMachine() and make system calls only; everything else runs on Gs or on
// the test's own thread, which waits outside.
#pragma once

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

#include "core/os/mutex.h"
#include "core/os/switch.h"
#include "core/os/sys.h"
#include "shims/glibc/facts.h"
#include "shims/glibc/thread_block.h"

namespace graft::glibc::test {

class Sched;
struct M;

struct G {
  enum Action { kRun, kRequeue, kPark, kExit };
  Sched* sched = nullptr;
  os::Context context{};
  ThreadBlock* block = nullptr;
  std::function<void*()> body;
  M* m = nullptr;
  Action action = kRun;
  G* next = nullptr;
  void* result = nullptr;
  std::atomic<bool> done{false};
  int migrations = 0;

  static void* call(void* g) { return static_cast<G*>(g)->body(); }
};

struct M {
  Sched* sched = nullptr;
  ThreadBlock* block = nullptr;
  os::Home context{};
  alignas(4) std::atomic<uint32_t> tid{0};
  void (*on_start)() = nullptr;  // on the M, before its loop
};

inline thread_local G* self = nullptr;  // one per G: it is a thread variable

inline void futexWait(const void* word, uint32_t value) {
  os::sys(SYS_futex, os::arg(word), FUTEX_WAIT, static_cast<long>(value), 0);
}
inline void futexWake(const void* word) { os::sys(SYS_futex, os::arg(word), FUTEX_WAKE, INT_MAX); }

class Sched {
 public:
  explicit Sched(int ms, void (*on_start)() = nullptr) {
    if (!calibrate()) throw std::runtime_error(whyNotCalibrated());
    for (int i = 0; i < ms; i++) startM(on_start);
  }
  ~Sched() {
    stop_ = true;
    ticket_++;
    futexWake(&ticket_);
    for (auto& m : ms_) {
      for (uint32_t t = m->tid.load(); t != 0; t = m->tid.load()) futexWait(&m->tid, t);
      if (m->block != nullptr) release(m->block);
    }
  }

  G* spawn(std::function<void*()> body, ThreadSpec spec = {}) {
    auto owned = std::make_unique<G>();
    G* g = owned.get();
    g->sched = this;
    g->body = std::move(body);
    spec.fn = G::call;
    spec.arg = g;
    spec.tid = next_tid_++;
    if (spec.stack_size == 0) spec.stack_size = 256 << 10;
    if (int error = create(spec, &g->block)) throw std::runtime_error(std::to_string(error));
    g->context.fs = g->block->fs_base;
    os::makeContext(&g->context, reinterpret_cast<void*>(g->block->stack_low),
                    g->block->stack_high - g->block->stack_low, entry, g);
    live_++;
    {
      os::Lock lock(mu_);
      gs_.push_back(std::move(owned));
    }
    ready(g);
    return g;
  }

  void ready(G* g) {
    {
      os::Lock lock(mu_);
      push(g);
    }
    ticket_++;
    futexWake(&ticket_);
  }

  // From outside: until every G has ended.
  void wait() {
    for (uint32_t n = live_.load(); n != 0; n = live_.load()) futexWait(&live_, n);
  }

  uint32_t live() const { return live_.load(); }
  // From outside: forgets the Gs that have ended.
  void reap() {
    os::Lock lock(mu_);
    std::erase_if(gs_, [](const std::unique_ptr<G>& g) { return g->done.load(); });
  }

  static void yield() { leave(G::kRequeue); }
  static void park() { leave(G::kPark); }
  // Yields until the G is on another M; gives up when the other M does not come.
  static void move() {
    G* g = self;
    M* from = g->m;
    for (int i = 0; i < 100'000 && g->m == from; i++) yield();
  }

  // The calling thread (made by glibc) becomes a G, and the kernel thread under it goes on as an M
  // until stopped.
  void enterAsG(G* g, ThreadBlock* block) {
    g->sched = this;
    g->block = block;
    g->context.fs = block->fs_base;
    self = g;
    M* m = newM();
    os::makeContext(&m->context.at, reinterpret_cast<void*>(m->block->stack_low),
                    m->block->stack_high - m->block->stack_low, mainMachine, m);
    g->m = m;
    g->action = G::kRequeue;
    main_g_ = g;
    os::graft_leave(&g->context, &m->context);
  }

 private:
  static void leave(G::Action action) {
    G* g = self;
    M* before = g->m;
    g->action = action;
    os::graft_leave(&g->context, &before->context);
    if (g->m != before) g->migrations++;
  }

  static void entry(void* arg) {
    G* g = static_cast<G*>(arg);
    self = g;
    g->result = run(g->block);
    finish(g->block);
    g->action = G::kExit;
    os::graft_leave(&g->context, &g->m->context);
  }

  void push(G* g) {
    g->next = nullptr;
    *tail_ = g;
    tail_ = &g->next;
  }
  G* pop() {
    os::Lock lock(mu_);
    G* g = head_;
    if (g != nullptr && (head_ = g->next) == nullptr) tail_ = &head_;
    return g;
  }

  // On the M, after the G has left its stack.
  void after(G* g) {
    switch (g->action) {
      case G::kRun:
      case G::kPark: break;
      case G::kRequeue: ready(g); break;
      case G::kExit:
        release(g->block);
        g->done = true;
        live_--;
        futexWake(&live_);
    }
  }

  void loop(M* m) {
    os::beginHome(&m->context);
    while (true) {
      uint32_t ticket = ticket_.load();
      if (stop_) return;
      G* g = pop();
      if (g == nullptr) {
        futexWait(&ticket_, ticket);
        continue;
      }
      g->m = m;
      os::graft_resume(&m->context, &g->context);
      after(g);
    }
  }

  M* newM() {
    ms_.push_back(std::make_unique<M>());
    M* m = ms_.back().get();
    m->sched = this;
    m->block = createMachine(64 << 10, 0);
    m->context.at.fs = m->block->fs_base;
    return m;
  }

  void startM(void (*on_start)()) {
    M* m = newM();
    m->on_start = on_start;
    m->tid = 1;
    constexpr int kFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                           CLONE_SYSVSEM | CLONE_SETTLS | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
    clone(machine, reinterpret_cast<void*>(m->block->stack_high), kFlags, m, nullptr,
          m->block->fs_base, &m->tid);
  }

  static int machine(void* arg) {
    M* m = static_cast<M*>(arg);
    if (m->on_start != nullptr) m->on_start();
    m->sched->loop(m);
    return 0;
  }

  static void mainMachine(void* arg) {
    M* m = static_cast<M*>(arg);
    m->sched->after(m->sched->main_g_);
    m->sched->loop(m);
    while (true) os::sys(SYS_pause);  // only the end of the process ends the first kernel thread
  }

  os::Mutex mu_;
  G* head_ = nullptr;
  G** tail_ = &head_;
  G* main_g_ = nullptr;
  std::vector<std::unique_ptr<M>> ms_;
  std::vector<std::unique_ptr<G>> gs_;
  alignas(4) std::atomic<uint32_t> ticket_{0};
  alignas(4) std::atomic<uint32_t> live_{0};
  std::atomic<bool> stop_{false};
  std::atomic<uint32_t> next_tid_{0x10000000};
};

}  // namespace graft::glibc::test
