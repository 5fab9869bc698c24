// Sixteen lanes of fp32: one register of AVX-512, or two of AVX2 with FMA. What adds up or compares lanes does so in one
// order, so that kernels written in these give the same on both.
//
// `left` is how many numbers there are: lanes from there on are not read or written.

#pragma once

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include <initializer_list>

namespace {

constexpr int64_t kLanes = 16;

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define WIDE 1

using Lanes = __m512;
inline __mmask16 mask_of(int64_t left) { return left >= kLanes ? 0xFFFF : left > 0 ? (__mmask16)((1u << left) - 1) : 0; }
inline Lanes all(float x) { return _mm512_set1_ps(x); }
inline Lanes load(const float* x) { return _mm512_loadu_ps(x); }
inline Lanes load(const float* x, int64_t left, float rest) {
  return _mm512_mask_loadu_ps(_mm512_set1_ps(rest), mask_of(left), x);
}
inline void store(float* x, Lanes a, int64_t left) { _mm512_mask_storeu_ps(x, mask_of(left), a); }
inline Lanes keep(Lanes a, int64_t left) { return _mm512_maskz_mov_ps(mask_of(left), a); }
inline Lanes plus(Lanes a, Lanes b) { return _mm512_add_ps(a, b); }
inline Lanes minus(Lanes a, Lanes b) { return _mm512_sub_ps(a, b); }
inline Lanes times(Lanes a, Lanes b) { return _mm512_mul_ps(a, b); }
inline Lanes over(Lanes a, Lanes b) { return _mm512_div_ps(a, b); }
inline Lanes fma(Lanes a, Lanes b, Lanes c) { return _mm512_fmadd_ps(a, b, c); }    // a b + c
inline Lanes fnma(Lanes a, Lanes b, Lanes c) { return _mm512_fnmadd_ps(a, b, c); }  // c − a b
inline Lanes larger(Lanes a, Lanes b) { return _mm512_max_ps(a, b); }               // b where one is not a number
inline Lanes size(Lanes a) { return _mm512_abs_ps(a); }
inline Lanes reached(Lanes a, Lanes b) {  // 1 where a >= b, else 0
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_GE_OQ), _mm512_set1_ps(1));
}
inline Lanes nearest(Lanes a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }
inline Lanes doubled(Lanes a, Lanes n) { return _mm512_scalef_ps(a, n); }  // a 2^n, of whole n
inline __m256 low(Lanes a) { return _mm512_castps512_ps256(a); }
inline __m256 high(Lanes a) { return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1)); }

#else
#define WIDE 0

struct Lanes {
  __m256 a, b;
};
inline __m256i mask_of(int64_t left) {
  const int count = left > 8 ? 8 : left > 0 ? (int)left : 0;
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline __m256 half(const float* x, int64_t left, __m256 rest) {
  const __m256i mask = mask_of(left);
  return _mm256_blendv_ps(rest, _mm256_maskload_ps(x, mask), _mm256_castsi256_ps(mask));
}
inline Lanes all(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Lanes load(const float* x) { return {_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)}; }
inline Lanes load(const float* x, int64_t left, float rest) {
  if (left >= kLanes) return load(x);
  return {half(x, left, _mm256_set1_ps(rest)), half(x + 8, left - 8, _mm256_set1_ps(rest))};
}
inline void store(float* x, Lanes a, int64_t left) {
  if (left >= kLanes) {
    _mm256_storeu_ps(x, a.a);
    _mm256_storeu_ps(x + 8, a.b);
    return;
  }
  _mm256_maskstore_ps(x, mask_of(left), a.a);
  _mm256_maskstore_ps(x + 8, mask_of(left - 8), a.b);
}
inline Lanes keep(Lanes a, int64_t left) {
  return {_mm256_and_ps(a.a, _mm256_castsi256_ps(mask_of(left))), _mm256_and_ps(a.b, _mm256_castsi256_ps(mask_of(left - 8)))};
}
inline Lanes plus(Lanes a, Lanes b) { return {_mm256_add_ps(a.a, b.a), _mm256_add_ps(a.b, b.b)}; }
inline Lanes minus(Lanes a, Lanes b) { return {_mm256_sub_ps(a.a, b.a), _mm256_sub_ps(a.b, b.b)}; }
inline Lanes times(Lanes a, Lanes b) { return {_mm256_mul_ps(a.a, b.a), _mm256_mul_ps(a.b, b.b)}; }
inline Lanes over(Lanes a, Lanes b) { return {_mm256_div_ps(a.a, b.a), _mm256_div_ps(a.b, b.b)}; }
inline Lanes fma(Lanes a, Lanes b, Lanes c) { return {_mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b)}; }
inline Lanes fnma(Lanes a, Lanes b, Lanes c) { return {_mm256_fnmadd_ps(a.a, b.a, c.a), _mm256_fnmadd_ps(a.b, b.b, c.b)}; }
inline Lanes larger(Lanes a, Lanes b) { return {_mm256_max_ps(a.a, b.a), _mm256_max_ps(a.b, b.b)}; }
inline Lanes size(Lanes a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.a), _mm256_andnot_ps(sign, a.b)};
}
inline Lanes reached(Lanes a, Lanes b) {  // 1 where a >= b, else 0
  const auto one = [](__m256 a, __m256 b) { return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ), _mm256_set1_ps(1)); };
  return {one(a.a, b.a), one(a.b, b.b)};
}
inline Lanes nearest(Lanes a) {
  constexpr int how = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.a, how), _mm256_round_ps(a.b, how)};
}
// In two steps, for the second one to round to what is too small for an exponent of its own.
inline __m256 doubled(__m256 a, __m256 n) {
  const __m256i whole = _mm256_cvtps_epi32(_mm256_max_ps(n, _mm256_set1_ps(-250.0f)));
  const __m256i first = _mm256_srai_epi32(whole, 1), second = _mm256_sub_epi32(whole, first);
  const auto power = [](__m256i of) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(of, _mm256_set1_epi32(127)), 23));
  };
  return _mm256_mul_ps(_mm256_mul_ps(a, power(first)), power(second));
}
inline Lanes doubled(Lanes a, Lanes n) { return {doubled(a.a, n.a), doubled(a.b, n.b)}; }
inline __m256 low(Lanes a) { return a.a; }
inline __m256 high(Lanes a) { return a.b; }

