// Products of a few fp32 rows with weights in fp32, bf16 or int8, in one pass over the weights: that pass is what they cost.
//
// Weights lie as they are read, [outputs / 16][inputs / n][16][n]: for each step of the sum, n inputs (1, 2 or 4) of 16
// outputs, one a lane. A lane sums the same in the same order however many rows there are, so a row's result is the same
// to the last bit whatever is beside it. In int8, each row's states are stored unsigned, as round(127 x / max|x|) + 128;
// `shift` begins each sum with what the 128 adds, and the sums are exact: tiles, where the processor has them, make the
// same ones.

#include <immintrin.h>
#include <stdint.h>
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

constexpr int64_t kLanes = 16;  // outputs of a block, and rows of a tile
constexpr int64_t kVector = 64;  // bytes
constexpr int64_t kAhead = 4096;  // bytes that are asked for before they are needed
constexpr int kRows = 8;         // whose sums stay in registers beside two blocks

struct Task {
  const Weights& w;
  const uint8_t* rows;  // [count, padded inputs], as the precision reads them
  const float* row_scale;
  float* out;  // [count, outputs]
  int64_t count;
};

void store(const Task& t, int64_t row, int64_t block, __m512 found) {
  const int64_t first = block * kLanes, left = t.w.outputs - first;
  if (left <= 0) return;
  const __mmask16 mask = left >= kLanes ? 0xFFFF : (__mmask16)((1u << left) - 1);
  _mm512_mask_storeu_ps(t.out + row * t.w.outputs + first, mask, found);
}

__m512 load(const float* x, int64_t i, int64_t width) {
  const int64_t left = width - i;
  return _mm512_maskz_loadu_ps(left >= kLanes ? 0xFFFF : left > 0 ? (1u << left) - 1 : 0, x + i);
}

// What a precision reads at a step of the sum, how it multiplies and how it ends. `kPer`: inputs of a step.
struct Fp32 {
  using Sum = __m512;
  static constexpr int64_t kPer = 1, kBytes = 4;
  static constexpr bool kTiles = false;
  static constexpr int64_t kTilesFrom = 0;
  static Sum begin(const Task& t, int64_t block) { return _mm512_loadu_ps(t.w.bias + block * kLanes); }
  static Sum add(Sum sum, const uint8_t* row, __m512i w) {
    return _mm512_fmadd_ps(_mm512_set1_ps(*(const float*)row), _mm512_castsi512_ps(w), sum);
  }
  static void end(const Task& t, int64_t row, int64_t block, Sum sum) { store(t, row, block, sum); }
  static void prepare(const float* x, int64_t width, int64_t, uint8_t* out, float*) {
    __builtin_memcpy(out, x, width * sizeof(float));
  }
  template <bool kTwo>
  static void multiply_tiles() {}
};

#ifdef __AVX512BF16__
struct Bf16 {
  using Sum = __m512;
  static constexpr int64_t kPer = 2, kBytes = 2;
  // Tiles round otherwise than vectors do, so they compute every row where there are any, and much faster.
  static constexpr bool kTiles = TILES_BF16;
  static constexpr int64_t kTilesFrom = 1;
  static Sum begin(const Task& t, int64_t block) { return Fp32::begin(t, block); }
  static Sum add(Sum sum, const uint8_t* row, __m512i w) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(*(const int32_t*)row), (__m512bh)w);
  }
  static void end(const Task& t, int64_t row, int64_t block, Sum sum) { store(t, row, block, sum); }
  static void prepare(const float* x, int64_t width, int64_t padded, uint8_t* out, float*) {
    for (int64_t i = 0; i < padded; i += kLanes)
      _mm256_storeu_si256((__m256i*)(out + 2 * i), (__m256i)_mm512_cvtneps_pbh(load(x, i, width)));
  }
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
#endif

