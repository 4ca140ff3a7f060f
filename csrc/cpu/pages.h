// The page: the keys and values of 32 tokens, of one layer and one sequence.
//
// A cache is an array of pages, and a sequence a list of their numbers, so pages can be shared,
// copied when they are written to, dropped and moved. A page holds its key heads one after the
// other. For a head, in 8 bits:
//
//     keys          two panels of 16 tokens, as int8 weights: [dim / 4][16][4] codes, 128 is zero
//     key scales    [32] float32: of each token
//     values        [32][dim] codes (int8)
//     value scales  [32] float32
//
// and in bfloat16:
//
//     keys          two panels of 16 tokens: [dim / 2][16][2]
//     values        [32][dim]
//
// Where a token sees only some pages, these follow, by which they are chosen:
//
//     bounds        [2][dim] bfloat16: the least and the most of each dimension of all keys
#pragma once

#include "bfloat16.h"
#include "layout.h"

namespace qwen3_vl {

constexpr size_t page_tokens = 32;
constexpr size_t page_panels = page_tokens / panel_rows;

enum class KeyFormat { int8, bf16 };

struct PageShape {
    KeyFormat format;
    size_t heads, dim;  // dim is a multiple of 32
    size_t sees;        // so many pages does a token see that comes with few others; 0: all

    PageShape(KeyFormat format, size_t heads, size_t dim, size_t sees)
        : format(format), heads(heads), dim(dim), sees(sees) {}

    size_t number_bytes() const { return format == KeyFormat::int8 ? 1 : 2; }
    size_t half_bytes() const {  // keys, or values, of a head
        const size_t scales = format == KeyFormat::int8 ? page_tokens * sizeof(float) : 0;
        return page_tokens * dim * number_bytes() + scales;
    }
    size_t bounds_at() const { return 2 * half_bytes(); }  // bytes from the first key of a head
    size_t head_bytes() const { return bounds_at() + (sees ? 2 * dim * sizeof(BFloat16) : 0); }
    size_t bytes() const { return heads * head_bytes(); }
};

constexpr size_t most_dim = 256;

// The pages of one sequence in one layer.
struct Attention {
    PageShape shape;
    const uint8_t* pages;
    size_t page_stride;    // bytes from one page to the next
    const int32_t* table;  // numbers of the sequence's pages
};

}  // namespace qwen3_vl
