// Cross-entropy and a soft loss of rows of logits, and their gradient in place of the student's logits, in three passes
// over a row that stays in the cache: the largest logit, the sums of exponentials, the gradient.
//
// Logits are fp32 or bf16, all arithmetic is fp32. With s the student's logits, t the teacher's, q and p their softmaxes:
//   alpha · q                                      cross-entropy alone
//   q · (alpha + beta · (log q − log p − D))       reverse KL, D = Σ q (log q − log p)
//   (alpha + beta) · q − beta · p                  forward KL, and the teacher's cross-entropy
//   (alpha + beta) · q − beta · the frequencies    forward KL from samples
// less alpha at the target. What is at a target or a sample is computed once more from the logits as they were, and
// rounded once.

#include <immintrin.h>
#include <math.h>
#include <stdint.h>

#include <vector>

extern "C" struct Rows {
  void* student;          // [rows, vocab]; overwritten by the gradient if asked for
  const void* teacher;    // [rows, vocab]
  const int64_t* target;  // [rows]
  const int64_t* ids;     // [rows, samples] drawn from the teacher
  double* losses;         // [2, rows]: cross-entropy, soft loss
  int64_t rows, vocab, samples;
  float alpha, beta;
};

namespace {

enum Soft { kNone, kReverse, kForward, kTeacher, kSamples };
constexpr int64_t kLanes = 16;
constexpr float kLowest = -1e4f;  // lower exponents give 0 as well

struct Fp32 {
  using Number = float;
  static __m512 load(const float* x, __mmask16 mask) { return _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), mask, x); }
  static void store(float* x, __mmask16 mask, __m512 value) { _mm512_mask_storeu_ps(x, mask, value); }
  static float widen(float x) { return x; }
};

struct Bf16 {
  using Number = uint16_t;
  static __m512 load(const uint16_t* x, __mmask16 mask) {
    const __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, x)), 16);
    return _mm512_mask_blend_ps(mask, _mm512_set1_ps(-INFINITY), _mm512_castsi512_ps(wide));
  }
  // To the nearest, ties to even, as torch rounds; a NaN stays one.
  static void store(uint16_t* x, __mmask16 mask, __m512 value) {
#ifdef __AVX512BF16__
    _mm256_mask_storeu_epi16(x, mask, (__m256i)_mm512_cvtneps_pbh(value));
#else
    const __m512i bits = _mm512_castps_si512(value);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7FFF));
    rounded = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q), _mm512_set1_epi32(-1));
    _mm256_mask_storeu_epi16(x, mask, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
#endif
  }
  static float widen(uint16_t x) {
    const uint32_t bits = (uint32_t)x << 16;
    float wide;
    __builtin_memcpy(&wide, &bits, 4);
    return wide;
  }
};

// exp, to an error of 2e-7: 2^n times a polynomial of what is left. What underflows is 0, and a NaN stays one.
inline __m512 exponential(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(kLowest), x);
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896f)), 0);
  const __m512 coarse = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  const __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), coarse);
  __m512 sum = _mm512_set1_ps(1.0f / 720);
  for (const float factor : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(factor));
  return _mm512_scalef_ps(sum, n);
}

struct Place {
  int64_t index;
  float student, teacher, off;  // `off`: what is taken off the gradient there
};

