// Products of a few fp32 rows with weights in fp32, bf16 or int8, in one pass over the weights: that pass is what they cost.
//
// Weights lie as they are read, [outputs / 16][inputs / n][16][n]: for each step of the sum, n inputs (1, 2 or 4) of 16
// outputs, one a lane. A lane sums the same in the same order however many rows there are, so a row's result is the same
// to the last bit whatever is beside it. In int8, a row's states are stored as round(127 x / max|x|), and the sums are
// exact: tiles and vectors make the same ones, and so do processors with and without instructions for them (VNNI). Those
// instructions take unsigned states: 128 is added to each, and `shift` begins each sum with what that adds.

#include "lanes.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

extern "C" struct Weights {
  const uint8_t* packed;
  const int32_t* shift;  // int8: [padded outputs]
  const float* scale;    // int8: [padded outputs]
  const float* bias;     // [padded outputs]
  int64_t inputs, padded_inputs, outputs;
};

#ifdef __AMX_BF16__
#define TILES_BF16 true
#else
#define TILES_BF16 false
#endif
#ifdef __AMX_INT8__
#define TILES_INT8 true
#else
#define TILES_INT8 false
#endif

namespace {

constexpr int64_t kVector = 64;  // bytes of a step's weights, of a block of 16 outputs or a tile's row
constexpr int64_t kAhead = 4096;  // bytes that are asked for before they are needed
constexpr int kRows = WIDE ? 8 : 4;  // whose sums stay in registers

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
// of a weight; `kState`: of a step of a row's states.
struct Fp32 {
  using Sum = Lanes;
  static constexpr int64_t kPer = 1, kBytes = 4, kState = 4;
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
  static constexpr int64_t kPer = 2, kBytes = 2;
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
  static constexpr int64_t kPer = 4, kBytes = 1, kState = 4;
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

// Some rows with some blocks of outputs, all sums in registers.
template <class P, int kCount, int kBlocks>
void multiply(const Task& t, int64_t row, int64_t block) {
  const int64_t steps = t.w.padded_inputs / P::kPer, stride = steps * P::kState;
  const uint8_t *packed = t.w.packed + block * steps * kVector, *rows = t.rows + row * stride;
  typename P::Sum sums[kCount][kBlocks];
  for (int r = 0; r < kCount; ++r)
    for (int b = 0; b < kBlocks; ++b) sums[r][b] = P::begin(t, block + b);
  for (int64_t k = 0; k < steps; ++k) {
    const uint8_t *here = packed + k * kVector, *there = here + (kBlocks - 1) * steps * kVector;
    _mm_prefetch((const char*)here + kAhead, _MM_HINT_T0);
    if (kBlocks == 2) _mm_prefetch((const char*)there + kAhead, _MM_HINT_T0);
    const typename P::Step first(here), second(there);
    for (int r = 0; r < kCount; ++r) {
      const uint8_t* states = rows + r * stride + k * P::kState;
      sums[r][0] = P::add(sums[r][0], states, first);
      if (kBlocks == 2) sums[r][kBlocks - 1] = P::add(sums[r][kBlocks - 1], states, second);
    }
  }
  for (int r = 0; r < kCount; ++r)
    for (int b = 0; b < kBlocks; ++b) P::end(t, row + r, block + b, sums[r][b]);
}

// Two blocks of outputs; with half the registers one by one, but for so few rows that sums would wait for each other.
template <class P, int kCount>
void multiply_two(const Task& t, int64_t row, int64_t block) {
  if (WIDE || kCount <= 2) return multiply<P, kCount, 2>(t, row, block);
  multiply<P, kCount, 1>(t, row, block);
  multiply<P, kCount, 1>(t, row, block + 1);
}

template <class P>
void by_vectors(const Task& t, int64_t block) {
  using Multiply = void (*)(const Task&, int64_t, int64_t);
  static const Multiply by_count[8] = {multiply_two<P, 1>, multiply_two<P, 2>, multiply_two<P, 3>, multiply_two<P, 4>,
                                       multiply_two<P, 5>, multiply_two<P, 6>, multiply_two<P, 7>, multiply_two<P, 8>};
  for (int64_t row = 0; row < t.count; row += kRows)
    by_count[(t.count - row < kRows ? t.count - row : kRows) - 1](t, row, block);
}

#ifdef __AMX_TILE__
struct alignas(64) Shapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};
  Shapes() {
    for (int i = 0; i < 8; ++i) bytes[i] = kVector, rows[i] = kLanes;
  }
};

bool tiles_are_allowed() {
  static const bool allowed = syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
  return allowed;
}

