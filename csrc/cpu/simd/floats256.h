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
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.value, b.value)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.value, b.value)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.value, b.value)}; }
inline Vec maximum(Vec a, Vec b) { return {_mm256_max_ps(a.value, b.value)}; }
inline Vec minimum(Vec a, Vec b) { return {_mm256_min_ps(a.value, b.value)}; }
inline Vec absolute(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.value)}; }
inline Vec nearest(Vec a) {
    return {_mm256_round_ps(a.value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Vec times_power_of_two(Vec v, Vec exponent) {
    const __m256i biased =
        _mm256_add_epi32(_mm256_cvtps_epi32(exponent.value), _mm256_set1_epi32(127));
    return {_mm256_mul_ps(v.value, _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23)))};
}
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

inline Vec load(const int8_t* from) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))};
}

// Pairs of neighbours, the first of each and the second.
inline void load_pairs(const void* from, Vec& first, Vec& second) {
    const __m256i pairs = _mm256_loadu_si256(static_cast<const __m256i*>(from));
    first = {_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16))};
    second = {_mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(-65536)))};
}

inline float largest_of(Vec v) {
    const __m128 four =
        _mm_max_ps(_mm256_castps256_ps128(v.value), _mm256_extractf128_ps(v.value, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

inline void store(float* to, Vec v) { _mm256_storeu_ps(to, v.value); }

// As the nearest integers; they fit.
inline void store(int8_t* to, Vec v) {
    const __m256i wide = _mm256_cvtps_epi32(v.value);
    const __m128i halves =
        _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packs_epi16(halves, halves));
}

inline void store(int16_t* to, Vec v) {
    const __m256i wide = _mm256_cvtps_epi32(v.value);
    const __m128i numbers =
        _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), numbers);
}

inline void store(BFloat16* to, Vec v) {
    const __m256i wide = _mm256_srli_epi32(_mm256_castps_si256(round_to_bfloat16(v).value), 16);
    // Packing works in each 128-bit half: the wanted quarters are 0 and 2.
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(wide, wide), 0b1000);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(packed));
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
