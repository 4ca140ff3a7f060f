// How packed weights and rounded activations lie in memory: the same for every variant.
//
// Weights come in panels of 16 rows (outputs), so that one register holds one weight of each row.
// Codes are unsigned; one is the zero. Inputs are filled up with zeros to blocks of 128.
//
// Int4 — w = row_scale · group_scale · (code − 8), codes 0…15, group scales 1…127 for 32 inputs.
// A panel is one block for each 128 inputs, then 16 row scales (float32). A block is 17 lines:
//
//     16 × 64 bytes   byte 4·row + i of line j: code of input 8j + i, and of 8j + 4 + i above it
//     64 bytes        group scales (int8): 16 rows of the first group, 16 of the second, …
//
// Int4 in halves — the same codes, the upper two bits of each apart from the lower two, so that a
// first look at many rows reads little more than half. A panel of upper halves is 8 lines of codes
// and the line of group scales for each 128 inputs, then the row scales; one of lower halves is its
// lines of codes alone. Byte 4·row + i of line j holds bits of inputs 16j + i, 16j + 4 + i,
// 16j + 8 + i and 16j + 12 + i, the first lowest. All upper panels come before all lower ones.
//
// Int8 — w = row_scale · (code − 128), codes 1…255. A panel is one line of 64 bytes for each 4
// inputs (byte 4·row + i: code of input i), then 16 row scales (float32).
//
// Bf16 — w as it is. A panel is one line of 64 bytes for each 2 inputs (number 2·row + i: of input
// i), and nothing else.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace qwen3_vl {

constexpr size_t panel_rows = 16;
constexpr size_t line_bytes = 64;
constexpr size_t quad = 4;  // inputs whose products one instruction adds up
constexpr size_t pair = 2;  // the same of bfloat16
constexpr size_t few = 8;   // tokens for which time goes by bytes read, not by products

constexpr size_t group_inputs = 32;
constexpr size_t block_inputs = 128;
constexpr size_t block_groups = block_inputs / group_inputs;
constexpr size_t block_lines = block_inputs / 8;
constexpr size_t block_bytes = (block_lines + 1) * line_bytes;
constexpr size_t half_lines = block_lines / 2;
constexpr size_t upper_block_bytes = (half_lines + 1) * line_bytes;

constexpr int32_t int4_zero = 8, int8_zero = 128;

// Activations in 8 bits, signed, in quads: four of one token, then those of the next token. Of many
// tokens as many quads of one lie together as the variant's products take at once, mostly one.
//
// Offsets are what the zero of int4 codes takes away: −8 · the sum of a group's activations, kept
// as the variant's sums want them.
//
// Up to eight tokens have scales for each group; more come in tiles, and have one for each token.
struct Rounded {
    int32_t* quads;    // few: [inputs / 4][tokens]; many: [tiles][inputs / 4 / run][tokens][run]
    int32_t* offsets;  // [inputs / 32][tokens]; [tiles][inputs / 32][tokens of a tile]
    float* scales;     // [inputs / 32][tokens]; [tokens]
    int32_t* sums = nullptr;  // of many tokens: of all codes of each
};

// Activations for weights in bfloat16, in pairs that lie as quads do. Up to eight tokens keep their
// float32 numbers; more of them are rounded to bfloat16 where a variant multiplies that.
struct FloatPair {
    float of[pair];
};

// Unsigned 8-bit codes of a panel's weights, as products with many tokens read them.
struct Panel {
    const uint8_t* codes;     // [inputs / 4][16][4]
    const uint8_t* scales;    // of groups [inputs / 32][16]; null: codes are 8-bit, with row scales
    const float* row_scales;  // [16]
};

constexpr size_t unpacked_bytes(size_t blocks) {
    return blocks * (block_inputs * panel_rows + line_bytes) + panel_rows * sizeof(float);
}

}  // namespace qwen3_vl
