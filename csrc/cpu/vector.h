// Vectors of the instruction set that is being compiled for, VIL_MM_VECTOR_BYTES long. Not to be included elsewhere.
//
// Nothing here may call a standard-library function that would be compiled into this file: the linker might keep that
// copy for the whole program, on machines without its instruction set.
#pragma once

#include <type_traits>

#define VIL_MM_INLINE inline __attribute__((always_inline))

namespace vil_mm {
namespace {

template <typename T>
constexpr int kLanes = VIL_MM_VECTOR_BYTES / sizeof(T);

template <typename T>
struct VectorOf {
  typedef T type __attribute__((vector_size(VIL_MM_VECTOR_BYTES)));
};
template <typename T>
using Vector = typename VectorOf<T>::type;

// As long as T.
template <typename T>
using Integer = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;

template <typename T>
VIL_MM_INLINE Vector<T> load(const T* source) {
  Vector<T> value;
  __builtin_memcpy(&value, source, sizeof(value));
  return value;
}

template <typename T>
VIL_MM_INLINE void store(T* target, Vector<T> value) {
  __builtin_memcpy(target, &value, sizeof(value));
}

template <typename T>
VIL_MM_INLINE Vector<T> broadcast(T value) {
  return value - Vector<T>{};
}

template <typename T>
VIL_MM_INLINE T smaller(T a, T b) {
  return a < b ? a : b;
}
template <typename T>
VIL_MM_INLINE T larger(T a, T b) {
  return a > b ? a : b;
}
VIL_MM_INLINE int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Loads from a storage type, and stores to it, of a whole vector of the type that is computed in.

VIL_MM_INLINE Vector<float> load_as(const float* source, float) { return load(source); }
VIL_MM_INLINE Vector<double> load_as(const double* source, double) { return load(source); }

typedef uint16_t ShortVector __attribute__((vector_size(VIL_MM_VECTOR_BYTES / 2)));
typedef uint32_t WordVector __attribute__((vector_size(VIL_MM_VECTOR_BYTES)));

VIL_MM_INLINE Vector<float> load_as(const c10::BFloat16* source, float) {
  ShortVector bits;
  __builtin_memcpy(&bits, source, sizeof(bits));
  return (Vector<float>)(__builtin_convertvector(bits, WordVector) << 16);
}

VIL_MM_INLINE void store_as(float* target, Vector<float> value) { store(target, value); }
VIL_MM_INLINE void store_as(double* target, Vector<double> value) { store(target, value); }

VIL_MM_INLINE void store_as(c10::BFloat16* target, Vector<float> value) {
  const WordVector bits = (WordVector)value;
  const WordVector rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;  // to nearest, ties to even
  const WordVector quiet = (bits >> 16) | 0x40;
  const WordVector result = value == value ? rounded : quiet;
  const ShortVector shorts = __builtin_convertvector(result, ShortVector);
  __builtin_memcpy(target, &shorts, sizeof(shorts));
}

VIL_MM_INLINE Vector<float> load_as(const c10::Half* source, float) {
#if VIL_MM_VECTOR_BYTES == 64
  return (Vector<float>)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)source));
#elif VIL_MM_VECTOR_BYTES == 32
  return (Vector<float>)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)source));
#else
  Vector<float> value;
  for (int i = 0; i < kLanes<float>; ++i) value[i] = source[i];
  return value;
#endif
}

VIL_MM_INLINE void store_as(c10::Half* target, Vector<float> value) {
#if VIL_MM_VECTOR_BYTES == 64
  _mm256_storeu_si256((__m256i*)target, _mm512_cvtps_ph((__m512)value, _MM_FROUND_TO_NEAREST_INT));
#elif VIL_MM_VECTOR_BYTES == 32
  _mm_storeu_si128((__m128i*)target, _mm256_cvtps_ph((__m256)value, _MM_FROUND_TO_NEAREST_INT));
#else
  for (int i = 0; i < kLanes<float>; ++i) target[i] = value[i];
#endif
}

// target[i] = source[i], followed by zeros up to the next whole vector.
template <typename Real, typename T>
VIL_MM_INLINE void load_row(Real* target, const T* source, int count) {
  int i = 0;
  for (; i + kLanes<Real> <= count; i += kLanes<Real>) store(target + i, load_as(source + i, Real()));
  if (i == count) return;
  T rest[kLanes<Real>];
  __builtin_memset(rest, 0, sizeof(rest));
  __builtin_memcpy(rest, source + i, (count - i) * sizeof(T));
  store(target + i, load_as(rest, Real()));
}

// target[i] = factor * source[i]; the source may be read up to the next whole vector.
template <typename Real, typename T>
VIL_MM_INLINE void store_row(T* target, const Real* source, int count, Real factor) {
  int i = 0;
  for (; i + kLanes<Real> <= count; i += kLanes<Real>) store_as(target + i, factor * load(source + i));
  if (i == count) return;
  T rest[kLanes<Real>];
  store_as(rest, factor * load(source + i));
  __builtin_memcpy(target + i, rest, (count - i) * sizeof(T));
}

// target[i] = source[i], up to the next whole vector.
template <typename Real>
VIL_MM_INLINE void copy_vectors(Real* target, const Real* source, int count) {
  for (int i = 0; i < count; i += kLanes<Real>) store(target + i, load(source + i));
}

template <typename Real>
VIL_MM_INLINE void add_row(Real* target, const Real* source, int count) {
  int i = 0;
  for (; i + kLanes<Real> <= count; i += kLanes<Real>) store(target + i, load(target + i) + load(source + i));
  for (; i < count; ++i) target[i] += source[i];
}

