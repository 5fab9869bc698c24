// The tokens of a step through all layers in one call: between two products of a small expert the calls of an interpreter
// take as long as the products. A token is a row of what is computed, and its result is the same whatever rows are beside
// it: those of other answers, or of more or less of its own prompt.

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

// Row i is the token ids[i], the last of the first ends[i] ones in slots[i]; those before it are there, or in earlier rows.
struct Batch {
  const int64_t *ids, *slots, *ends;
  int64_t count;
  const int64_t* wanted;  // rows whose states are asked for, in their order
  int64_t wanted_count;
  float* memory;  // keys and values [layers, all slots, capacity, 2, heads, head width]
  int64_t all_slots, capacity;
  float* out;  // states [wanted, width] after the last norm
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
// After the last layer's keys and values, only rows that are wanted are computed.
template <class P>
struct Layers {
  const Model& m;
  const Batch& b;
  Scratch& s;
  int64_t threads;

  int64_t query_width() const { return m.queries * m.head_width; }
  int64_t key_width() const { return m.heads * m.head_width; }
  int64_t projected_width() const { return query_width() + 2 * key_width(); }
  float* state(int64_t row) const { return s.states.data() + row * m.width; }
  bool is_last(int64_t layer) const { return layer == m.depth - 1; }
  // How many rows go on after a layer's keys and values are stored, and which one is the i-th of them.
  int64_t left(int64_t layer) const { return is_last(layer) ? b.wanted_count : b.count; }
  int64_t row_of(int64_t layer, int64_t i) const { return is_last(layer) ? b.wanted[i] : i; }
  float* place(int64_t layer, int64_t row, int64_t token) const {
    return b.memory + ((layer * b.all_slots + b.slots[row]) * b.capacity + token) * 2 * key_width();
  }

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

  void multiply(const Weights& w, const Rows& rows, int64_t count, std::vector<float>& out) const {
#pragma omp for schedule(static)
    for (int64_t part = 0; part < threads; ++part) product<P>(w, rows, count, out.data(), part, threads);
  }

  void embed() const {
#pragma omp for schedule(static)
    for (int64_t row = 0; row < b.count; ++row) {
      memcpy(state(row), m.tokens + b.ids[row] * m.width, m.width * sizeof(float));
      if (m.places) add(state(row), m.places + (b.ends[row] - 1) * m.width, m.width);
    }
  }

  // The states of a layer's i-th row after it.
  float* close(int64_t layer, int64_t i) const {
    float *fed = s.fed.data() + i * m.width, *states = state(row_of(layer, i));
    if (!m.blocks[layer].second.weight) add(fed, s.attended.data() + i * m.width, m.width);
    add(states, fed, m.width);
    return states;
  }

  void begin(int64_t layer) const {
#pragma omp for schedule(static)
    for (int64_t row = 0; row < b.count; ++row) {
      if (layer) close(layer - 1, row);
      float* normed = s.normed.data() + row * m.width;
      normalise(m.blocks[layer].first, state(row), m.width, normed);
      s.normed_rows.prepare<P>(*m.blocks[layer].project, normed, row);
    }
    multiply(*m.blocks[layer].project, s.normed_rows, b.count, s.projected);
  }

  void store(int64_t layer) const {
    const Block& block = m.blocks[layer];
#pragma omp for schedule(static)
    for (int64_t row = 0; row < b.count; ++row) {
      const int64_t last = b.ends[row] - 1;
      float *heads = s.projected.data() + row * projected_width(), *keys = heads + query_width();
      const float *cos = block.cos + last * block.turned, *sin = block.sin + last * block.turned;
      for (int64_t n = 0; block.turned && n < m.queries + m.heads; ++n)
        turn(heads + n * m.head_width, cos, sin, block.turned);
      memcpy(place(layer, row, last), keys, 2 * key_width() * sizeof(float));
    }
  }

