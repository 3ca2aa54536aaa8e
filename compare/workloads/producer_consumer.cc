// Producer and consumer: one thread allocates messages, another one frees them, over a bounded
// ring. Models pipelines and message queues, where no block is ever freed by the thread that
// allocated it. Measures the cost of remote frees and of getting those blocks back to the
// allocating thread; peak RSS shows whether the consumer hoards what it frees. Message sizes are 32
// to 1024 bytes.
#include "ring.h"

using namespace workload;

namespace {

constexpr size_t kMessages = 4'000'000;
constexpr size_t kRingBatches = 64;

}  // namespace

int main(int argc, char** argv) {
  const size_t messages = scaled(kMessages, scaleOf(argc, argv));
  Ring ring(kRingBatches);
  size_t freed = 0;
  const double start = now();
  runThreads(2, [&](size_t role) {
    if (role == 0) {
      Random random(1);
      Outbox out(&ring);
      for (size_t i = 0; i < messages; i++) out.add(allocate(random.logBetween(32, 1024)));
      out.flush();
      ring.close();
    } else {
      Batch batch;
      while (ring.get(&batch)) freed += releaseAll(batch);
    }
  });
  const double seconds = now() - start;
  require(freed == messages, "messages were lost");
  return Results("producer_consumer").add("ops", messages).add("seconds", seconds).finish();
}
