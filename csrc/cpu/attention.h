// Attention over pages, on all threads: first new tokens are remembered, then they attend.
#pragma once

#include "dispatch.h"
#include "pages.h"
#include "pool.h"

namespace qwen3_vl {

// The part of a pass that belongs to one sequence. Its page table has room for the new tokens.
struct Stretch {
    uint8_t* pages;        // page 0
    const int32_t* table;  // its pages
    size_t first, count;   // its tokens in this pass
    size_t held;           // how many it had before
};

// A pass over some sequences.
struct Pass {
    PageShape shape;
    size_t page_stride;  // bytes from one page to the next
    const Stretch* stretches;
    size_t count, heads;  // stretches; heads of queries

    size_t tokens() const { return stretches[count - 1].first + stretches[count - 1].count; }
};

// What the projections made of some of the new tokens, and what makes queries and keys of it.
struct Projected {
    size_t first, count;           // which tokens of the pass
    const float* qkv;              // [count, heads + 2 · key heads, dim]
    const float* turns;            // [tokens, dim]: cosines [dim / 2] and sines of each position
    const float *q_norm, *k_norm;  // [dim]; null: none
    float eps;
};

// Writes keys and values to their pages, and queries, ready to attend, to their place in `q`
// [tokens, heads, dim].
void remember(const Kernels& kernels, Pool& pool, const Pass& pass, const Projected& some,
              float* q);

// Each new token sees all that its sequence had, and those of the pass: up to itself, or if it is
// not `causal` all. Where the shape says that a token sees only some pages, this holds for those of
// a stretch of few. `out` is [tokens, heads, dim]; `log_sums` [tokens, heads] may be null.
void attend(const Kernels& kernels, Pool& pool, const Pass& pass, bool causal, const float* q,
            float* out, float* log_sums);

}  // namespace qwen3_vl
