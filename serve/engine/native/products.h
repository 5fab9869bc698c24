// Products of a few fp32 rows with weights in fp32, bf16 or int8, in one pass over the weights: that pass is what they cost.
//
// Weights lie as they are read, [outputs / 16][inputs / n][16][n]: for each step of the sum, n inputs (1, 2 or 4) of 16
// outputs, one a lane. A lane sums the same in the same order however many rows there are, so a row's result is the same
// to the last bit whatever is beside it. In int8, a row's states are stored as round(127 x / max|x|), and the sums are
// exact: tiles and vectors make the same ones, and so do processors with and without instructions for them (VNNI). Those
// instructions take unsigned states: 128 is added to each, and `shift` begins each sum with what that adds.

#pragma once

#include "precisions.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

namespace {

// Some rows with some blocks of outputs, all sums in registers.
template <class P, int kCount, int kBlocks>
void multiply(const Task& t, int64_t row, int64_t block) {
  const int64_t steps = t.w.padded_inputs / P::kPer, stride = steps * P::kState;
  const uint8_t *packed = t.w.packed + block * steps * kVector, *rows = t.rows + row * stride;
  // How far weights are asked for ahead, in bytes; into the second-level cache, for an EPYC with VNNI is faster so than
  // with them in the first, and at these distances.
  constexpr int64_t ahead = kCount <= 2 ? 2048 : 4096;
  typename P::Sum sums[kCount][kBlocks];
  for (int r = 0; r < kCount; ++r)
    for (int b = 0; b < kBlocks; ++b) sums[r][b] = P::begin(t, block + b);
  for (int64_t k = 0; k < steps; ++k) {
    const uint8_t *here = packed + k * kVector, *there = here + (kBlocks - 1) * steps * kVector;
    _mm_prefetch((const char*)here + ahead, _MM_HINT_T1);
    if (kBlocks == 2) _mm_prefetch((const char*)there + ahead, _MM_HINT_T1);
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
  for (int64_t row = 0; row < t.count; row += P::kRows)
    by_count[(t.count - row < P::kRows ? t.count - row : P::kRows) - 1](t, row, block);
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

// Rows made ready for a product: as the precision reads them, and what each of them is scaled by.
struct Rows {
  std::vector<uint8_t> states;
  std::vector<float> scales;
  int64_t stride = 0;

  // Room for `count` rows of as many inputs as the product has. Tiles read rows that are not there; their sums are dropped.
  template <class P>
  void reserve(const Weights& w, int64_t count) {
    stride = w.padded_inputs / P::kPer * P::kState;
    states.resize((count + 2 * kLanes) * stride);
    scales.resize(count);
  }
  template <class P>
  void prepare(const Weights& w, const float* x, int64_t row) {
    P::prepare(x, w.inputs, w.padded_inputs, states.data() + row * stride, scales.data() + row);
  }
};

// A thread's part of a product: of all rows, by all threads' turns the outputs.
template <class P>
void product(const Weights& w, const Rows& rows, int64_t count, float* out, int64_t part, int64_t parts) {
  const Task task{w, rows.states.data(), rows.scales.data(), out, count};
  const int64_t pairs = (w.outputs + 2 * kLanes - 1) / (2 * kLanes);
  const int64_t begin = pairs * part / parts, end = pairs * (part + 1) / parts;
  if (by_tiles<P>(task, begin, end)) return;
  for (int64_t pair = begin; pair < end; ++pair) by_vectors<P>(task, 2 * pair);
}

}  // namespace
