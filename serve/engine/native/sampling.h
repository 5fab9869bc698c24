// A token of a row from its logits: the most probable one, or by the inverse of the cumulative distribution in the order
// of the vocabulary, block by block, as `serve/engine/sampling.py` does it with torch.

#pragma once

#include "lanes.h"

#include <algorithm>
#include <vector>

namespace {

constexpr int64_t kBlock = 256;  // numbers whose sum is kept

// The largest number; NaN where one of them is none.
float most(const float* x, int64_t count) {
  Lanes found = all(-INFINITY), numbers = all(1);
  for (int64_t i = 0; i < count; i += kLanes) {
    const Lanes here = load(x + i, count - i, -INFINITY);
    found = larger(found, here), numbers = times(numbers, reached(here, here));
  }
  return sum(numbers) < kLanes ? NAN : largest(found);
}

int64_t most_probable(const float* logits, int64_t count, float most) {
  return std::find(logits, logits + count, most) - logits;
}

// Shares of the most probable token's probability, of up to `kBlock` tokens.
Lanes shares(const float* logits, int64_t left, Lanes shift, Lanes colder) {
  return keep(exponential(times(minus(load(logits, left, 0), shift), colder)), left);
}

int64_t drawn(const float* logits, int64_t count, float most, float temperature, double uniform) {
  const Lanes shift = all(most), colder = all(1.0f / temperature);
  static thread_local std::vector<double> sums;
  sums.clear();
  double whole = 0;
  for (int64_t block = 0; block < count; block += kBlock) {
    Lanes total = all(0);
    for (int64_t i = block; i < std::min(block + kBlock, count); i += kLanes)
      total = plus(total, shares(logits + i, count - i, shift, colder));
    sums.push_back(sum(total));
    whole += sums.back();
  }
  double left = uniform * whole;
  int64_t block = 0;
  for (; (block + 1) * kBlock < count && sums[block] <= left; ++block) left -= sums[block];
  // Rounding can put what is left at the end: the last token with a share takes it, of an earlier block if need be.
  while (block && sums[block] <= 0) --block;
  int64_t last = block * kBlock;
  for (int64_t i = block * kBlock; i < std::min((block + 1) * kBlock, count); i += kLanes) {
    float found[kLanes];
    store(found, shares(logits + i, count - i, shift, colder), kLanes);
    for (int64_t n = 0; n < kLanes; ++n) {
      if (found[n] <= 0) continue;
      last = i + n;
      if ((left -= found[n]) < 0) return last;
    }
  }
  return last;
}

}  // namespace
