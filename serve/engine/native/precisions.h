// What a precision's weights and states are, and how they are multiplied: for `products.h`.

#pragma once

#include "lanes.h"

extern "C" struct Weights {
  const uint8_t* packed;
  const int32_t* shift;  // int8: [padded outputs]
  const float* scale;    // int8: [padded outputs]
  const float* bias;     // [padded outputs]
  int64_t inputs, padded_inputs, outputs;
};

// Tiles read states as AVX-512's instructions do, and not as the code does that goes without these.
#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
#define TILES_BF16 true
#else
#define TILES_BF16 false
#endif
#if defined(__AMX_INT8__) && defined(__AVX512VNNI__)
#define TILES_INT8 true
#else
#define TILES_INT8 false
#endif

namespace {

constexpr int64_t kVector = 64;  // bytes of a step's weights, of a block of 16 outputs or a tile's row

struct Task {
  const Weights& w;
  const uint8_t* rows;  // [count, padded inputs], as the precision reads them
  const float* row_scale;
  float* out;  // [count, outputs]
  int64_t count;
};

void write(const Task& t, int64_t row, int64_t block, Lanes found) {
  const int64_t first = block * kLanes, left = t.w.outputs - first;
  if (left > 0) store(t.out + row * t.w.outputs + first, found, left);
}

// What a precision reads at a step of the sum, how it multiplies and how it ends. `kPer`: inputs of a step; `kBytes`:
// of a weight; `kState`: of a step of a row's states; `kRows`: rows whose sums stay in registers.
struct Fp32 {
  using Sum = Lanes;
  static constexpr int64_t kPer = 1, kBytes = 4, kState = 4, kRows = WIDE ? 8 : 6;
  static constexpr bool kTiles = false;
  static constexpr int64_t kTilesFrom = 0;
  struct Step {
    Lanes w;
    explicit Step(const uint8_t* from) : w(load((const float*)from)) {}
  };
  static Sum begin(const Task& t, int64_t block) { return load(t.w.bias + block * kLanes); }
  static Sum add(Sum sum, const uint8_t* row, const Step& step) { return fma(all(*(const float*)row), step.w, sum); }
  static void end(const Task& t, int64_t row, int64_t block, Sum sum) { write(t, row, block, sum); }
  static void prepare(const float* x, int64_t width, int64_t, uint8_t* out, float*) {
    memcpy(out, x, width * sizeof(float));
  }
  template <bool kTwo>
  static void multiply_tiles() {}
};

struct Bf16 {
  using Sum = Lanes;
  static constexpr int64_t kPer = 2, kBytes = 2, kRows = WIDE ? 8 : 4;
  // Tiles round otherwise than vectors do, so they compute every row where there are any, and much faster.
  static constexpr bool kTiles = TILES_BF16;
  static constexpr int64_t kTilesFrom = 1;
  static Sum begin(const Task& t, int64_t block) { return Fp32::begin(t, block); }
  static void end(const Task& t, int64_t row, int64_t block, Sum sum) { write(t, row, block, sum); }
#ifdef __AVX512BF16__
  static constexpr int64_t kState = 4;
  struct Step {
    __m512bh w;
    explicit Step(const uint8_t* from) : w((__m512bh)_mm512_loadu_si512(from)) {}
  };
  static Sum add(Sum sum, const uint8_t* row, const Step& step) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(*(const int32_t*)row), step.w);
  }
  static void prepare(const float* x, int64_t width, int64_t padded, uint8_t* out, float*) {
    for (int64_t i = 0; i < padded; i += kLanes) store((uint16_t*)out + i, load(x + i, width - i, 0), kLanes);
  }
#else
  // Without instructions for it a pair is widened to two numbers in fp32, and multiplied as these.
  static constexpr int64_t kState = 8;
  struct Step {
    Lanes even, odd;
    explicit Step(const uint8_t* from) {
      const __m256i a = _mm256_loadu_si256((const __m256i*)from), b = _mm256_loadu_si256((const __m256i*)from + 1);
      const __m256i mask = _mm256_set1_epi32((int)0xFFFF0000);
      const auto numbers = [](__m256i bits) { return _mm256_castsi256_ps(bits); };
      even = paired(numbers(_mm256_slli_epi32(a, 16)), numbers(_mm256_slli_epi32(b, 16)));
      odd = paired(numbers(_mm256_and_si256(a, mask)), numbers(_mm256_and_si256(b, mask)));
    }
  };
  static Sum add(Sum sum, const uint8_t* row, const Step& step) {
    const auto* states = (const float*)row;
    return fma(all(states[1]), step.odd, fma(all(states[0]), step.even, sum));
  }
  static void prepare(const float* x, int64_t width, int64_t padded, uint8_t* out, float*) {
    for (int64_t i = 0; i < padded; i += kLanes) {
      uint16_t rounded[kLanes];
      store(rounded, load(x + i, width - i, 0), kLanes);
      store((float*)out + i, load(rounded, kLanes, 0), kLanes);
    }
  }