template <class N, Soft kSoft, bool kWrite>
void row(const Rows& a, int64_t r, std::vector<Place>& places) {
  constexpr bool kTaught = kSoft == kReverse || kSoft == kForward || kSoft == kTeacher;
  auto* s = (typename N::Number*)a.student + r * a.vocab;
  auto* t = (const typename N::Number*)a.teacher + (kTaught ? r * a.vocab : 0);
  const auto each = [&](auto&& work) {
    int64_t i = 0;
    for (; i + kLanes <= a.vocab; i += kLanes) work(i, (__mmask16)0xFFFF);
    if (i < a.vocab) work(i, (__mmask16)((1u << (a.vocab - i)) - 1));
  };

  __m512 most_s = _mm512_set1_ps(-INFINITY), most_t = most_s;
  each([&](int64_t i, __mmask16 mask) {
    most_s = _mm512_max_ps(most_s, N::load(s + i, mask));
    if (kTaught) most_t = _mm512_max_ps(most_t, N::load(t + i, mask));
  });
  const float max_s = _mm512_reduce_max_ps(most_s), max_t = kTaught ? _mm512_reduce_max_ps(most_t) : 0.0f;
  const __m512 shift_s = _mm512_set1_ps(max_s), shift_t = _mm512_set1_ps(max_t);

  // Of reverse KL Σ e^s (s − t), of forward KL Σ e^t (t − s), of the teacher's cross-entropy −Σ e^t s.
  __m512 sum_s = _mm512_setzero_ps(), sum_t = sum_s, sum_d = sum_s;
  each([&](int64_t i, __mmask16 mask) {
    const __m512 x = _mm512_sub_ps(N::load(s + i, mask), shift_s), e = exponential(x);
    sum_s = _mm512_mask_add_ps(sum_s, mask, sum_s, e);
    if (kTaught) {
      const __m512 y = _mm512_sub_ps(N::load(t + i, mask), shift_t), f = exponential(y);
      sum_t = _mm512_mask_add_ps(sum_t, mask, sum_t, f);
      if (kSoft == kReverse) sum_d = _mm512_mask3_fmadd_ps(e, _mm512_sub_ps(x, y), sum_d, mask);
      if (kSoft == kForward) sum_d = _mm512_mask3_fmadd_ps(f, _mm512_sub_ps(y, x), sum_d, mask);
      if (kSoft == kTeacher) sum_d = _mm512_mask3_fnmadd_ps(f, x, sum_d, mask);
    }
  });
  const float whole_s = _mm512_reduce_add_ps(sum_s), whole_t = kTaught ? _mm512_reduce_add_ps(sum_t) : 1.0f;
  const float log_s = logf(whole_s), log_t = logf(whole_t), found = kTaught ? _mm512_reduce_add_ps(sum_d) : 0.0f;
  const auto log_q = [&](float x) { return x - max_s - log_s; };

  double soft = 0;
  if (kSoft == kReverse) soft = found / whole_s - log_s + log_t;
  if (kSoft == kForward) soft = found / whole_t - log_t + log_s;
  if (kSoft == kTeacher) soft = found / whole_t + log_s;
  const int64_t* ids = a.ids + (kSoft == kSamples ? r * a.samples : 0);
  if (kSoft == kSamples) {
    for (int64_t k = 0; k < a.samples; ++k) soft -= log_q(N::widen(s[ids[k]]));
    soft /= a.samples;
  }
  const int64_t target = a.target[r];
  a.losses[r] = -log_q(N::widen(s[target]));
  a.losses[a.rows + r] = soft;
  if (!kWrite) return;

  places.clear();
  const auto take_off = [&](int64_t index, float off) {
    for (Place& place : places)
      if (place.index == index) {
        place.off += off;
        return;
      }
    places.push_back({index, N::widen(s[index]), kTaught ? N::widen(t[index]) : 0.0f, off});
  };
  take_off(target, a.alpha);
  if (kSoft == kSamples)
    for (int64_t k = 0; k < a.samples; ++k) take_off(ids[k], a.beta / a.samples);

  const float by_s = 1 / whole_s, by_t = 1 / whole_t, both = a.alpha + a.beta;
  const float constant = log_t - log_s - (float)soft;  // log q − log p − D less the difference of the shifted logits
  const auto gradient = [&](__m512 x, __m512 y) {
    const __m512 q = _mm512_mul_ps(exponential(x), _mm512_set1_ps(by_s));
    if (kSoft == kNone) return _mm512_mul_ps(q, _mm512_set1_ps(a.alpha));
    if (kSoft == kReverse) {
      const __m512 slope = _mm512_add_ps(_mm512_sub_ps(x, y), _mm512_set1_ps(constant));
      return _mm512_mul_ps(q, _mm512_fmadd_ps(slope, _mm512_set1_ps(a.beta), _mm512_set1_ps(a.alpha)));
    }
    const __m512 taken = _mm512_mul_ps(q, _mm512_set1_ps(both));
    if (kSoft == kSamples) return taken;
    return _mm512_fnmadd_ps(exponential(y), _mm512_set1_ps(by_t * a.beta), taken);
  };
  each([&](int64_t i, __mmask16 mask) {
    const __m512 x = _mm512_sub_ps(N::load(s + i, mask), shift_s);
    const __m512 y = kTaught ? _mm512_sub_ps(N::load(t + i, mask), shift_t) : x;
    N::store(s + i, mask, gradient(x, y));
  });
  for (const Place& place : places) {
    const __m512 x = _mm512_set1_ps(place.student - max_s), y = _mm512_set1_ps(place.teacher - max_t);
    N::store(s + place.index, 1, _mm512_sub_ps(gradient(x, y), _mm512_set1_ps(place.off)));
  }
}

template <class N, Soft kSoft>
void rows(const Rows& a, bool write, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    std::vector<Place> places;
#pragma omp for schedule(static)
    for (int64_t r = 0; r < a.rows; ++r)
      write ? row<N, kSoft, true>(a, r, places) : row<N, kSoft, false>(a, r, places);
  }
}

template <class N>
void by_loss(const Rows& a, int soft, bool write, int threads) {
  using Function = void (*)(const Rows&, bool, int);
  static const Function functions[] = {rows<N, kNone>, rows<N, kReverse>, rows<N, kForward>, rows<N, kTeacher>,
                                       rows<N, kSamples>};
  functions[soft](a, write, threads);
}

}  // namespace

// `soft`: 0 none, 1 reverse KL, 2 forward KL, 3 the teacher's cross-entropy, 4 forward KL from samples, to which the
// teacher's entropy is missing. Both sides' logits are of one type.
extern "C" void loss_rows(const Rows* a, int soft, int bf16, int write, int threads) {
  bf16 ? by_loss<Bf16>(*a, soft, write, threads) : by_loss<Fp32>(*a, soft, write, threads);
}
