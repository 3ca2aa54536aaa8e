// The delete pattern that makes caches such as redis bloat: a key-value table (an entry, a key
// string and a value of mixed size for each key) is filled, some values are rewritten with another
// size, then six of seven keys are deleted at random and the program idles. What stays is thinly
// spread over all spans. Prints RSS when filled, after the deletes and after the idle time against
// the bytes that are live; the malloc that returns pages within partly used spans wins. `NAME
// [SCALE [IDLE_MS]]`.
#include "workload.h"

using namespace workload;

namespace {

constexpr size_t kKeys = 300'000;
constexpr size_t kRewritten = 200'000;
constexpr unsigned kKeepOneOf = 7;
constexpr unsigned kIdleMs = 1'000;

// In the table these are blocks too: an array in the program would be a live block of 14 MB.
struct Entry {
  Block key;
  Block value;
};

size_t valueSize(Random* random) {
  return random->percent(95) ? random->logBetween(16, 1'023) : random->logBetween(1'024, 8'191);
}

struct Table {
  explicit Table(size_t keys) : entries(keys) {}

  void fill(size_t index, Random* random) {
    const Block block = allocate(sizeof(Entry) + kSmallest);
    auto* entry = reinterpret_cast<Entry*>(block.data + sizeof(uint64_t));
    entry->key = allocate(random->between(16, 48));
    entry->value = allocate(valueSize(random));
    entries[index] = block;
    live += block.size + entry->key.size + entry->value.size;
  }
  void rewrite(size_t index, Random* random) {
    Entry* entry = at(index);
    live -= entry->value.size;
    release(entry->value);
    entry->value = allocate(valueSize(random));
    live += entry->value.size;
  }
  void erase(size_t index) {
    Entry* entry = at(index);
    live -= entries[index].size + entry->key.size + entry->value.size;
    release(entry->key);
    release(entry->value);
    release(entries[index]);
    entries[index] = {};
  }
  // Between the stamps of its block.
  Entry* at(size_t index) {
    return reinterpret_cast<Entry*>(entries[index].data + sizeof(uint64_t));
  }

  std::vector<Block> entries;
  size_t live = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const size_t keys = scaled(kKeys, scaleOf(argc, argv));
  const unsigned idle_ms =
      argc > 2 ? static_cast<unsigned>(std::strtoul(argv[2], nullptr, 10)) : kIdleMs;
  Random random(1);
  Table table(keys);
  const size_t resident_start = residentKiB();
  const double start = now();
  for (size_t i = 0; i < keys; i++) table.fill(i, &random);
  for (size_t i = 0; i < keys * kRewritten / kKeys; i++) {
    table.rewrite(random.next() % keys, &random);
  }
  const size_t resident_full = residentKiB();
  const size_t live_full = table.live;
  for (size_t i = 0; i < keys; i++) {
    if (random.next() % kKeepOneOf != 0) table.erase(i);
  }
  const double seconds = now() - start;
  const size_t resident_deleted = residentKiB();
  sleepMs(idle_ms);
  const size_t resident_idle = residentKiB();
  const size_t live = table.live;
  for (size_t i = 0; i < keys; i++) {
    if (table.entries[i].data != nullptr) table.erase(i);
  }
  require(table.live == 0, "live bytes do not add up");
  return Results("fragmentation")
      .add("ops", keys * 6)
      .add("seconds", seconds)
      .add("live_full_bytes", live_full)
      .add("live_bytes", live)
      .add("rss_start_kib", resident_start)
      .add("rss_full_kib", resident_full)
      .add("rss_deleted_kib", resident_deleted)
      .add("rss_final_kib", resident_idle)
      .finish();
}
