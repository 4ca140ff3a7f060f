// Products of small integers in AVX-512 registers. Sums of pairs have 16 bits, which a group of
// int4 codes does not overflow: 8 · 2 · 15 · 127 = 30,480.
#pragma once

#include "codes512.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

constexpr bool one_scale = false;
constexpr size_t tile_tokens = 8, tile_panels = 2;
constexpr int largest_against_bytes = 63;  // 2 · 255 · 63 fits 16 bits

// An offset as it is kept: of the first two activations of each quad in the lower half, of the
// others in the upper one, as sums of pairs are; and all of it.
inline int32_t offset_of(int32_t lower, int32_t upper) {
    return static_cast<int32_t>((static_cast<uint32_t>(lower) & 0xffff) |
                                static_cast<uint32_t>(upper) << 16);
}
inline int32_t whole(int32_t offset) { return static_cast<int16_t>(offset) + (offset >> 16); }

struct Sums {
    __m512i all;
};

inline Sums start(int32_t offsets) { return {_mm512_set1_epi32(offsets)}; }

inline void add_products(Sums& sums, const Quads& codes, int32_t quad) {
    const __m512i products = _mm512_maddubs_epi16(codes.all, _mm512_set1_epi32(quad));
    sums.all = _mm512_add_epi16(sums.all, products);
}

// Group scales, each twice, as sums of pairs are multiplied.
struct Scales {
    __m512i all;
};

inline Scales load_scales(const uint8_t* from) {
    const __m128i bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(from));
    const __m512i wide = _mm512_cvtepi8_epi32(bytes);
    return {_mm512_or_si512(wide, _mm512_slli_epi32(wide, 16))};
}

inline void add_wide(WideSums& sums, const Quads& codes, int32_t quad) {
    const __m512i products = _mm512_maddubs_epi16(codes.all, _mm512_set1_epi32(quad));
    sums.all = _mm512_add_epi32(sums.all, _mm512_madd_epi16(products, _mm512_set1_epi16(1)));
}

// Of 16-bit numbers, two a lane.
inline void add_pairs(WideSums& sums, const Quads& pairs, int32_t pair) {
    const __m512i products = _mm512_madd_epi16(pairs.all, _mm512_set1_epi32(pair));
    sums.all = _mm512_add_epi32(sums.all, products);
}

inline void add_scaled(WideSums& totals, const Sums& sums, const Scales& scales) {
    totals.all = _mm512_add_epi32(totals.all, _mm512_madd_epi16(sums.all, scales.all));
}

inline Rows scaled(const Sums& sums, const Scales& scales) {
    return to_rows({_mm512_madd_epi16(sums.all, scales.all)});
}

// Codes stay as they are, each in a byte: group scales cost little here.
inline void unpack_line(const uint8_t* line, const uint8_t*, uint8_t* lower, uint8_t* upper) {
    Quads first, second;
    load_nibbles(line, first, second);
    _mm512_store_si512(lower, first.all);
    _mm512_store_si512(upper, second.all);
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
