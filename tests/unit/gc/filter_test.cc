// Each filter of this processor against the portable one, and the portable one against the
// definition: lengths around the vector width, words around both ends of the range.
#include "core/gc/filter.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/unit/heap/test_peer.h"

namespace graft::gc {
namespace {

TEST(Filter, EachIsTheDefinition) {
  heap::Rng rng(5);
  constexpr Addr kBases[] = {0xc000000000, 0, uint64_t{1} << 63, 0x7fff00000000,
                             ~uint64_t{0} - 4096};
  constexpr size_t kSizes[] = {0, 1, 4096, uint64_t{1} << 40, (uint64_t{1} << 63) - 1};
  for (int kind = 0; kind < 3; kind++) {
    Filter filter = filterOf(static_cast<FilterKind>(kind));
    if (filter == nullptr) continue;
    for (Addr base : kBases) {
      for (size_t size : kSizes) {
        for (size_t n = 0; n < 70; n++) {
          std::vector<uint64_t> in(n), out(n + 1), expected;
          for (uint64_t& w : in) {
            const uint64_t edges[] = {base,        base - 1,
                                      base + size, base + size - 1,
                                      rng.next(),  base + rng.below(size + 1),
                                      0,           ~uint64_t{0}};
            w = edges[rng.below(8)];
            if (w - base < size) expected.push_back(w);
          }
          out.resize(n);
          size_t k = filter(in.data(), n, base, size, out.data());
          out.resize(k);
          ASSERT_EQ(out, expected) << kFilterNames[kind] << " base " << base << " size " << size;
        }
      }
    }
  }
}

TEST(Filter, TheBestOneExists) { EXPECT_NE(filterOf(bestFilter()), nullptr); }

}  // namespace
}  // namespace graft::gc
