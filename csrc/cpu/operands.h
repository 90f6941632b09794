// What products are computed from: numbers of the precision that is computed in or, where the instruction set
// multiplies bfloat16 (VIL_MM_MULTIPLIES_BFLOAT16), pairs of these, whose two products are added at once.
#pragma once

#include "kernels.h"
#include "vector.h"

namespace vil_mm {
namespace {

// A matrix whose element (i, j) is data[i * row_stride + j * column_stride].
template <typename Real>
struct Matrix {
  Real* data = nullptr;
  int64_t row_stride = 0, column_stride = 1;

  VIL_MM_INLINE Real* row(int64_t i) const { return data + i * row_stride; }
};

// Two bfloat16, neighbors along the axis that is summed over; the lower half is the first.
typedef uint32_t Pair;

template <typename Operand>
constexpr int kPacked = 1;
template <>
constexpr int kPacked<Pair> = 2;

template <typename T>
struct OperandOf {
  using type = ComputeType<T>;
};
#if VIL_MM_MULTIPLIES_BFLOAT16
template <>
struct OperandOf<c10::BFloat16> {
  using type = Pair;
};
#endif

// The precision of sums of products.
template <typename Operand>
struct SumOf {
  using type = Operand;
};
template <>
struct SumOf<Pair> {
  using type = float;
};
template <typename Operand>
using Sum = typename SumOf<Operand>::type;

// A matrix of numbers that operands have overwritten row by row, from this column on.
template <typename Operand, typename Real>
VIL_MM_INLINE Matrix<Operand> as_operands(Matrix<Real> matrix, int64_t column) {
  return {reinterpret_cast<Operand*>(matrix.data) + column / kPacked<Operand>, matrix.row_stride};
}

template <typename Real>
VIL_MM_INLINE Vector<Real> multiply_add(Vector<Real> sum, Real a, Vector<Real> b) {
  return sum + a * b;
}

// Stores a whole vector of neighbors along the axis that is summed over.
template <typename Real>
VIL_MM_INLINE void store_operands(Real* target, Vector<Real> value) {
  store(target, value);
}

// Neighboring numbers of two rows, rounded.
template <typename Operand>
class TwoRows;

#if VIL_MM_MULTIPLIES_BFLOAT16
VIL_MM_INLINE Vector<float> multiply_add(Vector<float> sum, Pair a, Vector<Pair> b) {
  return (Vector<float>)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(a), (__m512bh)b);
}

// Rounds to nearest, ties to even. Subnormal numbers become zeros.
VIL_MM_INLINE void store_operands(Pair* target, Vector<float> value) {
  _mm256_storeu_si256((__m256i*)target, (__m256i)_mm512_cvtneps_pbh((__m512)value));
}

template <>
class TwoRows<Pair> {
 public:
  VIL_MM_INLINE TwoRows(Vector<float> first, Vector<float> second)
      : numbers_((__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first)) {}

  // Pairs of one number of each row.
  VIL_MM_INLINE void store_pairs(Pair* target) const {
    Vector<uint16_t> order;
    for (int i = 0; i < kLanes<Pair>; ++i) order[2 * i] = i, order[2 * i + 1] = i + kLanes<Pair>;
    store(target, (Vector<Pair>)_mm512_permutexvar_epi16((__m512i)order, numbers_));
  }
  VIL_MM_INLINE void store_rows(Pair* first, Pair* second) const {
    _mm256_storeu_si256((__m256i*)first, _mm512_castsi512_si256(numbers_));
    _mm256_storeu_si256((__m256i*)second, _mm512_extracti64x4_epi64(numbers_, 1));
  }

 private:
  __m512i numbers_;
};

// target[i] = (source[2 i], source[2 i + 1]), followed by zeros up to the next whole vector.
VIL_MM_INLINE void load_row(Pair* target, const c10::BFloat16* source, int count) {
  constexpr int numbers = 2 * kLanes<Pair>;
  int i = 0;
  for (; i + numbers <= count; i += numbers) __builtin_memcpy(target + i / 2, source + i, VIL_MM_VECTOR_BYTES);
  if (i == count) return;
  __builtin_memset(target + i / 2, 0, VIL_MM_VECTOR_BYTES);
  __builtin_memcpy(target + i / 2, source + i, (count - i) * sizeof(*source));
}

// target[i] = (first[i], second[i]), for rows of `count` numbers, up to the next whole vector.
VIL_MM_INLINE void pair_rows(Pair* target, const Pair* first, const Pair* second, int count) {
  constexpr int lanes = kLanes<Pair>;
  alignas(64) uint16_t low[2 * lanes], high[2 * lanes];
  for (int i = 0; i < lanes; ++i) {
    low[2 * i] = i, low[2 * i + 1] = i + 2 * lanes;
    high[2 * i] = i + lanes, high[2 * i + 1] = i + 3 * lanes;
  }
  for (int i = 0; i < count; i += 2 * lanes) {
    const __m512i a = _mm512_loadu_si512(first + i / 2), b = _mm512_loadu_si512(second + i / 2);
    _mm512_storeu_si512(target + i, _mm512_permutex2var_epi16(a, _mm512_load_si512(low), b));
    if (i + lanes < count)
      _mm512_storeu_si512(target + i + lanes, _mm512_permutex2var_epi16(a, _mm512_load_si512(high), b));
  }
}
#endif

}  // namespace
}  // namespace vil_mm
