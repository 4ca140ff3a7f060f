// Unsigned codes of sixteen rows, and 32-bit sums of their products, in 256-bit registers.
#pragma once

#include "rows.h"

#include <immintrin.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

constexpr int32_t byte_zero = int8_zero;  // of bytes as products take them

// Sixteen rows of four unsigned codes.
struct Quads {
    __m256i first, second;  // rows 0…7, 8…15
};

inline Quads load_quads(const uint8_t* line) {
    const __m256i* from = reinterpret_cast<const __m256i*>(line);
    return {_mm256_load_si256(from), _mm256_load_si256(from + 1)};
}

// The same of 16-bit numbers, two a row.
inline Quads load_numbers(const int16_t* line) {
    return load_quads(reinterpret_cast<const uint8_t*>(line));
}

inline void load_nibbles(const uint8_t* line, Quads& lower, Quads& upper) {
    const __m256i mask = _mm256_set1_epi8(15);
    const Quads both = load_quads(line);
    lower = {_mm256_and_si256(both.first, mask), _mm256_and_si256(both.second, mask)};
    upper = {_mm256_and_si256(_mm256_srli_epi16(both.first, 4), mask),
             _mm256_and_si256(_mm256_srli_epi16(both.second, 4), mask)};
}

// Four quads whose codes are known by their upper two bits: in the middle of what they may be.
inline void load_upper(const uint8_t* line, Quads* quads) {
    const __m256i mask = _mm256_set1_epi8(12), middle = _mm256_set1_epi8(2);
    const Quads all = load_quads(line);
    const auto known = [&](__m256i bits) {
        return _mm256_or_si256(_mm256_and_si256(bits, mask), middle);
    };
    const auto half = [&](__m256i bits, __m256i Quads::* side) {
        quads[0].*side = known(_mm256_slli_epi16(bits, 2));
        quads[1].*side = known(bits);
        quads[2].*side = known(_mm256_srli_epi16(bits, 2));
        quads[3].*side = known(_mm256_srli_epi16(bits, 4));
    };
    half(all.first, &Quads::first);
    half(all.second, &Quads::second);
}

struct WideSums {
    __m256i first, second;
};

inline WideSums start_wide(int32_t offset) {
    const __m256i all = _mm256_set1_epi32(offset);
    return {all, all};
}

inline Rows to_rows(const WideSums& sums) {
    return {{{_mm256_cvtepi32_ps(sums.first)}, {_mm256_cvtepi32_ps(sums.second)}}};
}

// Two rows of sixteen small numbers as a line of pairs: 16 bits of the first row, 16 of the second.
inline void pair_up(const int8_t* first, const int8_t* second, int16_t* line) {
    const auto wide = [](const int8_t* row) {
        return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(row)));
    };
    for (size_t side = 0; side < 2; ++side, first += 8, second += 8, line += 16) {
        const __m256i lower = _mm256_and_si256(wide(first), _mm256_set1_epi32(0xffff));
        const __m256i upper = _mm256_slli_epi32(wide(second), 16);
        _mm256_store_si256(reinterpret_cast<__m256i*>(line), _mm256_or_si256(lower, upper));
    }
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
