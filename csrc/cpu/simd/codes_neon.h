// Codes of sixteen rows, and 32-bit sums of their products, in 128-bit registers. ARM multiplies
// signed bytes with signed ones, so bytes lose their zero when they are read.
#pragma once

#include "rows.h"

#include <arm_neon.h>
#include <stdint.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

constexpr bool one_scale = true;
constexpr size_t tile_tokens = 6, tile_panels = 1;
constexpr int largest_against_bytes = 127;
constexpr int32_t byte_zero = 0;  // of bytes as products take them

// Sixteen rows of four signed codes, or of two numbers of 16 bits; a part holds four rows.
struct Quads {
    static constexpr size_t parts = line_bytes / 16;
    int8x16_t part[parts];
};

inline Quads load_quads(const uint8_t* line) {
    Quads quads;
    for (size_t i = 0; i < Quads::parts; ++i) {
        const uint8x16_t codes = veorq_u8(vld1q_u8(line + 16 * i), vdupq_n_u8(int8_zero));
        quads.part[i] = vreinterpretq_s8_u8(codes);
    }
    return quads;
}

inline Quads load_numbers(const int16_t* line) {
    Quads pairs;
    for (size_t i = 0; i < Quads::parts; ++i) {
        pairs.part[i] = vreinterpretq_s8_s16(vld1q_s16(line + 8 * i));
    }
    return pairs;
}

// These keep their zero: they fit as they are.
inline void load_nibbles(const uint8_t* line, Quads& lower, Quads& upper) {
    for (size_t i = 0; i < Quads::parts; ++i) {
        const uint8x16_t both = vld1q_u8(line + 16 * i);
        lower.part[i] = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
        upper.part[i] = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
    }
}

// Four quads whose codes are known by their upper two bits: in the middle of what they may be.
inline void load_upper(const uint8_t* line, Quads* quads) {
    const uint8x16_t mask = vdupq_n_u8(12), middle = vdupq_n_u8(2);
    const auto known = [&](uint8x16_t bits) {
        return vreinterpretq_s8_u8(vorrq_u8(vandq_u8(bits, mask), middle));
    };
    for (size_t i = 0; i < Quads::parts; ++i) {
        const uint8x16_t all = vld1q_u8(line + 16 * i);
        quads[0].part[i] = known(vshlq_n_u8(all, 2));
        quads[1].part[i] = known(all);
        quads[2].part[i] = known(vshrq_n_u8(all, 2));
        quads[3].part[i] = known(vshrq_n_u8(all, 4));
    }
}

struct WideSums {
    int32x4_t part[Quads::parts];
};

inline WideSums start_wide(int32_t offset) {
    const int32x4_t all = vdupq_n_s32(offset);
    return {{all, all, all, all}};
}

inline Rows to_rows(const WideSums& sums) {
    Rows rows;
    for (size_t i = 0; i < Rows::parts; ++i) rows.part[i] = {vcvtq_f32_s32(sums.part[i])};
    return rows;
}

struct Scales {
    int32x4_t part[Quads::parts];
};

inline Scales load_scales(const uint8_t* from) {
    const uint8x16_t bytes = vld1q_u8(from);
    const uint16x8_t lower = vmovl_u8(vget_low_u8(bytes)), upper = vmovl_u8(vget_high_u8(bytes));
    const auto wide = [](uint16x4_t four) { return vreinterpretq_s32_u32(vmovl_u16(four)); };
    return {{wide(vget_low_u16(lower)), wide(vget_high_u16(lower)), wide(vget_low_u16(upper)),
             wide(vget_high_u16(upper))}};
}

inline Rows scaled(const WideSums& sums, const Scales& scales) {
    Rows rows;
    for (size_t i = 0; i < Rows::parts; ++i) {
        rows.part[i] = {vcvtq_f32_s32(vmulq_s32(sums.part[i], scales.part[i]))};
    }
    return rows;
}

// Of 16-bit numbers, two a lane.
inline void add_pairs(WideSums& sums, const Quads& pairs, int32_t pair) {
    const int16x8_t x = vreinterpretq_s16_s32(vdupq_n_s32(pair));
    for (size_t i = 0; i < Quads::parts; ++i) {
        const int16x8_t numbers = vreinterpretq_s16_s8(pairs.part[i]);
        const int32x4_t lower = vmull_s16(vget_low_s16(numbers), vget_low_s16(x));
        const int32x4_t upper = vmull_high_s16(numbers, x);
        sums.part[i] = vaddq_s32(sums.part[i], vpaddq_s32(lower, upper));
    }
}

// Two rows of sixteen small numbers as a line of pairs: 16 bits of the first row, 16 of the second.
inline void pair_up(const int8_t* first, const int8_t* second, int16_t* line) {
    for (size_t i = 0; i < panel_rows; i += 8) {
        const int16x8_t a = vmovl_s8(vld1_s8(first + i)), b = vmovl_s8(vld1_s8(second + i));
        vst1q_s16(line + 2 * i, vzip1q_s16(a, b));
        vst1q_s16(line + 2 * i + 8, vzip2q_s16(a, b));
    }
}

// Codes of 8 bits with one scale for the row: (s·(q − 8)) / 8 + 128 = (s·q + 4) / 8 + (128 − s),
// rounded, halves up.
inline void unpack_line(const uint8_t* line, const uint8_t* group_scales, uint8_t* lower,
                        uint8_t* upper) {
    for (size_t row = 0; row < panel_rows; row += 4, line += 16, lower += 16, upper += 16) {
        uint32_t four;
        memcpy(&four, group_scales + row, sizeof four);
        const uint8x16_t scales = vreinterpretq_u8_u32(vdupq_n_u32(four));
        const uint8x16_t quads = vzip1q_u8(scales, scales);
        const uint8x16_t scale = vzip1q_u8(quads, quads);  // each four times
        const uint8x16_t shift = vsubq_u8(vdupq_n_u8(int8_zero), scale);
        const auto unpacked = [&](uint8x16_t codes) {
            const uint8x8_t first =
                vrshrn_n_u16(vmull_u8(vget_low_u8(codes), vget_low_u8(scale)), 3);
            return vaddq_u8(vrshrn_high_n_u16(first, vmull_high_u8(codes, scale), 3), shift);
        };
        const uint8x16_t both = vld1q_u8(line);
        vst1q_u8(lower, unpacked(vandq_u8(both, vdupq_n_u8(15))));
        vst1q_u8(upper, unpacked(vshrq_n_u8(both, 4)));
    }
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
