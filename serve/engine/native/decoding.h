// A step of rows that decode, a token each, through all layers in one call: between two products of a small expert the
// calls of an interpreter take as long as the products. A row's result is the same whatever rows are beside it.

#pragma once

#include "attention.h"
#include "products.h"

#include <algorithm>

extern "C" {
// `weight` null: there is no norm.
struct Norm {
  const float *weight, *bias;
  float epsilon;
  int32_t root_mean_square;
};

// Norm, attention, norm, feed-forward; without the second norm both read what the first one gives.
struct Block {
  Norm first, second;
  const Weights *project, *out, *up, *down;
  const float *cos, *sin;  // of the angles, [context, turned]
  int64_t turned;          // columns of each query and key that are turned
  int64_t gated;           // `up` gives what SiLU opens and what it lets through; else GELU by tanh of all
};

struct Model {
  const Block* blocks;
  int64_t depth;
  const float *tokens, *places;  // embeddings [vocabulary, width] and [context, width], or null
  Norm last;
  int64_t width, queries, heads, head_width, window;  // `window`: the last tokens that are read; 0: all
};

// Row i is in slot i, holds ends[i] tokens with this one, and goes on with ids[i].
struct Batch {
  const int64_t *ids, *ends;
  int64_t count;
  float* memory;  // keys and values [layers, slots, capacity, 2, heads, head width]
  int64_t slots, capacity;
  float* out;  // states [count, width] after the last norm
};
}

namespace {

void normalise(const Norm& norm, const float* x, int64_t width, float* out) {
  Lanes total = all(0), squares = all(0);
  if (!norm.root_mean_square)
    for (int64_t i = 0; i < width; i += kLanes) total = plus(total, load(x + i, width - i, 0));
  const Lanes mean = all(sum(total) / width);
  for (int64_t i = 0; i < width; i += kLanes) {
    const Lanes from = keep(minus(load(x + i, width - i, 0), mean), width - i);
    squares = fma(from, from, squares);
  }
  const Lanes scale = all(1.0f / sqrtf(sum(squares) / width + norm.epsilon));
  for (int64_t i = 0; i < width; i += kLanes) {
    const Lanes weight = times(scale, load(norm.weight + i, width - i, 0));
    const Lanes bias = norm.bias ? load(norm.bias + i, width - i, 0) : all(0);
    store(out + i, fma(minus(load(x + i, width - i, 0), mean), weight, bias), width - i);
  }
}

void add(float* to, const float* from, int64_t width) {
  for (int64_t i = 0; i < width; i += kLanes)
    store(to + i, plus(load(to + i, width - i, 0), load(from + i, width - i, 0)), width - i);
}

// a times the logistic function of z, whose exponential is of the side where it can't overflow.
Lanes opened(Lanes a, Lanes z) {
  const Lanes less = exponential(minus(all(0), size(z)));
  return over(times(a, larger(less, reached(z, all(0)))), plus(all(1), less));
}

void activate(const float* x, int64_t width, bool gated, float* out) {
  for (int64_t i = 0; i < width; i += kLanes) {
    const Lanes a = load(x + i, width - i, 0);
    Lanes z = a;
    if (!gated) {  // 2 √(2/π) (a + 0.044715 a³)
      z = times(times(all(1.5957691216f), a), fma(times(a, a), all(0.044715f), all(1)));
    }
    const Lanes found = opened(a, z);
    store(out + i, gated ? times(found, load(x + width + i, width - i, 0)) : found, width - i);
  }
}

// The first `turned` columns of a head, by the angles of a place: (a, b) to (a cos − b sin, b cos + a sin).
void turn(float* head, const float* cos, const float* sin, int64_t turned) {
  const int64_t half = turned / 2;
  for (int64_t i = 0; i < half; ++i) {
    const float a = head[i], b = head[half + i];
    head[i] = a * cos[i] - b * sin[i];
    head[half + i] = b * cos[half + i] + a * sin[half + i];
  }
}

// What a step writes down between its products.
struct Scratch {
  std::vector<float> states, normed, projected, read, attended, raised, fed;
  Rows normed_rows, read_rows, fed_rows;
};

// Run by every thread of a team: each loop over rows, or over parts of a product, ends when all threads are there.
template <class P>
struct Decoding {
  const Model& m;
  const Batch& b;
  Scratch& s;
  int64_t threads;

  int64_t query_width() const { return m.queries * m.head_width; }
  int64_t key_width() const { return m.heads * m.head_width; }
  int64_t projected_width() const { return query_width() + 2 * key_width(); }
  float* state(int64_t row) const { return s.states.data() + row * m.width; }

  void reserve() const {
    const Block& block = m.blocks[0];
    for (auto* each : {&s.states, &s.normed, &s.attended, &s.fed}) each->resize(b.count * m.width);
    s.projected.resize(b.count * projected_width());
    s.read.resize(b.count * query_width());
    s.raised.resize(b.count * (block.up->outputs + block.down->inputs));
    s.normed_rows.reserve<P>(*block.project, b.count);
    s.read_rows.reserve<P>(*block.out, b.count);
    s.fed_rows.reserve<P>(*block.down, b.count);
  }