#endif
  template <bool kTwo>
  static void multiply_tiles() {
#ifdef __AMX_BF16__
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (kTwo) _tile_dpbf16ps(2, 5, 6);
    if (kTwo) _tile_dpbf16ps(3, 5, 7);
#endif
  }
};

struct Int8 {
  static constexpr int64_t kPer = 4, kBytes = 1, kState = 4, kRows = WIDE ? 8 : 4;
  static constexpr bool kTiles = TILES_INT8;
  static constexpr int64_t kTilesFrom = 4;  // rows; fewer are as fast without
#ifdef __AVX512VNNI__
  using Sum = __m512i;
  static constexpr int kZero = 128;
  struct Step {
    __m512i w;
    explicit Step(const uint8_t* from) : w(_mm512_loadu_si512(from)) {}
  };
  static Sum begin(const Task& t, int64_t block) { return _mm512_loadu_si512(t.w.shift + block * kLanes); }
  static Sum add(Sum sum, const uint8_t* row, const Step& step) {
    return _mm512_dpbusd_epi32(sum, _mm512_set1_epi32(*(const int32_t*)row), step.w);
  }
  static Lanes numbers(Sum sum) { return _mm512_cvtepi32_ps(sum); }
#else
  // |w| times the state with the sign of w: two products fit 16 bits, which an unsigned state would not.
  struct Sum {
    __m256i a, b;
  };
  static constexpr int kZero = 0;
  struct Step {
    __m256i w[2], size[2];
    explicit Step(const uint8_t* from) {
      for (int i = 0; i < 2; ++i) w[i] = _mm256_loadu_si256((const __m256i*)from + i), size[i] = _mm256_abs_epi8(w[i]);
    }
  };
  static Sum begin(const Task&, int64_t) { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static __m256i products(__m256i states, __m256i w, __m256i size) {
    return _mm256_madd_epi16(_mm256_maddubs_epi16(size, _mm256_sign_epi8(states, w)), _mm256_set1_epi16(1));
  }
  static Sum add(Sum sum, const uint8_t* row, const Step& step) {
    const __m256i states = _mm256_set1_epi32(*(const int32_t*)row);
    return {_mm256_add_epi32(sum.a, products(states, step.w[0], step.size[0])),
            _mm256_add_epi32(sum.b, products(states, step.w[1], step.size[1]))};
  }
  static Lanes numbers(Sum sum) { return paired(_mm256_cvtepi32_ps(sum.a), _mm256_cvtepi32_ps(sum.b)); }
#endif
  static void end(const Task& t, int64_t row, int64_t block, Sum sum) {
    const Lanes found = times(numbers(sum), load(t.w.scale + block * kLanes));
    write(t, row, block, fma(found, all(t.row_scale[row]), Fp32::begin(t, block)));
  }
  static void prepare(const float* x, int64_t width, int64_t padded, uint8_t* out, float* scale) {
    Lanes sizes = all(0);
    for (int64_t i = 0; i < width; i += kLanes) sizes = larger(sizes, size(load(x + i, width - i, 0)));
    const float most = largest(sizes);
    const Lanes inverse = all(most > 0 ? 127.0f / most : 0.0f);
    for (int64_t i = 0; i < padded; i += kLanes) {
      const Lanes rounded = nearest(times(load(x + i, width - i, 0), inverse));
      const __m256i a = _mm256_cvtps_epi32(low(rounded)), b = _mm256_cvtps_epi32(high(rounded));
      const __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
      const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
      _mm_storeu_si128((__m128i*)(out + i), _mm_add_epi8(bytes, _mm_set1_epi8((char)kZero)));
    }
    *scale = most / 127.0f;
  }
  template <bool kTwo>
  static void multiply_tiles() {
#ifdef __AMX_INT8__
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    if (kTwo) _tile_dpbusd(2, 5, 6);
    if (kTwo) _tile_dpbusd(3, 5, 7);
#endif
  }
};

}  // namespace
