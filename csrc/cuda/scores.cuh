// What happens to scores between the two products.
#pragma once

#include "tiles.cuh"

namespace vil_mm {
namespace cuda {

// Whether the rows of scores are queries and the columns keys, or the other way around.
enum class Rows { kQueries, kKeys };

// The two rows of each fragment that a lane holds.
struct LaneRows {
  int term[2];
  float bias[2];    // of keys
  float offset[2];  // of queries: minus the logarithm of the softmax's sum
};

// A lane's pair of values of a fragment's columns.
template <typename Pair, typename Value>
VIL_MM_DEVICE Pair column_pair(const Value* of_columns, int fragment) {
  return *reinterpret_cast<const Pair*>(of_columns + kFragmentColumns * fragment + lane_column());
}

template <Rows kRows, int kFragments, typename Entry>
VIL_MM_DEVICE void scale_and_bias(float (&scores)[kFragments][4], float scale, const LaneRows& rows,
                                  const TileNotes& columns, Entry entry) {
#pragma unroll
  for (int f = 0; f < kFragments; ++f) {
    const int2 term = column_pair<int2>(columns.term, f);
    const float2 bias = kRows == Rows::kQueries ? column_pair<float2>(columns.bias, f) : float2{0, 0};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float key_bias = kRows == Rows::kKeys ? rows.bias[i / 2] : i % 2 == 0 ? bias.x : bias.y;
      // One of the two addends is 0 or hides the key, so that their sum is exact.
      scores[f][i] = scores[f][i] * scale + (entry(rows.term[i / 2] + (i % 2 == 0 ? term.x : term.y)) + key_bias);
    }
  }
}

// Turns products into scores. `scale` includes the scores' unit.
template <Rows kRows, int kFragments>
VIL_MM_DEVICE void to_scores(float (&scores)[kFragments][4], float scale, const LaneRows& rows,
                             const TileNotes& columns, const LoadedTable& table) {
  if (!table.needed) {
    scale_and_bias<kRows>(scores, scale, rows, columns, [](int) { return 0.f; });
  } else if (table.in_shared) {
    scale_and_bias<kRows>(scores, scale, rows, columns, [&](int index) { return table.shared[index]; });
  } else {
    scale_and_bias<kRows>(scores, scale, rows, columns, [&](int index) { return table.global[index]; });
  }
}

// The exponential of a score.
template <bool kExactly, typename T>
VIL_MM_DEVICE float exponential(float score) {
  if constexpr (kExactly) {
    return exp_exact(score);
  } else {
    return exp2_fast(kScoreUnit<T> == kLog2E ? score : score * kLog2E);
  }
}

// Turns scores into the softmax's weights, the logarithm of whose sum is known.
template <bool kExactly, typename T, Rows kRows, int kFragments>
VIL_MM_DEVICE void to_weights(float (&scores)[kFragments][4], const LaneRows& rows, const TileNotes& columns) {
#pragma unroll
  for (int f = 0; f < kFragments; ++f) {
    const float2 offset = kRows == Rows::kKeys ? column_pair<float2>(columns.offset, f) : float2{0, 0};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float query_offset = kRows == Rows::kQueries ? rows.offset[i / 2] : i % 2 == 0 ? offset.x : offset.y;
      scores[f][i] = exponential<kExactly, T>(scores[f][i] + query_offset);
    }
  }
}

template <int kFragments>
VIL_MM_DEVICE void multiply_columns(float (&fragments)[kFragments][4], const float* column_factor) {
#pragma unroll
  for (int f = 0; f < kFragments; ++f) {
    const float2 factor = column_pair<float2>(column_factor, f);
#pragma unroll
    for (int i = 0; i < 4; ++i) fragments[f][i] *= i % 2 == 0 ? factor.x : factor.y;
  }
}

// Sum and maximum over the 4 lanes that share a row.
VIL_MM_DEVICE float row_sum(float value) {
  value += shuffle_xor(value, 1);
  return value + shuffle_xor(value, 2);
}

VIL_MM_DEVICE float row_max(float value) {
  value = fmaxf(value, shuffle_xor(value, 1));
  return fmaxf(value, shuffle_xor(value, 2));
}

// Turns the next tile's scores into weights, and updates the rows' maxima so far and the weights and sums relative to
// them. Each of a row's 4 lanes has its part of the weight.
template <bool kExactly, typename T, int kFragments, int kSums>
VIL_MM_DEVICE void softmax_step(float (&scores)[kFragments][4], float (&maximum)[2], float (&weight)[2],
                                float (&sums)[kSums][4]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float largest = maximum[half];
#pragma unroll
    for (int f = 0; f < kFragments; ++f) largest = fmaxf(largest, fmaxf(scores[f][2 * half], scores[f][2 * half + 1]));
    largest = row_max(largest);
    const float reference = largest == -INFINITY ? 0.f : largest;  // minus infinity: no key seen yet
    const float correction = exponential<kExactly, T>(maximum[half] - reference);
    maximum[half] = largest;
    float tile_weight = 0;  // summed separately: long sums lose digits
#pragma unroll
    for (int f = 0; f < kFragments; ++f) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        scores[f][i] = exponential<kExactly, T>(scores[f][i] - reference);
        tile_weight += scores[f][i];
      }
    }
    weight[half] = weight[half] * correction + tile_weight;
#pragma unroll
    for (int f = 0; f < kSums; ++f) {
      sums[f][2 * half] *= correction;
      sums[f][2 * half + 1] *= correction;
    }
  }
}

}  // namespace cuda
}  // namespace vil_mm
