// What one new token of each row reads from its row's keys and values: scores, softmax and sum in one pass, each row by
// itself, so that what it gets does not depend on the rows beside it.

#include <immintrin.h>
#include <math.h>
#include <stdint.h>

#include <vector>

namespace {

constexpr int64_t kLanes = 16;

__mmask16 mask_of(int64_t left) { return left >= kLanes ? 0xFFFF : (__mmask16)((1u << left) - 1); }

// exp(x) for x <= 0, within 2 units in the last place: 2^n times a polynomial of what n leaves.
__m512 exp_of(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT);
  __m512 rest = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  rest = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), rest);
  __m512 sum = _mm512_set1_ps(1.0f / 5040);
  for (const float part : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(part));
  return _mm512_scalef_ps(sum, n);
}

struct Row {
  const float *query, *keys;  // keys of the first token that is read; its values lie `values` floats after them
  int64_t count, queries, heads, width;
  float* out;
  int64_t values() const { return heads * width; }
  int64_t stride() const { return 2 * values(); }  // to the next token
  int64_t key_of(int64_t q) const { return q / (queries / heads) * width; }
};

// Scores [queries, count]. Tokens are read one after another as they lie, whatever head they are for.
void score(const Row& row, float scale, float* scores) {
  for (int64_t t = 0; t < row.count; ++t)
    for (int64_t q = 0; q < row.queries; ++q) {
      const float *key = row.keys + t * row.stride() + row.key_of(q), *query = row.query + q * row.width;
      __m512 sum = _mm512_setzero_ps();
      for (int64_t i = 0; i < row.width; i += kLanes) {
        const __mmask16 mask = mask_of(row.width - i);
        sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, query + i), _mm512_maskz_loadu_ps(mask, key + i), sum);
      }
      scores[q * row.count + t] = _mm512_reduce_add_ps(sum) * scale;
    }
}

void softmax(float* scores, int64_t count) {
  __m512 largest = _mm512_set1_ps(-INFINITY), total = _mm512_setzero_ps();
  for (int64_t t = 0; t < count; t += kLanes)
    largest = _mm512_mask_max_ps(largest, mask_of(count - t), largest, _mm512_maskz_loadu_ps(mask_of(count - t), scores + t));
  const __m512 most = _mm512_set1_ps(_mm512_reduce_max_ps(largest));
  for (int64_t t = 0; t < count; t += kLanes) {
    const __mmask16 mask = mask_of(count - t);
    const __m512 share = _mm512_maskz_mov_ps(mask, exp_of(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, scores + t), most)));
    _mm512_mask_storeu_ps(scores + t, mask, share);
    total = _mm512_add_ps(total, share);
  }
  const __m512 norm = _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(total));
  for (int64_t t = 0; t < count; t += kLanes) {
    const __mmask16 mask = mask_of(count - t);
    _mm512_mask_storeu_ps(scores + t, mask, _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, scores + t), norm));
  }
}

// Adds kTokens tokens' values, by their shares, to the output.
template <int kTokens>
void add(const Row& row, const float* shares, int64_t t) {
  for (int64_t q = 0; q < row.queries; ++q) {
    const float* value = row.keys + t * row.stride() + row.values() + row.key_of(q);
    float* out = row.out + q * row.width;
    for (int64_t i = 0; i < row.width; i += kLanes) {
      const __mmask16 mask = mask_of(row.width - i);
      __m512 sum = _mm512_maskz_loadu_ps(mask, out + i);
      for (int n = 0; n < kTokens; ++n)
        sum = _mm512_fmadd_ps(_mm512_set1_ps(shares[q * row.count + t + n]),
                              _mm512_maskz_loadu_ps(mask, value + n * row.stride() + i), sum);
      _mm512_mask_storeu_ps(out + i, mask, sum);
    }
  }
}

void read(const Row& row, float scale, std::vector<float>& scores) {
  scores.resize(row.queries * row.count);
  score(row, scale, scores.data());
  for (int64_t q = 0; q < row.queries; ++q) softmax(scores.data() + q * row.count, row.count);
  for (int64_t i = 0; i < row.queries * row.width; ++i) row.out[i] = 0;
  int64_t t = 0;
  for (; t + 4 <= row.count; t += 4) add<4>(row, scores.data(), t);
  for (; t < row.count; ++t) add<1>(row, scores.data(), t);
}

}  // namespace

// `query` [rows, queries × width], consecutive rows `query_stride` floats apart, to `out` [rows, queries × width].
// `memory`: keys and values of a layer, [slots, capacity, 2, heads, width]; row i is in slot i and holds ends[i] tokens,
// of which the last `window` are read (0: all).
extern "C" void attend(const float* query, int64_t query_stride, const float* memory, const int64_t* ends, int64_t rows,
                       int64_t capacity, int64_t queries, int64_t heads, int64_t width, int64_t window, float scale,
                       float* out, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (int64_t i = 0; i < rows; ++i) {
    static thread_local std::vector<float> scores;
    const int64_t begin = window && ends[i] > window ? ends[i] - window : 0;
    const float* keys = memory + (i * capacity + begin) * 2 * heads * width;
    read({query + i * query_stride, keys, ends[i] - begin, queries, heads, width, out + i * queries * width}, scale, scores);
  }
}