  void multiply(const Weights& w, const Rows& rows, std::vector<float>& out) const {
#pragma omp for schedule(static)
    for (int64_t part = 0; part < threads; ++part) product<P>(w, rows, b.count, out.data(), part, threads);
  }

  void embed() const {
#pragma omp for schedule(static)
    for (int64_t row = 0; row < b.count; ++row) {
      memcpy(state(row), m.tokens + b.ids[row] * m.width, m.width * sizeof(float));
      if (m.places) add(state(row), m.places + (b.ends[row] - 1) * m.width, m.width);
    }
  }

  // A row's states after a layer.
  void close(const Block& block, int64_t row) const {
    float* fed = s.fed.data() + row * m.width;
    if (!block.second.weight) add(fed, s.attended.data() + row * m.width, m.width);
    add(state(row), fed, m.width);
  }

  void begin(int64_t layer) const {
#pragma omp for schedule(static)
    for (int64_t row = 0; row < b.count; ++row) {
      if (layer) close(m.blocks[layer - 1], row);
      float* normed = s.normed.data() + row * m.width;
      normalise(m.blocks[layer].first, state(row), m.width, normed);
      s.normed_rows.prepare<P>(*m.blocks[layer].project, normed, row);
    }
  }

  // Of some key heads of a row: keys and values to the memory, and what their queries read there.
  void read(int64_t layer, int64_t row, int64_t begin, int64_t end, std::vector<float>& scores) const {
    const Block& block = m.blocks[layer];
    const int64_t width = m.head_width, shared = m.queries / m.heads, count = end - begin, last = b.ends[row] - 1;
    const int64_t stride = 2 * key_width(), first = m.window && last >= m.window ? last + 1 - m.window : 0;
    float* query = s.projected.data() + row * projected_width() + begin * shared * width;
    float* key = s.projected.data() + row * projected_width() + query_width() + begin * width;
    float* memory = b.memory + (layer * b.slots + row) * b.capacity * stride + begin * width;
    const float *cos = block.cos + last * block.turned, *sin = block.sin + last * block.turned;
    for (int64_t q = 0; block.turned && q < count * shared; ++q) turn(query + q * width, cos, sin, block.turned);
    for (int64_t k = 0; block.turned && k < count; ++k) turn(key + k * width, cos, sin, block.turned);
    memcpy(memory + last * stride, key, count * width * sizeof(float));
    memcpy(memory + last * stride + key_width(), key + key_width(), count * width * sizeof(float));
    float* out = s.read.data() + row * query_width() + begin * shared * width;
    read_heads({query, memory + first * stride, last + 1 - first, count * shared, shared, width, key_width(), out}, scores);
  }

  void attend(int64_t layer) const {
    static thread_local std::vector<float> scores;
    // With fewer rows than threads each thread takes some heads of a row.
    const int64_t parts = std::min(m.heads, (threads + b.count - 1) / b.count);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < b.count * parts; ++i) {
      const int64_t part = i % parts;
      read(layer, i / parts, m.heads * part / parts, m.heads * (part + 1) / parts, scores);
    }
#pragma omp for schedule(static)
    for (int64_t row = 0; row < b.count; ++row)
      s.read_rows.prepare<P>(*m.blocks[layer].out, s.read.data() + row * query_width(), row);
    multiply(*m.blocks[layer].out, s.read_rows, s.attended);
  }

  void feed(const Block& block) const {
#pragma omp for schedule(static)
    for (int64_t row = 0; row < b.count; ++row) {
      if (!block.second.weight) continue;
      add(state(row), s.attended.data() + row * m.width, m.width);
      float* normed = s.normed.data() + row * m.width;
      normalise(block.second, state(row), m.width, normed);
      s.normed_rows.prepare<P>(*block.up, normed, row);
    }
    multiply(*block.up, s.normed_rows, s.raised);
    const int64_t width = block.down->inputs;
#pragma omp for schedule(static)
    for (int64_t row = 0; row < b.count; ++row) {
      float* activated = s.raised.data() + b.count * block.up->outputs + row * width;
      activate(s.raised.data() + row * block.up->outputs, width, block.gated, activated);
      s.fed_rows.prepare<P>(*block.down, activated, row);
    }
    multiply(*block.down, s.fed_rows, s.fed);
  }

  void end() const {
#pragma omp for schedule(static)
    for (int64_t row = 0; row < b.count; ++row) {
      close(m.blocks[m.depth - 1], row);
      normalise(m.last, state(row), m.width, b.out + row * m.width);
    }
  }

  void operator()() const {
    embed();
    for (int64_t layer = 0; layer < m.depth; ++layer) {
      begin(layer);
      multiply(*m.blocks[layer].project, s.normed_rows, s.projected);
      attend(layer);
      feed(m.blocks[layer]);
    }
    end();
  }
};

template <class P>
void decode(const Model& model, const Batch& batch, int threads) {
  static thread_local Scratch scratch;
  const Decoding<P> decoding{model, batch, scratch, threads};
  decoding.reserve();
#pragma omp parallel num_threads(threads) if (threads > 1)
  decoding();
}

}  // namespace
