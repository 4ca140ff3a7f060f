// A layer of the decoder or a block of the vision tower, whose weights are packed, over new tokens
// that attend in pages.
#pragma once

#include "attention.h"
#include "matmul.h"

namespace qwen3_vl {

// What stays from pass to pass; what it points to must outlive it.
struct Layer {
    Matrices into, out, first, second;  // queries, keys and values; what is attended to; the MLP
    Norm before_attention, before_mlp;
    const float *q_norm, *k_norm;  // [dim]; null: none
    float eps;
    const float *into_bias, *out_bias, *first_bias, *second_bias;  // null: none
    bool causal;

    // How many floats `run` works in, and behind how many of them queries lie.
    size_t room(size_t tokens) const;
    size_t queries_at(size_t tokens) const;
};

// Adds to `stream` [tokens, hidden] what attention and the MLP make of it.
void run(const Kernels& kernels, Pool& pool, const Layer& layer, const Pass& pass,
         const float* turns, size_t tokens, float* stream, float* room);

}  // namespace qwen3_vl