#ifdef __AVX512VNNI__
struct Int8 {
  using Sum = __m512i;
  static constexpr int64_t kPer = 4, kBytes = 1;
  static constexpr bool kTiles = TILES_INT8;
  static constexpr int64_t kTilesFrom = 4;  // rows; fewer are as fast without
  static Sum begin(const Task& t, int64_t block) { return _mm512_loadu_si512(t.w.shift + block * kLanes); }
  static Sum add(Sum sum, const uint8_t* row, __m512i w) {
    return _mm512_dpbusd_epi32(sum, _mm512_set1_epi32(*(const int32_t*)row), w);
  }
  static void end(const Task& t, int64_t row, int64_t block, Sum sum) {
    const __m512 found = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(t.w.scale + block * kLanes));
    store(t, row, block, _mm512_fmadd_ps(found, _mm512_set1_ps(t.row_scale[row]), Fp32::begin(t, block)));
  }
  static void prepare(const float* x, int64_t width, int64_t padded, uint8_t* out, float* scale) {
    __m512 largest = _mm512_setzero_ps();
    for (int64_t i = 0; i < width; i += kLanes) largest = _mm512_max_ps(largest, _mm512_abs_ps(load(x, i, width)));
    const float most = _mm512_reduce_max_ps(largest);
    const __m512 inverse = _mm512_set1_ps(most > 0 ? 127.0f / most : 0.0f);
    for (int64_t i = 0; i < padded; i += kLanes) {
      const __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(load(x, i, width), inverse));
      _mm_storeu_si128((__m128i*)(out + i), _mm512_cvtepi32_epi8(_mm512_add_epi32(rounded, _mm512_set1_epi32(128))));
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
#endif

// Some rows with two blocks of outputs, all sums in registers.
template <class P, int kCount>
void multiply(const Task& t, int64_t row, int64_t block) {
  const int64_t steps = t.w.padded_inputs / P::kPer, stride = t.w.padded_inputs * P::kBytes;
  const uint8_t *first = t.w.packed + block * steps * kVector, *second = first + steps * kVector;
  const uint8_t* rows = t.rows + row * stride;
  typename P::Sum sums[kCount][2];
  for (int r = 0; r < kCount; ++r) sums[r][0] = P::begin(t, block), sums[r][1] = P::begin(t, block + 1);
  for (int64_t k = 0; k < steps; ++k) {
    _mm_prefetch((const char*)first + k * kVector + kAhead, _MM_HINT_T0);
    _mm_prefetch((const char*)second + k * kVector + kAhead, _MM_HINT_T0);
    const __m512i w0 = _mm512_loadu_si512(first + k * kVector), w1 = _mm512_loadu_si512(second + k * kVector);
    for (int r = 0; r < kCount; ++r) {
      const uint8_t* here = rows + r * stride + k * 4;  // four bytes a step, in each precision
      sums[r][0] = P::add(sums[r][0], here, w0);
      sums[r][1] = P::add(sums[r][1], here, w1);
    }
  }
  for (int r = 0; r < kCount; ++r) P::end(t, row + r, block, sums[r][0]), P::end(t, row + r, block + 1, sums[r][1]);
}

template <class P>
void by_vectors(const Task& t, int64_t block) {
  using Multiply = void (*)(const Task&, int64_t, int64_t);
  static const Multiply by_count[kRows] = {multiply<P, 1>, multiply<P, 2>, multiply<P, 3>, multiply<P, 4>,
                                           multiply<P, 5>, multiply<P, 6>, multiply<P, 7>, multiply<P, 8>};
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
  const int64_t stride = w.padded_inputs * P::kBytes, pairs = (w.outputs + 2 * kLanes - 1) / (2 * kLanes);
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

// `states` [count, inputs] times the weights, and the bias, to `out` [count, outputs]. A precision that this processor
// lacks has no function.
extern "C" void product_fp32(const Weights* w, const float* states, int64_t count, float* out, int threads) {
  product<Fp32>(*w, states, count, out, threads);
}
#ifdef __AVX512BF16__
extern "C" void product_bf16(const Weights* w, const float* states, int64_t count, float* out, int threads) {
  product<Bf16>(*w, states, count, out, threads);
}
#endif
#ifdef __AVX512VNNI__
extern "C" void product_int8(const Weights* w, const float* states, int64_t count, float* out, int threads) {
  product<Int8>(*w, states, count, out, threads);
}
#endif