// For each lane, the element of the two concatenated vectors that `lanes` names.
template <typename T>
VIL_MM_INLINE Vector<T> shuffle(Vector<T> first, Vector<T> second, Vector<Integer<T>> lanes) {
#if defined(__clang__)
  Vector<T> result;
  for (int i = 0; i < kLanes<T>; ++i) result[i] = lanes[i] < kLanes<T> ? first[lanes[i]] : second[lanes[i] - kLanes<T>];
  return result;
#else
  return __builtin_shuffle(first, second, lanes);
#endif
}

// A mask of lanes.
template <typename T>
VIL_MM_INLINE Vector<Integer<T>> first_lanes(Integer<T> count) {
  Vector<Integer<T>> lanes;
  for (int i = 0; i < kLanes<T>; ++i) lanes[i] = i;
  return lanes < count;
}

// target[i] += source[i]; the rest of the last vector is read, and written as it is.
template <typename Real>
VIL_MM_INLINE void add_vectors(Real* target, const Real* source, int count) {
  int i = 0;
  for (; i + kLanes<Real> <= count; i += kLanes<Real>) store(target + i, load(target + i) + load(source + i));
  if (i == count) return;
  const Vector<Real> added = first_lanes<Real>(count - i) ? load(source + i) : Vector<Real>{};
  store(target + i, load(target + i) + added);
}

// Moves the upper half of the first 2 * distance lanes to the lower one.
template <typename T, int distance>
VIL_MM_INLINE Vector<T> upper_half(Vector<T> value) {
  Vector<Integer<T>> lanes;
  for (int i = 0; i < kLanes<T>; ++i) lanes[i] = (i + distance) % kLanes<T>;
  return shuffle<T>(value, value, lanes);
}

template <typename Real, int distance = kLanes<Real> / 2>
VIL_MM_INLINE Real sum_lanes(Vector<Real> value) {
  value += upper_half<Real, distance>(value);
  if constexpr (distance > 1) return sum_lanes<Real, distance / 2>(value);
  return value[0];
}

template <typename Real>
VIL_MM_INLINE Vector<Real> larger_lanes(Vector<Real> a, Vector<Real> b) {
  return a > b ? a : b;
}

template <typename Real, int distance = kLanes<Real> / 2>
VIL_MM_INLINE Real largest_lane(Vector<Real> value) {
  value = larger_lanes<Real>(value, upper_half<Real, distance>(value));
  if constexpr (distance > 1) return largest_lane<Real, distance / 2>(value);
  return value[0];
}

// 2^x for results that are no infinity: x is split into an integer and a remainder of at most a half, whose Taylor
// series has `terms` terms; by default, it is cut off where they become smaller than rounding. Results below the
// smallest normal number may be 0, and 2^-inf is. NaN stays NaN.
template <typename Real>
struct PowerOfTwo;

template <>
struct PowerOfTwo<float> {
  static constexpr int kMantissaBits = 23, kTerms = 8;
  // 1.5 * 2^23 and the bias of exponents: adding it rounds to an integer, left in the low bits as an exponent
  static constexpr float kRound = 12582912.f + 127;
  static constexpr float kLowest = -127;  // the result is 0 from here on down: its exponent becomes that of 0
};
template <>
struct PowerOfTwo<double> {
  static constexpr int kMantissaBits = 52, kTerms = 14;
  static constexpr double kRound = 6755399441055744. + 1023;  // 1.5 * 2^52
  static constexpr double kLowest = -1023;
};

// Terms of the series for weights that are rounded to a storage type: the rest is less than a tenth of rounding.
template <typename T>
struct ExponentialTerms {
  static constexpr int value = PowerOfTwo<T>::kTerms;
};
template <>
struct ExponentialTerms<c10::Half> {
  static constexpr int value = 6;
};
template <>
struct ExponentialTerms<c10::BFloat16> {
  static constexpr int value = 5;
};

constexpr double kLn2 = 0.693147180559945309417, kLog2E = 1.44269504088896340736;

constexpr double taylor_coefficient(int n) { return n == 0 ? 1 : taylor_coefficient(n - 1) * kLn2 / n; }

template <typename Real, int terms, int n = 0>
VIL_MM_INLINE Vector<Real> taylor_sum(Vector<Real> x) {
  constexpr Real coefficient = taylor_coefficient(n);
  if constexpr (n + 1 == terms) {
    return broadcast(coefficient);
  } else {
    return taylor_sum<Real, terms, n + 1>(x) * x + coefficient;
  }
}

template <typename Real, int terms = PowerOfTwo<Real>::kTerms>
VIL_MM_INLINE Vector<Real> exp2(Vector<Real> x) {
  using Traits = PowerOfTwo<Real>;
  typedef Vector<Integer<Real>> Integers;
#if VIL_MM_VECTOR_BYTES == 64
  if constexpr (sizeof(Real) == 4) {  // with instructions for both parts, which need no lowest x
    const Vector<Real> rest = (Vector<Real>)_mm512_reduce_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT);
    const __m512 power = _mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT);
    return (Vector<Real>)_mm512_scalef_ps((__m512)taylor_sum<Real, terms>(rest), power);
  }
#endif
  x = larger_lanes<Real>(broadcast(Traits::kLowest), x);
  const Vector<Real> rounded = x + Traits::kRound;
  const Vector<Real> rest = x - (rounded - Traits::kRound);
  return taylor_sum<Real, terms>(rest) * (Vector<Real>)((Integers)rounded << Traits::kMantissaBits);
}

}  // namespace
}  // namespace vil_mm
