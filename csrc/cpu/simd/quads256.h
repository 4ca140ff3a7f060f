// Products of small integers in AVX2 registers. Sums of pairs have 16 bits, which a group of int4
// codes does not overflow: 8 · 2 · 15 · 127 = 30,480.
#pragma once

#include "codes256.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

constexpr bool one_scale = false;
constexpr size_t tile_tokens = 6, tile_panels = 1;
constexpr int largest_against_bytes = 63;  // 2 · 255 · 63 fits 16 bits

// An offset as it is kept: of the first two activations of each quad in the lower half, of the
// others in the upper one, as sums of pairs are; and all of it.
inline int32_t offset_of(int32_t lower, int32_t upper) {
    return static_cast<int32_t>((static_cast<uint32_t>(lower) & 0xffff) |
                                static_cast<uint32_t>(upper) << 16);
}
inline int32_t whole(int32_t offset) { return static_cast<int16_t>(offset) + (offset >> 16); }

struct Sums {
    __m256i first, second;
};

inline Sums start(int32_t offsets) {
    const __m256i both = _mm256_set1_epi32(offsets);
    return {both, both};
}

// Adds 16-bit and 32-bit numbers in place and in the order of the program: the compiler would
// choose another order, which needs more registers than there are, and copy what it adds to.
// Values, not references: what is referred to stays in memory.
inline __m256i add_16(__m256i sum, __m256i value) {
#if defined(__GNUC__)
    __asm__ volatile("vpaddw %1, %0, %0" : "+x"(sum) : "x"(value));
    return sum;
#else
    return _mm256_add_epi16(sum, value);
#endif
}

inline __m256i add_32(__m256i sum, __m256i value) {
#if defined(__GNUC__)
    __asm__ volatile("vpaddd %1, %0, %0" : "+x"(sum) : "x"(value));
    return sum;
#else
    return _mm256_add_epi32(sum, value);
#endif
}

inline void add_products(Sums& sums, const Quads& codes, int32_t quad) {
    const __m256i x = _mm256_set1_epi32(quad);
    sums.first = add_16(sums.first, _mm256_maddubs_epi16(codes.first, x));
    sums.second = add_16(sums.second, _mm256_maddubs_epi16(codes.second, x));
}

// Group scales, each twice, as sums of pairs are multiplied.
struct Scales {
    __m256i first, second;
};

inline Scales load_scales(const uint8_t* from) {
    const __m128i bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(from));
    const __m256i first = _mm256_cvtepi8_epi32(bytes);
    const __m256i second = _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8));
    return {_mm256_or_si256(first, _mm256_slli_epi32(first, 16)),
            _mm256_or_si256(second, _mm256_slli_epi32(second, 16))};
}

inline void add_wide(WideSums& sums, const Quads& codes, int32_t quad) {
    const __m256i x = _mm256_set1_epi32(quad), ones = _mm256_set1_epi16(1);
    const auto products = [&](__m256i some) {
        return _mm256_madd_epi16(_mm256_maddubs_epi16(some, x), ones);
    };
    sums.first = add_32(sums.first, products(codes.first));
    sums.second = add_32(sums.second, products(codes.second));
}

// Of 16-bit numbers, two a lane.
inline void add_pairs(WideSums& sums, const Quads& pairs, int32_t pair) {
    const __m256i x = _mm256_set1_epi32(pair);
    sums.first = add_32(sums.first, _mm256_madd_epi16(pairs.first, x));
    sums.second = add_32(sums.second, _mm256_madd_epi16(pairs.second, x));
}

inline void add_scaled(WideSums& totals, const Sums& sums, const Scales& scales) {
    totals.first = _mm256_add_epi32(totals.first, _mm256_madd_epi16(sums.first, scales.first));
    totals.second = _mm256_add_epi32(totals.second, _mm256_madd_epi16(sums.second, scales.second));
}

inline Rows scaled(const Sums& sums, const Scales& scales) {
    return to_rows({_mm256_madd_epi16(sums.first, scales.first),
                    _mm256_madd_epi16(sums.second, scales.second)});
}

inline void store_quads(uint8_t* line, const Quads& quads) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(line), quads.first);
    _mm256_store_si256(reinterpret_cast<__m256i*>(line + 32), quads.second);
}

// Codes stay as they are, each in a byte: group scales cost little here.
inline void unpack_line(const uint8_t* line, const uint8_t*, uint8_t* lower, uint8_t* upper) {
    Quads first, second;
    load_nibbles(line, first, second);
    store_quads(lower, first);
    store_quads(upper, second);
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
