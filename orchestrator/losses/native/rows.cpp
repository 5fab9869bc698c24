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

#include "lanes.h"

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

inline float wide(float x) { return x; }
inline float wide(uint16_t x) { return widened(x); }

struct Place {
  int64_t index;
  float student, teacher, off;  // `off`: what is taken off the gradient there
};

template <class Number, Soft kSoft, bool kWrite>
void row(const Rows& a, int64_t r, std::vector<Place>& places) {
  constexpr bool kTaught = kSoft == kReverse || kSoft == kForward || kSoft == kTeacher;
  auto* s = (Number*)a.student + r * a.vocab;
  auto* t = (const Number*)a.teacher + (kTaught ? r * a.vocab : 0);
  const auto each = [&](auto&& work) {
    int64_t i = 0;
    for (; i + kLanes <= a.vocab; i += kLanes) work(i, kLanes);
    if (i < a.vocab) work(i, a.vocab - i);
  };
  const auto read = [](const Number* x, int64_t left) { return load(x, left, -INFINITY); };

  Lanes most_s = all(-INFINITY), most_t = most_s;
  each([&](int64_t i, int64_t left) {
    most_s = larger(most_s, read(s + i, left));
    if (kTaught) most_t = larger(most_t, read(t + i, left));
  });
  const float max_s = largest(most_s), max_t = kTaught ? largest(most_t) : 0.0f;
  const Lanes shift_s = all(max_s), shift_t = all(max_t);

  // Of reverse KL Σ e^s (s − t), of forward KL Σ e^t (t − s), of the teacher's cross-entropy −Σ e^t s.
  Lanes sum_s = all(0), sum_t = sum_s, sum_d = sum_s;
  each([&](int64_t i, int64_t left) {
    const Lanes x = minus(read(s + i, left), shift_s), e = exponential(x);
    const auto within = [left](Lanes value) { return left < kLanes ? keep(value, left) : value; };
    sum_s = plus(sum_s, within(e));
    if (kTaught) {
      const Lanes y = minus(read(t + i, left), shift_t), f = exponential(y);
      sum_t = plus(sum_t, within(f));
      if (kSoft == kReverse) sum_d = fma(within(e), within(minus(x, y)), sum_d);
      if (kSoft == kForward) sum_d = fma(within(f), within(minus(y, x)), sum_d);
      if (kSoft == kTeacher) sum_d = fnma(within(f), within(x), sum_d);
    }
  });
  const float whole_s = sum(sum_s), whole_t = kTaught ? sum(sum_t) : 1.0f;
  const float log_s = logf(whole_s), log_t = logf(whole_t), found = kTaught ? sum(sum_d) : 0.0f;
  const auto log_q = [&](float x) { return x - max_s - log_s; };

  double soft = 0;
  if (kSoft == kReverse) soft = found / whole_s - log_s + log_t;
  if (kSoft == kForward) soft = found / whole_t - log_t + log_s;
  if (kSoft == kTeacher) soft = found / whole_t + log_s;
  const int64_t* ids = a.ids + (kSoft == kSamples ? r * a.samples : 0);
  if (kSoft == kSamples) {
    for (int64_t k = 0; k < a.samples; ++k) soft -= log_q(wide(s[ids[k]]));
    soft /= a.samples;
  }
  const int64_t target = a.target[r];
  a.losses[r] = -log_q(wide(s[target]));
  a.losses[a.rows + r] = soft;
  if (!kWrite) return;

  places.clear();
  const auto take_off = [&](int64_t index, float off) {
    for (Place& place : places)
      if (place.index == index) {
        place.off += off;
        return;
      }
    places.push_back({index, wide(s[index]), kTaught ? wide(t[index]) : 0.0f, off});
  };
  take_off(target, a.alpha);
  if (kSoft == kSamples)
    for (int64_t k = 0; k < a.samples; ++k) take_off(ids[k], a.beta / a.samples);

  const float by_s = 1 / whole_s, by_t = 1 / whole_t, both = a.alpha + a.beta;
  const float constant = log_t - log_s - (float)soft;  // log q − log p − D less the difference of the shifted logits
  const auto gradient = [&](Lanes x, Lanes y) {
    const Lanes q = times(exponential(x), all(by_s));
    if (kSoft == kNone) return times(q, all(a.alpha));
    if (kSoft == kReverse) return times(q, fma(plus(minus(x, y), all(constant)), all(a.beta), all(a.alpha)));
    const Lanes taken = times(q, all(both));
    if (kSoft == kSamples) return taken;
    return fnma(exponential(y), all(by_t * a.beta), taken);
  };
  each([&](int64_t i, int64_t left) {
    const Lanes x = minus(read(s + i, left), shift_s);
    const Lanes y = kTaught ? minus(read(t + i, left), shift_t) : x;
    store(s + i, gradient(x, y), left);
  });
  for (const Place& place : places) {
    const Lanes found = gradient(all(place.student - max_s), all(place.teacher - max_t));
    store(s + place.index, minus(found, all(place.off)), 1);
  }
}

template <class Number, Soft kSoft>
void rows(const Rows& a, bool write, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    std::vector<Place> places;
#pragma omp for schedule(static)
    for (int64_t r = 0; r < a.rows; ++r)
      write ? row<Number, kSoft, true>(a, r, places) : row<Number, kSoft, false>(a, r, places);
  }
}

template <class Number>
void by_loss(const Rows& a, int soft, bool write, int threads) {
  using Function = void (*)(const Rows&, bool, int);
  static const Function functions[] = {rows<Number, kNone>, rows<Number, kReverse>, rows<Number, kForward>, rows<Number, kTeacher>,
                                       rows<Number, kSamples>};
  functions[soft](a, write, threads);
}

}  // namespace

// `soft`: 0 none, 1 reverse KL, 2 forward KL, 3 the teacher's cross-entropy, 4 forward KL from samples, to which the
// teacher's entropy is missing. Both sides' logits are of one type.
extern "C" void loss_rows(const Rows* a, int soft, int bf16, int write, int threads) {
  bf16 ? by_loss<uint16_t>(*a, soft, write, threads) : by_loss<float>(*a, soft, write, threads);
}
