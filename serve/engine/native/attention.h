// What one new token of each row reads from its row's keys and values: scores, softmax and sum in one pass, each row by
// itself, so that what it gets does not depend on the rows beside it.

#pragma once

#include "lanes.h"

#include <vector>

namespace {

// Some key heads of a row, and the queries of each.
struct Reading {
  const float *query, *keys;  // keys of the first token that is read; its values lie `values` floats after them
  int64_t count, queries, shared, width, values;
  float* out;
  int64_t stride() const { return 2 * values; }  // to the next token
  int64_t key_of(int64_t q) const { return q / shared * width; }
};

// Scores [queries, count]. Tokens are read one after another as they lie, whatever head they are for.
void score(const Reading& row, float scale, float* scores) {
  for (int64_t t = 0; t < row.count; ++t)
    for (int64_t q = 0; q < row.queries; ++q) {
      const float *key = row.keys + t * row.stride() + row.key_of(q), *query = row.query + q * row.width;
      Lanes products = all(0);
      for (int64_t i = 0; i < row.width; i += kLanes)
        products = fma(load(query + i, row.width - i, 0), load(key + i, row.width - i, 0), products);
      scores[q * row.count + t] = sum(products) * scale;
    }
}

void softmax(float* scores, int64_t count) {
  Lanes most = all(-INFINITY), total = all(0);
  for (int64_t t = 0; t < count; t += kLanes) most = larger(most, load(scores + t, count - t, -INFINITY));
  const Lanes shift = all(largest(most));
  for (int64_t t = 0; t < count; t += kLanes) {
    const Lanes share = keep(exponential(minus(load(scores + t, count - t, 0), shift)), count - t);
    store(scores + t, share, count - t);
    total = plus(total, share);
  }
  const Lanes norm = all(1.0f / sum(total));
  for (int64_t t = 0; t < count; t += kLanes) store(scores + t, times(load(scores + t, count - t, 0), norm), count - t);
}

// Adds kTokens tokens' values, by their shares, to the output.
template <int kTokens>
void add(const Reading& row, const float* shares, int64_t t) {
  for (int64_t q = 0; q < row.queries; ++q) {
    const float* value = row.keys + t * row.stride() + row.values + row.key_of(q);
    float* out = row.out + q * row.width;
    for (int64_t i = 0; i < row.width; i += kLanes) {
      const int64_t left = row.width - i;
      Lanes found = load(out + i, left, 0);
      for (int n = 0; n < kTokens; ++n)
        found = fma(all(shares[q * row.count + t + n]), load(value + n * row.stride() + i, left, 0), found);
      store(out + i, found, left);
    }
  }
}

void read_heads(const Reading& row, std::vector<float>& scores) {
  scores.resize(row.queries * row.count);
  score(row, 1.0f / sqrtf(row.width), scores.data());
  for (int64_t q = 0; q < row.queries; ++q) softmax(scores.data() + q * row.count, row.count);
  for (int64_t i = 0; i < row.queries * row.width; ++i) row.out[i] = 0;
  int64_t t = 0;
  for (; t + 4 <= row.count; t += 4) add<4>(row, scores.data(), t);
  for (; t < row.count; ++t) add<1>(row, scores.data(), t);
}

}  // namespace
