// Products of small integers with AVX-512 VNNI: four products a lane and instruction, in 32 bits.
#pragma once

#include "codes512.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

constexpr bool one_scale = true;
constexpr size_t tile_tokens = 8, tile_panels = 2;
constexpr int largest_against_bytes = 127;

inline void add_wide(WideSums& sums, const Quads& codes, int32_t quad) {
    sums.all = _mm512_dpbusd_epi32(sums.all, codes.all, _mm512_set1_epi32(quad));
}

// Of 16-bit numbers, two a lane.
inline void add_pairs(WideSums& sums, const Quads& pairs, int32_t pair) {
    sums.all = _mm512_dpwssd_epi32(sums.all, pairs.all, _mm512_set1_epi32(pair));
}

struct Scales {
    __m512 all;
};

inline Scales load_scales(const uint8_t* from) {
    const __m128i bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(from));
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))};
}

// Exact: the products stay below 2^24.
inline Rows scaled(const WideSums& sums, const Scales& scales) {
    return {{{_mm512_mul_ps(_mm512_cvtepi32_ps(sums.all), scales.all)}}};
}

// Codes of 8 bits with one scale for the row: (s·(q − 8)) / 8 + 128 = (s·q + 4) / 8 + (128 − s),
// rounded, halves up. Products need 16 bits, so even and odd bytes go apart.
inline void unpack_line(const uint8_t* line, const uint8_t* group_scales, uint8_t* lower,
                        uint8_t* upper) {
    const __m128i bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(group_scales));
    const __m512i wide = _mm512_cvtepu8_epi32(bytes);
    const __m512i scale = _mm512_or_si512(wide, _mm512_slli_epi32(wide, 16));
    const __m512i everywhere = _mm512_or_si512(scale, _mm512_slli_epi16(scale, 8));
    const __m512i shift = _mm512_sub_epi8(_mm512_set1_epi8(-128), everywhere);
    const __m512i mask = _mm512_set1_epi16(15), half = _mm512_set1_epi16(4);
    const auto eighth = [&](__m512i codes) {
        return _mm512_srli_epi16(_mm512_add_epi16(_mm512_mullo_epi16(codes, scale), half), 3);
    };
    const auto both = [&](__m512i even, __m512i odd) {
        const __m512i joined = _mm512_or_si512(eighth(even), _mm512_slli_epi16(eighth(odd), 8));
        return _mm512_add_epi8(joined, shift);
    };
    const __m512i q = _mm512_load_si512(line);
    const __m512i second = _mm512_and_si512(_mm512_srli_epi16(q, 4), mask);
    const __m512i third = _mm512_and_si512(_mm512_srli_epi16(q, 8), mask);
    _mm512_store_si512(lower, both(_mm512_and_si512(q, mask), third));
    _mm512_store_si512(upper, both(second, _mm512_srli_epi16(q, 12)));
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT

#include "sums32.h"
