// Products of small integers with AVX-VNNI: four products a lane and instruction, in 32 bits.
#pragma once

#include "codes256.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

constexpr bool one_scale = true;
constexpr size_t tile_tokens = 6, tile_panels = 1;
constexpr int largest_against_bytes = 127;

inline void add_wide(WideSums& sums, const Quads& codes, int32_t quad) {
    const __m256i x = _mm256_set1_epi32(quad);
    sums.first = _mm256_dpbusd_avx_epi32(sums.first, codes.first, x);
    sums.second = _mm256_dpbusd_avx_epi32(sums.second, codes.second, x);
}

// Of 16-bit numbers, two a lane.
inline void add_pairs(WideSums& sums, const Quads& pairs, int32_t pair) {
    const __m256i x = _mm256_set1_epi32(pair);
    sums.first = _mm256_dpwssd_avx_epi32(sums.first, pairs.first, x);
    sums.second = _mm256_dpwssd_avx_epi32(sums.second, pairs.second, x);
}

struct Scales {
    __m256 first, second;
};

inline Scales load_scales(const uint8_t* from) {
    const __m128i bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(from));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
}

// Exact: the products stay below 2^24.
inline Rows scaled(const WideSums& sums, const Scales& scales) {
    return {{{_mm256_mul_ps(_mm256_cvtepi32_ps(sums.first), scales.first)},
             {_mm256_mul_ps(_mm256_cvtepi32_ps(sums.second), scales.second)}}};
}

// Codes of 8 bits with one scale for the row: (s·(q − 8)) / 8 + 128 = (s·q + 4) / 8 + (128 − s),
// rounded, halves up. Products need 16 bits, so even and odd bytes go apart.
inline void unpack_line(const uint8_t* line, const uint8_t* group_scales, uint8_t* lower,
                        uint8_t* upper) {
    const __m256i mask = _mm256_set1_epi16(15), half = _mm256_set1_epi16(4);
    for (size_t side = 0; side < 2;
         ++side, line += 32, group_scales += 8, lower += 32, upper += 32) {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(group_scales));
        const __m256i wide = _mm256_cvtepu8_epi32(bytes);
        const __m256i scale = _mm256_or_si256(wide, _mm256_slli_epi32(wide, 16));
        const __m256i everywhere = _mm256_or_si256(scale, _mm256_slli_epi16(scale, 8));
        const __m256i shift = _mm256_sub_epi8(_mm256_set1_epi8(-128), everywhere);
        const auto eighth = [&](__m256i codes) {
            return _mm256_srli_epi16(_mm256_add_epi16(_mm256_mullo_epi16(codes, scale), half), 3);
        };
        const auto both = [&](__m256i even, __m256i odd) {
            const __m256i joined = _mm256_or_si256(eighth(even), _mm256_slli_epi16(eighth(odd), 8));
            return _mm256_add_epi8(joined, shift);
        };
        const __m256i q = _mm256_load_si256(reinterpret_cast<const __m256i*>(line));
        const __m256i second = _mm256_and_si256(_mm256_srli_epi16(q, 4), mask);
        const __m256i third = _mm256_and_si256(_mm256_srli_epi16(q, 8), mask);
        _mm256_store_si256(reinterpret_cast<__m256i*>(lower),
                           both(_mm256_and_si256(q, mask), third));
        _mm256_store_si256(reinterpret_cast<__m256i*>(upper),
                           both(second, _mm256_srli_epi16(q, 12)));
    }
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT

#include "sums32.h"