// 32 rows, or with `kTwo` false 16, with two blocks: four tiles of sums, two of rows, two of weights.
template <class P, bool kTwo>
void tile(const Task& t, int64_t row, int64_t block) {
  const int64_t width = t.w.padded_inputs * P::kBytes;
  const uint8_t *rows = t.rows + row * width, *first = t.w.packed + block * kLanes * width;
  const uint8_t* second = first + kLanes * width;
  alignas(64) typename P::Sum sums[4][kLanes];
  for (int i = 0; i < kLanes; ++i) sums[0][i] = P::begin(t, block), sums[1][i] = P::begin(t, block + 1);
  _tile_loadd(0, sums[0], kVector);
  _tile_loadd(1, sums[1], kVector);
  if (kTwo) _tile_loadd(2, sums[0], kVector);
  if (kTwo) _tile_loadd(3, sums[1], kVector);
  for (int64_t k = 0; k < width; k += kVector) {
    _tile_loadd(4, rows + k, width);
    if (kTwo) _tile_loadd(5, rows + kLanes * width + k, width);
    _tile_loadd(6, first + k * kLanes, kVector);
    _tile_loadd(7, second + k * kLanes, kVector);
    P::template multiply_tiles<kTwo>();
  }
  _tile_stored(0, sums[0], kVector);
  _tile_stored(1, sums[1], kVector);
  if (kTwo) _tile_stored(2, sums[2], kVector);
  if (kTwo) _tile_stored(3, sums[3], kVector);
  for (int n = 0; n < (kTwo ? 4 : 2); ++n)
    for (int i = 0; i < kLanes; ++i)
      if (row + n / 2 * kLanes + i < t.count) P::end(t, row + n / 2 * kLanes + i, block + n % 2, sums[n][i]);
}

// Whether tiles have computed all rows.
template <class P>
bool by_tiles(const Task& t, int64_t begin, int64_t end) {
  constexpr int64_t two = 2 * kLanes;
  if (!P::kTiles || t.count < P::kTilesFrom || !tiles_are_allowed()) return false;
  const Shapes ours;
  Shapes theirs;
  _tile_storeconfig(&theirs);  // another library may rely on what it has set
  _tile_loadconfig(&ours);
  for (int64_t pair = begin; pair < end; ++pair)
    for (int64_t row = 0; row < t.count; row += two)
      t.count - row > kLanes ? tile<P, true>(t, row, 2 * pair) : tile<P, false>(t, row, 2 * pair);
  theirs.palette ? _tile_loadconfig(&theirs) : _tile_release();
  return true;
}
#else
template <class P>
bool by_tiles(const Task&, int64_t, int64_t) {
  return false;
}
#endif

template <class P>
void product(const Weights& w, const float* states, int64_t count, float* out, int threads) {
  static thread_local std::vector<uint8_t> rows;
  static thread_local std::vector<float> scales;
  const int64_t stride = w.padded_inputs / P::kPer * P::kState, pairs = (w.outputs + 2 * kLanes - 1) / (2 * kLanes);
  rows.resize((count + 2 * kLanes) * stride);  // tiles read rows that are not there, and their sums are dropped
  scales.resize(count);
  for (int64_t row = 0; row < count; ++row)
    P::prepare(states + row * w.inputs, w.inputs, w.padded_inputs, rows.data() + row * stride, scales.data() + row);
  const Task task{w, rows.data(), scales.data(), out, count};
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (int part = 0; part < threads; ++part) {
    const int64_t begin = pairs * part / threads, end = pairs * (part + 1) / threads;
    if (by_tiles<P>(task, begin, end)) continue;
    for (int64_t pair = begin; pair < end; ++pair) by_vectors<P>(task, 2 * pair);
  }
}

}  // namespace

// Have an area that nobody has written to yet lie in large pages, where the system gives them on request.
extern "C" void in_large_pages(void* area, int64_t bytes) {
  constexpr uintptr_t page = 2 << 20;
  const uintptr_t begin = ((uintptr_t)area + page - 1) / page * page, end = ((uintptr_t)area + bytes) / page * page;
  if (begin < end) madvise((void*)begin, end - begin, MADV_HUGEPAGE);
}

// `states` [count, inputs] times the weights, and the bias, to `out` [count, outputs].
extern "C" void product_fp32(const Weights* w, const float* states, int64_t count, float* out, int threads) {
  product<Fp32>(*w, states, count, out, threads);
}
extern "C" void product_bf16(const Weights* w, const float* states, int64_t count, float* out, int threads) {
  product<Bf16>(*w, states, count, out, threads);
}
extern "C" void product_int8(const Weights* w, const float* states, int64_t count, float* out, int threads) {
  product<Int8>(*w, states, count, out, threads);
}
