// Unsigned codes of sixteen rows, and 32-bit sums of their products, in 512-bit registers.
#pragma once

#include "rows.h"

#include <immintrin.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

constexpr int32_t byte_zero = int8_zero;  // of bytes as products take them

// Sixteen rows of four unsigned codes.
struct Quads {
    __m512i all;
};

inline Quads load_quads(const uint8_t* line) { return {_mm512_load_si512(line)}; }

// The same of 16-bit numbers, two a row.
inline Quads load_numbers(const int16_t* line) {
    return load_quads(reinterpret_cast<const uint8_t*>(line));
}

inline void load_nibbles(const uint8_t* line, Quads& lower, Quads& upper) {
    const __m512i mask = _mm512_set1_epi8(15);
    const Quads both = load_quads(line);
    lower = {_mm512_and_si512(both.all, mask)};
    upper = {_mm512_and_si512(_mm512_srli_epi16(both.all, 4), mask)};
}

// Four quads whose codes are known by their upper two bits: in the middle of what they may be.
inline void load_upper(const uint8_t* line, Quads* quads) {
    const __m512i mask = _mm512_set1_epi8(12), middle = _mm512_set1_epi8(2);
    const __m512i all = load_quads(line).all;
    const auto known = [&](__m512i bits) {
        return Quads{_mm512_or_si512(_mm512_and_si512(bits, mask), middle)};
    };
    quads[0] = known(_mm512_slli_epi16(all, 2));
    quads[1] = known(all);
    quads[2] = known(_mm512_srli_epi16(all, 2));
    quads[3] = known(_mm512_srli_epi16(all, 4));
}

struct WideSums {
    __m512i all;
};

inline WideSums start_wide(int32_t offset) { return {_mm512_set1_epi32(offset)}; }

inline Rows to_rows(const WideSums& sums) { return {{{_mm512_cvtepi32_ps(sums.all)}}}; }

// Two rows of sixteen small numbers as a line of pairs: 16 bits of the first row, 16 of the second.
inline void pair_up(const int8_t* first, const int8_t* second, int16_t* line) {
    const auto wide = [](const int8_t* row) {
        return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row)));
    };
    const __m512i lower = _mm512_and_si512(wide(first), _mm512_set1_epi32(0xffff));
    _mm512_store_si512(line, _mm512_or_si512(lower, _mm512_slli_epi32(wide(second), 16)));
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
