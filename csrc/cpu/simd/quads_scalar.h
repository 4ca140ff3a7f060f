// Products of small integers, one after the other.
#pragma once

#include "rows.h"

#include <string.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

constexpr bool one_scale = true;
constexpr size_t tile_tokens = 4, tile_panels = 1;
constexpr int largest_against_bytes = 127;
constexpr int32_t byte_zero = int8_zero;  // of bytes as products take them

// Sixteen rows of four unsigned codes.
struct Quads {
    uint8_t code[4 * panel_rows];
};

inline Quads load_quads(const uint8_t* line) {
    Quads quads;
    memcpy(quads.code, line, sizeof quads.code);
    return quads;
}

// The same of 16-bit numbers, two a row.
inline Quads load_numbers(const int16_t* line) {
    return load_quads(reinterpret_cast<const uint8_t*>(line));
}

inline void load_nibbles(const uint8_t* line, Quads& lower, Quads& upper) {
    for (size_t i = 0; i < sizeof lower.code; ++i) {
        lower.code[i] = line[i] & 15;
        upper.code[i] = line[i] >> 4;
    }
}

// Four quads whose codes are known by their upper two bits: in the middle of what they may be.
inline void load_upper(const uint8_t* line, Quads* quads) {
    for (size_t i = 0; i < sizeof quads->code; ++i) {
        for (size_t quad = 0; quad < 4; ++quad) {
            quads[quad].code[i] = static_cast<uint8_t>((line[i] >> 2 * quad & 3) << 2 | 2);
        }
    }
}

struct WideSums {
    int32_t row[panel_rows];
};

inline WideSums start_wide(int32_t offset) {
    WideSums sums;
    for (int32_t& row : sums.row) row = offset;
    return sums;
}

inline void add_wide(WideSums& sums, const Quads& codes, int32_t quad) {
    int8_t x[4];
    memcpy(x, &quad, sizeof x);
    for (size_t i = 0; i < sizeof codes.code; ++i) sums.row[i / 4] += codes.code[i] * x[i % 4];
}

// Of 16-bit numbers, two a lane.
inline void add_pairs(WideSums& sums, const Quads& pairs, int32_t pair) {
    int16_t x[2], numbers[2 * panel_rows];
    memcpy(x, &pair, sizeof x);
    memcpy(numbers, pairs.code, sizeof numbers);
    for (size_t i = 0; i < 2 * panel_rows; ++i) sums.row[i / 2] += numbers[i] * x[i % 2];
}

// Two rows of sixteen small numbers as a line of pairs.
inline void pair_up(const int8_t* first, const int8_t* second, int16_t* line) {
    for (size_t i = 0; i < panel_rows; ++i) {
        line[2 * i] = first[i];
        line[2 * i + 1] = second[i];
    }
}

inline Rows rows_of(const float* values) {
    Rows rows;
    for (size_t i = 0; i < Rows::parts; ++i) rows.part[i] = load(values + i * Vec::lanes);
    return rows;
}

inline Rows to_rows(const WideSums& sums) {
    float values[panel_rows];
    for (size_t i = 0; i < panel_rows; ++i) values[i] = static_cast<float>(sums.row[i]);
    return rows_of(values);
}

struct Scales {
    const uint8_t* row;
};

inline Scales load_scales(const uint8_t* from) { return {from}; }

inline Rows scaled(const WideSums& sums, Scales scales) {
    float values[panel_rows];
    for (size_t i = 0; i < panel_rows; ++i) {
        values[i] = static_cast<float>(sums.row[i] * scales.row[i]);
    }
    return rows_of(values);
}

// Codes of 8 bits with one scale for the row: s·(q − 8) / 8 + 128, rounded, halves up.
inline void unpack_line(const uint8_t* line, const uint8_t* group_scales, uint8_t* lower,
                        uint8_t* upper) {
    for (size_t i = 0; i < line_bytes; ++i) {
        const uint32_t scale = group_scales[i / 4];
        lower[i] = static_cast<uint8_t>((scale * (line[i] & 15) + 4) / 8 + 128 - scale);
        upper[i] = static_cast<uint8_t>((scale * (line[i] >> 4) + 4) / 8 + 128 - scale);
    }
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT

#include "sums32.h"
