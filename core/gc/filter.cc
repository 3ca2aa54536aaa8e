// The filters of filter.h, and which of them the processor has: by cpuid and by what the system
// saves of the registers (xgetbv), for the compiler's own query needs a run-time library.
#include "core/gc/filter.h"

#include <cpuid.h>
#include <immintrin.h>

#include "core/base/bits.h"

namespace graft::gc {
namespace {

size_t portable(const uint64_t* from, size_t n, Addr base, size_t size, uint64_t* out) {
  size_t k = 0;
  for (size_t i = 0; i < n; i++) {
    uint64_t w = from[i];
    out[k] = w;
    k += w - base < size ? 1 : 0;
  }
  return k;
}

[[gnu::target("avx2")]] size_t avx2(const uint64_t* from, size_t n, Addr base, size_t size,
                                    uint64_t* out) {
  // There is no unsigned compare: both sides are moved by 2^63.
  constexpr int64_t kSign = static_cast<int64_t>(uint64_t{1} << 63);
  const __m256i shift = _mm256_set1_epi64x(static_cast<int64_t>(base) ^ kSign);
  const __m256i limit = _mm256_set1_epi64x(static_cast<int64_t>(size) ^ kSign);
  size_t k = 0, i = 0;
  for (; i + 8 <= n; i += 8) {
    __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i));
    __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i + 4));
    __m256i in_a = _mm256_cmpgt_epi64(limit, _mm256_sub_epi64(a, shift));
    __m256i in_b = _mm256_cmpgt_epi64(limit, _mm256_sub_epi64(b, shift));
    unsigned hits = static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(in_a))) |
                    static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(in_b))) << 4;
    for (; hits != 0; hits &= hits - 1) out[k++] = from[i + base::lowestBit(hits)];
  }
  return k + portable(from + i, n - i, base, size, out + k);
}

[[gnu::target("avx512f")]] size_t avx512(const uint64_t* from, size_t n, Addr base, size_t size,
                                         uint64_t* out) {
  const __m512i low = _mm512_set1_epi64(static_cast<int64_t>(base));
  const __m512i limit = _mm512_set1_epi64(static_cast<int64_t>(size));
  size_t k = 0, i = 0;
  for (; i + 8 <= n; i += 8) {
    __m512i v = _mm512_loadu_si512(from + i);
    unsigned hits = _mm512_cmplt_epu64_mask(_mm512_sub_epi64(v, low), limit);
    for (; hits != 0; hits &= hits - 1) out[k++] = from[i + base::lowestBit(hits)];
  }
  return k + portable(from + i, n - i, base, size, out + k);
}

struct Features {
  bool avx2, avx512;
};

Features features() {
  unsigned a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) return {};
  unsigned low, high;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return {};
  constexpr unsigned kYmm = 0x6, kZmm = 0xe6;
  return {(low & kYmm) == kYmm && (b & bit_AVX2) != 0,
          (low & kZmm) == kZmm && (b & bit_AVX512F) != 0};
}

}  // namespace

Filter filterOf(FilterKind kind) {
  switch (kind) {
    case FilterKind::kAvx2: return features().avx2 ? avx2 : nullptr;
    case FilterKind::kAvx512: return features().avx512 ? avx512 : nullptr;
    default: return portable;
  }
}

// Frequency changes and the short runs that are scanned make 512 bits no faster than 256.
FilterKind bestFilter() { return features().avx2 ? FilterKind::kAvx2 : FilterKind::kPortable; }

}  // namespace graft::gc
