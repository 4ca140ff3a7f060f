// Sixteen floats in an AVX-512 register (F, BW, DQ and VL: the set of every server since Skylake).
#pragma once

#include "../bfloat16.h"

#include <immintrin.h>
#include <stddef.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

struct Vec {
    static constexpr size_t lanes = 16;
    __m512 value;
};

inline Vec broadcast(float value) { return {_mm512_set1_ps(value)}; }
inline float sum(Vec v) { return _mm512_reduce_add_ps(v.value); }
inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.value, b.value)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.value, b.value)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.value, b.value)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.value, b.value)}; }
inline Vec maximum(Vec a, Vec b) { return {_mm512_max_ps(a.value, b.value)}; }
inline Vec minimum(Vec a, Vec b) { return {_mm512_min_ps(a.value, b.value)}; }
inline Vec absolute(Vec a) { return {_mm512_abs_ps(a.value)}; }
inline Vec nearest(Vec a) {
    return {_mm512_roundscale_ps(a.value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// v · 2^exponent, of a whole number between −127, where it gives zero, and 127. The number that it
// would give there has no leading one, and with each of those the processor takes 150 cycles.
inline Vec times_power_of_two(Vec v, Vec exponent) {
    const __mmask16 kept = _mm512_cmp_ps_mask(exponent.value, _mm512_set1_ps(-127), _CMP_NEQ_UQ);
    return {_mm512_maskz_scalef_ps(kept, v.value, exponent.value)};
}
inline Vec multiply_add(Vec a, Vec b, Vec c) {
    return {_mm512_fmadd_ps(a.value, b.value, c.value)};
}

inline Vec round_to_bfloat16(Vec v) {
    const __m512i bits = _mm512_castps_si512(v.value);
    const __m512i is_odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(is_odd, _mm512_set1_epi32(0x7fff));
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000));
    const __m512i rounded = _mm512_and_si512(_mm512_add_epi32(bits, half), upper);
    // The addition could carry a NaN over to zero.
    const __m512i nan = _mm512_set1_epi32(0x7fc00000);
    const __mmask16 is_nan = _mm512_cmp_ps_mask(v.value, v.value, _CMP_UNORD_Q);
    return {_mm512_castsi512_ps(_mm512_mask_mov_epi32(rounded, is_nan, nan))};
}

inline Vec load(const float* from) { return {_mm512_loadu_ps(from)}; }

inline Vec load(const BFloat16* from) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))};
}

inline Vec load(const int8_t* from) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))};
}

// Pairs of neighbours, the first of each and the second.
inline void load_pairs(const void* from, Vec& first, Vec& second) {
    const __m512i pairs = _mm512_loadu_si512(from);
    first = {_mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16))};
    second = {_mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(-65536)))};
}

inline float largest_of(Vec v) { return _mm512_reduce_max_ps(v.value); }

inline void store(float* to, Vec v) { _mm512_storeu_ps(to, v.value); }

// As the nearest integers; they fit.
inline void store(int8_t* to, Vec v) {
    const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v.value));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
}

inline void store(int16_t* to, Vec v) {
    const __m256i numbers = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(v.value));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), numbers);
}

inline void store(BFloat16* to, Vec v) {
    const __m512i wide = _mm512_srli_epi32(_mm512_castps_si512(round_to_bfloat16(v).value), 16);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(wide));
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
