// What new tokens read from their row's keys and values: scores, softmax and sum. Several tokens of one row read what they
// share at once, and each gets to the last bit what it would get alone.

#pragma once

#include "lanes.h"

#include <algorithm>
#include <vector>

namespace {

constexpr int64_t kTogether = 16;  // new tokens of a row, and tokens that they read at a time

// Some key heads of a row, and the queries of each for one or several new tokens that follow one another.
struct Reading {
  const float *query, *keys;  // keys of the first token that is read; its values lie `values` floats after them
  int64_t count, fresh;       // tokens that the first new one reads; new tokens, each of which reads one more
  int64_t window;             // so many last ones alone, 0: all
  int64_t queries, shared, width, values;
  int64_t next_query, next_out;  // to the next new token's
  float* out;
  int64_t all() const { return count + fresh - 1; }
  // Of a new token's scores; an odd number of cache lines, as a power of two would have all of them in one place of a cache.
  int64_t next_score() const { return ((all() + kLanes - 1) / kLanes | 1) * kLanes; }
};

// Keys or values of a few tokens, and how far the next token's are.
struct Few {
  const float* first;
  int64_t next, count;
};

// Those of a query's head. Where several new tokens read them they are laid together, for a cache to hold them.
Few take(const Reading& row, int64_t q, int64_t t, bool values, float* together) {
  const int64_t stride = 2 * row.values, count = std::min(kTogether, row.all() - t);
  const float* first = row.keys + t * stride + (values ? row.values : 0) + q / row.shared * row.width;
  if (row.fresh == 1) return {first, stride, count};
  for (int64_t i = 0; i < count; ++i) memcpy(together + i * row.width, first + i * stride, row.width * sizeof(float));
  return {together, row.width, count};
}

// Whole lanes go without a mask, which costs as much as what is done with them.
template <class Do>
inline void by_lanes(int64_t count, Do&& one) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) one(i);
  if (i < count) one(i, count - i, 0.0f);
}

// Scores of some new tokens' queries with some keys.
template <int kFresh, int kTokens>
void score(const Reading& row, const float* query, const float* key, int64_t next_key, float scale, float* scores) {
  const int64_t next_query = row.next_query;
  Lanes sums[kFresh][kTokens];
  for (auto& some : sums)
    for (auto& sum : some) sum = all(0);
  by_lanes(row.width, [&](int64_t i, auto... left) {
    Lanes queries[kFresh];
    for (int a = 0; a < kFresh; ++a) queries[a] = load(query + a * next_query + i, left...);
    for (int b = 0; b < kTokens; ++b) {
      const Lanes here = load(key + b * next_key + i, left...);
      for (int a = 0; a < kFresh; ++a) sums[a][b] = fma(queries[a], here, sums[a][b]);
    }
  });
  if constexpr (kFresh * kTokens == 4) {
    const auto at = [&](int i) { return sums[i / kTokens][i % kTokens]; };
    float found[4];
    _mm_storeu_ps(found, _mm_mul_ps(four_sums(at(0), at(1), at(2), at(3)), _mm_set1_ps(scale)));
    for (int i = 0; i < 4; ++i) scores[i / kTokens * row.next_score() + i % kTokens] = found[i];
  } else {
    *scores = sum(sums[0][0]) * scale;
  }
}

// Scores of all new tokens with a few others.
void score(const Reading& row, int64_t q, const Few& keys, float scale, float* scores) {
  const float *query = row.query + q * row.width, *key = keys.first;
  const int64_t next = keys.next, next_score = row.next_score();
  int64_t n = 0;
  for (; n + 2 <= row.fresh; n += 2, query += 2 * row.next_query, scores += 2 * next_score) {
    int64_t t = 0;
    for (; t + 2 <= keys.count; t += 2) score<2, 2>(row, query, key + t * next, next, scale, scores + t);
    if (t == keys.count) continue;
    score<1, 1>(row, query, key + t * next, next, scale, scores + t);
    score<1, 1>(row, query + row.next_query, key + t * next, next, scale, scores + next_score + t);
  }
  if (n == row.fresh) return;
  int64_t t = 0;
  for (; t + 4 <= keys.count; t += 4) score<1, 4>(row, query, key + t * next, next, scale, scores + t);
  for (; t < keys.count; ++t) score<1, 1>(row, query, key + t * next, next, scale, scores + t);
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

// A new token's scores to shares, which are 0 of what others read and it does not: adding that changes nothing.
void share(const Reading& row, int64_t n, float* scores) {
  const int64_t end = row.count + n, first = row.window ? std::max<int64_t>(end - row.window, 0) : 0;
  std::fill(scores, scores + first, 0.0f);
  softmax(scores + first, end - first);
  std::fill(scores + end, scores + row.all(), 0.0f);
}

// Adds a few values, by their shares, to the outputs of some new tokens.
template <int kFresh>
void add(const Reading& row, const Few& values, const float* shares, float* out) {
  const int64_t next_share = row.next_score();
  by_lanes(row.width, [&](int64_t i, auto... left) {
    const int64_t some = std::min(row.width - i, kLanes);
    Lanes found[kFresh];
    for (int a = 0; a < kFresh; ++a) found[a] = load(out + a * row.next_out + i, left...);
    for (int64_t t = 0; t < values.count; ++t) {
      const Lanes here = load(values.first + t * values.next + i, left...);
      for (int a = 0; a < kFresh; ++a) found[a] = fma(all(shares[a * next_share + t]), here, found[a]);
    }
    for (int a = 0; a < kFresh; ++a) store(out + a * row.next_out + i, found[a], some);
  });
}

// Tokens are read one after another as they lie, whatever head they are for.
void read_heads(const Reading& row, std::vector<float>& scratch) {
  const int64_t next = row.next_score(), of_query = row.fresh * next, width = row.width;
  const float scale = 1.0f / sqrtf(width);
  scratch.resize(row.queries * of_query + kTogether * width);
  float *scores = scratch.data(), *together = scores + row.queries * of_query;
  for (int64_t t = 0; t < row.all(); t += kTogether)
    for (int64_t q = 0; q < row.queries; ++q)
      score(row, q, take(row, q, t, false, together), scale, scores + q * of_query + t);
  for (int64_t q = 0; q < row.queries; ++q)
    for (int64_t n = 0; n < row.fresh; ++n) share(row, n, scores + q * of_query + n * next);
  for (int64_t n = 0; n < row.fresh; ++n) std::fill_n(row.out + n * row.next_out, row.queries * width, 0.0f);
  for (int64_t t = 0; t < row.all(); t += kTogether)
    for (int64_t q = 0; q < row.queries; ++q) {
      const Few values = take(row, q, t, true, together);
      const float* shares = scores + q * of_query + t;
      float* out = row.out + q * width;
      int64_t n = 0;
      for (; n + 4 <= row.fresh; n += 4) add<4>(row, values, shares + n * next, out + n * row.next_out);
      for (; n < row.fresh; ++n) add<1>(row, values, shares + n * next, out + n * row.next_out);
    }
}

}  // namespace