  // How many rows from the i-th on, before the end, are tokens of one slot that follow one another.
  int64_t together(int64_t layer, int64_t i, int64_t end) const {
    const int64_t row = row_of(layer, i);
    int64_t n = 1;
    while (i + n < end && row_of(layer, i + n) == row + n && b.slots[row + n] == b.slots[row] && b.ends[row + n] == b.ends[row] + n)
      ++n;
    return n;
  }

  // What the queries of some key heads of some rows of a slot read, the first of them as the i-th.
  void read(int64_t layer, int64_t i, int64_t rows, int64_t begin, int64_t end, std::vector<float>& scores) const {
    const int64_t row = row_of(layer, i), width = m.head_width, shared = m.queries / m.heads, count = end - begin;
    const int64_t known = b.ends[row], first = m.window && known > m.window ? known - m.window : 0;
    const float* query = s.projected.data() + row * projected_width() + begin * shared * width;
    const float* keys = place(layer, row, first) + begin * width;
    float* out = s.read.data() + i * query_width() + begin * shared * width;
    read_heads({query, keys, known - first, rows, m.window, count * shared, shared, width, key_width(), projected_width(),
                query_width(), out}, scores);
  }

  void attend(int64_t layer) const {
    static thread_local std::vector<float> scores;
    const int64_t count = left(layer);
    if (!count) return;
    // Each thread takes some heads of some rows; of several tokens of a slot one head at a time, whose scores fit a cache.
    const int64_t parts = std::min(m.heads, threads);
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < (count + kTogether - 1) / kTogether * parts; ++item) {
      const int64_t part = item % parts, begin = m.heads * part / parts, end = m.heads * (part + 1) / parts;
      const int64_t last = std::min((item / parts + 1) * kTogether, count);
      for (int64_t i = item / parts * kTogether, rows; i < last; i += rows) {
        rows = together(layer, i, last);
        if (rows == 1) read(layer, i, 1, begin, end, scores);
        for (int64_t head = begin; rows > 1 && head < end; ++head) read(layer, i, rows, head, head + 1, scores);
      }
    }
#pragma omp for schedule(static)
    for (int64_t i = 0; i < count; ++i)
      s.read_rows.prepare<P>(*m.blocks[layer].out, s.read.data() + i * query_width(), i);
    multiply(*m.blocks[layer].out, s.read_rows, count, s.attended);
  }

  void feed(int64_t layer) const {
    const Block& block = m.blocks[layer];
    const int64_t count = left(layer), width = block.down->inputs;
#pragma omp for schedule(static)
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = row_of(layer, i);
      float* normed = s.normed.data() + row * m.width;
      if (block.second.weight) {
        add(state(row), s.attended.data() + i * m.width, m.width);
        normalise(block.second, state(row), m.width, normed);
      }
      s.normed_rows.prepare<P>(*block.up, normed, i);
    }
    multiply(*block.up, s.normed_rows, count, s.raised);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < count; ++i) {
      float* activated = s.raised.data() + b.count * block.up->outputs + i * width;
      activate(s.raised.data() + i * block.up->outputs, width, block.gated, activated);
      s.fed_rows.prepare<P>(*block.down, activated, i);
    }
    multiply(*block.down, s.fed_rows, count, s.fed);
  }

  void end() const {
#pragma omp for schedule(static)
    for (int64_t i = 0; i < b.wanted_count; ++i)
      normalise(m.last, close(m.depth - 1, i), m.width, b.out + i * m.width);
  }

  void operator()() const {
    embed();
    for (int64_t layer = 0; layer < m.depth; ++layer) {
      begin(layer);
      store(layer);
      attend(layer);
      feed(layer);
    }
    end();
  }
};

template <class P>
void compute(const Model& model, const Batch& batch, int threads) {
  static thread_local Scratch scratch;
  const Layers<P> layers{model, batch, scratch, threads};
  layers.reserve();
#pragma omp parallel num_threads(threads) if (threads > 1)
  layers();
}

}  // namespace