#endif

inline float sum(Lanes a) {
  const __m256 eight = _mm256_add_ps(low(a), high(a));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

// The sums of four, each as `sum` adds up.
inline __m128 four_sums(Lanes a, Lanes b, Lanes c, Lanes d) {
  const auto fours = [](Lanes a, Lanes b) {
    const __m256 x = _mm256_add_ps(low(a), high(a)), y = _mm256_add_ps(low(b), high(b));
    return _mm256_add_ps(_mm256_permute2f128_ps(x, y, 0x20), _mm256_permute2f128_ps(x, y, 0x31));
  };
  const __m256 x = fours(a, c), y = fours(b, d);
  const __m256 twos = _mm256_add_ps(_mm256_shuffle_ps(x, y, 0x44), _mm256_shuffle_ps(x, y, 0xEE));
  const __m128 first = _mm256_castps256_ps128(twos), second = _mm256_extractf128_ps(twos, 1);
  return _mm_add_ps(_mm_shuffle_ps(first, second, 0x88), _mm_shuffle_ps(first, second, 0xDD));
}

inline float largest(Lanes a) {
  const __m256 eight = _mm256_max_ps(low(a), high(a));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

// exp(x) for x <= 0, to an error of 2e-7: 2^n times a polynomial of what n leaves. What underflows is 0, and what is not
// a number stays that.
inline Lanes exponential(Lanes x) {
  x = larger(all(-1e4f), x);
  const Lanes n = nearest(times(x, all(1.44269504f)));
  const Lanes rest = fnma(n, all(-2.12194440e-4f), fnma(n, all(0.693359375f), x));
  Lanes found = all(1.0f / 5040);
  for (const float part : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) found = fma(found, rest, all(part));
  return doubled(found, n);
}

// Numbers in bf16. They are rounded to the nearest, ties to even, as torch rounds; what is not a number stays that.
inline float widened(uint16_t x) {
  const uint32_t bits = (uint32_t)x << 16;
  float wide;
  memcpy(&wide, &bits, 4);
  return wide;
}

inline __m256 widened(__m128i x) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16)); }

inline Lanes paired(__m256 a, __m256 b) {
#if WIDE
  return _mm512_castpd_ps(_mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_castps_pd(a)), _mm256_castps_pd(b), 1));
#else
  return {a, b};
#endif
}

inline Lanes load(const uint16_t* x, int64_t left, float rest) {
  if (left >= kLanes) {
    const auto* halves = (const __m128i*)x;
    return paired(widened(_mm_loadu_si128(halves)), widened(_mm_loadu_si128(halves + 1)));
  }
  float wide[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) wide[i] = i < left ? widened(x[i]) : rest;
  return load(wide);
}

inline __m128i narrowed(__m256 a) {
  const __m256i bits = _mm256_castps_si256(a);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, odd), _mm256_set1_epi32(0x7FFF));
  const __m256i none = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  rounded = _mm256_srli_epi32(_mm256_or_si256(rounded, none), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
}

inline void store(uint16_t* x, Lanes a, int64_t left) {
  __m128i halves[2] = {narrowed(low(a)), narrowed(high(a))};
#ifdef __AVX512BF16__
  const __m256i found = (__m256i)_mm512_cvtneps_pbh(a);
  memcpy(halves, &found, sizeof(found));
#endif
  if (left >= kLanes)
    memcpy(x, halves, sizeof(halves));
  else
    memcpy(x, halves, 2 * left);
}

}  // namespace
