// What the scheduler's basic moves cost in process, without shims: create and join one G, a batch
// of a thousand, a hand-over between two Gs, a hop in a ring of a hundred; a yield. Run by hand;
// prints nanoseconds per operation for one P and for two.
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/per_op.h"
#include "tests/unit/sched/in_process.h"

using namespace graft;
using namespace graft::sched;
using graft::bench::perOp;

namespace {

void done(void* c) { static_cast<Count*>(c)->add(); }

double createJoin() {
  return perOp(100000, [] {
    for (int i = 0; i < 100000; i++) {
      Count c;
      go(done, &c);
      c.waitFor(1);
    }
  });
}

double batch() {
  return perOp(100000, [] {
    for (int i = 0; i < 100; i++) {
      Count c;
      for (int k = 0; k < 1000; k++) go(done, &c);
      c.waitFor(1000);
    }
  });
}

Sem ping, pong;
double handOver() {
  return perOp(400000, [] {
    Count c;
    go(
        [](void* arg) {
          for (int i = 0; i < 200000; i++) {
            ping.wait();
            pong.post();
          }
          done(arg);
        },
        &c);
    for (int i = 0; i < 200000; i++) {
      ping.post();
      pong.wait();
    }
    c.waitFor(1);
  });
}

struct Node {
  Sem in;
  Node* next;
  Count* c;
} ring[100];
double ringHop() {
  return perOp(100 * 2000, [] {
    Count c;
    for (int i = 0; i < 100; i++) {
      ring[i].next = &ring[(i + 1) % 100];
      ring[i].c = &c;
      go(
          [](void* arg) {
            Node* n = static_cast<Node*>(arg);
            for (int k = 0; k < 2000; k++) {
              n->in.wait();
              n->next->in.post();
            }
            n->c->add();
          },
          &ring[i]);
    }
    ring[0].in.post();
    c.waitFor(100);
    ring[0].in.wait();
  });
}

double yields() {
  return perOp(400000, [] {
    Count c;
    go(
        [](void* arg) {
          for (int i = 0; i < 200000; i++) s.yield();
          done(arg);
        },
        &c);
    for (int i = 0; i < 200000; i++) s.yield();
    c.waitFor(1);
  });
}

}  // namespace

int main(int argc, char** argv) {
  uint32_t procs = argc > 1 ? static_cast<uint32_t>(atoi(argv[1])) : 2;
  if (!startScheduler(testConfig(procs))) return 77;
  printf("%u P: create+join %.0f, batch %.0f, hand-over %.0f, ring hop %.0f, yield %.0f ns\n",
         procs, createJoin(), batch(), handOver(), ringHop(), yields());
  return 0;
}
