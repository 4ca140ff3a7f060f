// What every variant offers: one function per op and number format.
#pragma once

#include "bfloat16.h"
#include "layout.h"
#include "pages.h"

#include <stddef.h>

namespace qwen3_vl {

template <typename T>
using RmsNorm = void(const T* x, const T* weight, T* out, size_t rows, size_t width, float eps);

using LayerNorm = void(const float* x, const float* weight, const float* bias, float* out,
                       size_t width, float eps);

// The product of a row with a token.
template <typename T>
using Dot = float(const T* row, const float* x, size_t count);

// What happens to the results of a matrix product before they are written. `gate` takes two
// matrices: silu of the first times the second.
enum class Finish { store, add, gelu, gate };

// Rounds some groups of one of a few tokens into their places. `most` is the largest code.
using RoundGroups = void(const float* x, size_t inputs, size_t begin, size_t end, int most,
                         size_t tokens, size_t token, const Rounded& out);

// Rounds one of many tokens as a whole into its place in its tile.
using RoundToken = void(const float* x, size_t inputs, size_t groups, int most, size_t token,
                        const Rounded& out);

// Multiplies one panel with one to eight tokens: out [tokens, stride].
using Few = void(const uint8_t* weights, size_t blocks, const Rounded& x, size_t tokens, float* out,
                 size_t stride);

// Makes a panel of int4 weights of its halves.
using JoinHalves = void(const uint8_t* upper, const uint8_t* lower, size_t blocks, uint8_t* panel);

// Unpacks a panel of int4 weights; `room` is for unpacked_bytes(blocks).
using Unpack = Panel(const uint8_t* weights, size_t blocks, uint8_t* room);

// Multiplies up to `many_panels` panels with the tokens of a tile, to which all in `x` belongs:
// block [tokens, width].
using Many = void(const Panel* weights, size_t panels, size_t quads, const Rounded& x,
                  size_t tokens, float* block, size_t width);

// Puts some groups of one of a few tokens into their places as pairs, `apart` from each other.
using PlaceFloatPairs = void(const float* x, size_t inputs, size_t begin, size_t end,
                             FloatPair* out, size_t apart);

// Puts one of many tokens as pairs into its place in its tile.
using PlacePairs = void(const float* x, size_t inputs, size_t groups, size_t token, void* tile);

// The same products with weights in bfloat16.
using FewPairs = void(const uint8_t* weights, size_t blocks, const FloatPair* x, size_t apart,
                      size_t tokens, float* out, size_t stride);
using ManyPairs = void(const uint8_t* const* weights, size_t panels, size_t blocks, const void* x,
                       size_t tokens, float* block, size_t width);

using WriteBlock = void(Finish how, const float* block, size_t tokens, size_t width,
                        const float* bias, float* out, size_t stride, size_t count);

// Normalises, rotates and scales one head.
using TurnHead = void(const float* x, const float* norm, float eps, const float* turns, size_t dim,
                      float factor, float* out);

// Puts the key and value of one head of one token into a page.
using WritePage = void(const PageShape& shape, const float* key, const float* value, uint8_t* page,
                       size_t head, size_t token);

// Attends with some queries that share a key head: up to eight, or over pages in 8 bits so many
// tiles of them; then `q` and `out` have room for whole tiles.
constexpr size_t attend_tiles = 16;
using Attend = void(const Attention& all, size_t head, const float* q, size_t rows,
                    const size_t* seen, float* out, float* log_sums);

// The most that some queries which share a key head could find in each of so many pages.
using Reach = void(const Attention& all, size_t head, const float* q, size_t rows, size_t pages,
                   float* most);

// The largest of each of so many blocks of numbers, NaN where there is one. A block is a multiple
// of 16 numbers.
using Maxima = void(const float* x, size_t block, size_t blocks, float* most);

// Of some logits 2 to the power of `bits` times their distance to the best, which is at most 0.
using Odds = void(const float* logits, size_t count, float best, float bits, float* out);

// Loops that do nothing but products or reads: the limits of the machine.
using Rounds = size_t(size_t rounds, float* left);
using ReadThrough = void(const float* from, size_t count, float* left);

struct Kernels {
    RmsNorm<float>* rms_norm_f32;
    RmsNorm<BFloat16>* rms_norm_bf16;
    LayerNorm* layer_norm;
    Dot<float>* dot_f32;
    Dot<BFloat16>* dot_bf16;
    RoundGroups* round_groups;
    RoundToken* round_token;
    Few *int4_few, *upper_few;  // the latter of int4 in halves, by the upper ones
    JoinHalves* join_halves;
    Few* int8_few;
    Unpack* unpack_int4;
    Many* many;
    PlaceFloatPairs* place_float_pairs;
    PlacePairs* place_pairs;  // `pair_bytes` each
    FewPairs* bf16_few;
    ManyPairs* bf16_many;
    WriteBlock* finish;
    TurnHead* turn_head;
    WritePage* write_page;
    Attend *attend, *attend_many;
    Reach* reach;
    Maxima* maxima;
    Odds* odds;
    Rounds *product_rounds, *float_rounds;
    ReadThrough* read_through;
    size_t many_tokens, many_panels;  // that one call of `many` takes at most
    size_t tile_tokens;               // queries that meet keys together
    size_t pair_bytes;
    int largest_against_bytes;  // the largest code of activations that int8 weights bear
};

}  // namespace qwen3_vl
