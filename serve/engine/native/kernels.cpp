// What Python calls, see `serve/engine/native/__init__.py`.

#include "layers.h"
#include "sampling.h"

#include <sys/mman.h>

namespace {

template <class P>
void multiply(const Weights& w, const float* states, int64_t count, float* out, int threads) {
  static thread_local Rows kept;
  Rows& rows = kept;  // of the thread that calls, for all
  rows.reserve<P>(w, count);
  for (int64_t row = 0; row < count; ++row) rows.prepare<P>(w, states + row * w.inputs, row);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (int part = 0; part < threads; ++part) product<P>(w, rows, count, out, part, threads);
}

}  // namespace

extern "C" {

// Have an area that nobody has written to yet lie in large pages, where the system gives them on request.
void in_large_pages(void* area, int64_t bytes) {
  constexpr uintptr_t page = 2 << 20;
  const uintptr_t begin = ((uintptr_t)area + page - 1) / page * page, end = ((uintptr_t)area + bytes) / page * page;
  if (begin < end) madvise((void*)begin, end - begin, MADV_HUGEPAGE);
}

// `states` [count, inputs] times the weights, and the bias, to `out` [count, outputs].
void product_fp32(const Weights* w, const float* states, int64_t count, float* out, int threads) {
  multiply<Fp32>(*w, states, count, out, threads);
}
void product_bf16(const Weights* w, const float* states, int64_t count, float* out, int threads) {
  multiply<Bf16>(*w, states, count, out, threads);
}
void product_int8(const Weights* w, const float* states, int64_t count, float* out, int threads) {
  multiply<Int8>(*w, states, count, out, threads);
}

// The tokens of a step through a model with weights of one precision.
void compute_fp32(const Model* model, const Batch* batch, int threads) { compute<Fp32>(*model, *batch, threads); }
void compute_bf16(const Model* model, const Batch* batch, int threads) { compute<Bf16>(*model, *batch, threads); }
void compute_int8(const Model* model, const Batch* batch, int threads) { compute<Int8>(*model, *batch, threads); }

// A token of each row of `logits` [rows, vocabulary], rows `stride` floats apart; of temperature 0 the most probable one.
// -1 where that has no finite logit, or one of them is not a number.
void choose(const float* logits, int64_t stride, int64_t rows, int64_t vocabulary, const float* temperatures,
            const double* uniforms, int64_t* tokens, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (int64_t row = 0; row < rows; ++row) {
    const float* own = logits + row * stride;
    const float found = most(own, vocabulary);
    tokens[row] = !isfinite(found)         ? -1
                  : temperatures[row] > 0 ? drawn(own, vocabulary, found, temperatures[row], uniforms[row])
                                          : most_probable(own, vocabulary, found);
  }
}
}
