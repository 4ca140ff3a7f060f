// Eight floats in an AVX2 register.
#pragma once

#include "../bfloat16.h"

#include <immintrin.h>
#include <stddef.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

struct Vec {
    static constexpr size_t lanes = 8;
    __m256 value;
};

inline Vec broadcast(float value) { return {_mm256_set1_ps(value)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.value, b.value)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.value, b.value)}; }
inline Vec multiply_add(Vec a, Vec b, Vec c) {
    return {_mm256_fmadd_ps(a.value, b.value, c.value)};
}

inline float sum(Vec v) {
    const __m128 four =
        _mm_add_ps(_mm256_castps256_ps128(v.value), _mm256_extractf128_ps(v.value, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

inline Vec round_to_bfloat16(Vec v) {
    const __m256i bits = _mm256_castps_si256(v.value);
    const __m256i is_odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(is_odd, _mm256_set1_epi32(0x7fff));
    const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000));
    const __m256i rounded = _mm256_and_si256(_mm256_add_epi32(bits, half), upper);
    // The addition could carry a NaN over to zero.
    const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
    const __m256 is_nan = _mm256_cmp_ps(v.value, v.value, _CMP_UNORD_Q);
    return {_mm256_blendv_ps(_mm256_castsi256_ps(rounded), nan, is_nan)};
}

inline Vec load(const float* from) { return {_mm256_loadu_ps(from)}; }

inline Vec load(const BFloat16* from) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16))};
}

inline void store(float* to, Vec v) { _mm256_storeu_ps(to, v.value); }

inline void store(BFloat16* to, Vec v) {
    const __m256i wide = _mm256_srli_epi32(_mm256_castps_si256(round_to_bfloat16(v).value), 16);
    // Packing works in each 128-bit half: the wanted quarters are 0 and 2.
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(wide, wide), 0b1000);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(packed));
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
