// The head: what each word scores.
#pragma once

#include "matmul.h"

namespace qwen3_vl {

// Words are scored with packed weights, and the likeliest of each token, so many as `refined` says,
// again with the table that was packed; what it points to must outlive it.
struct Head {
    Matrices matrix;    // alone, and stored
    const void* table;  // [words, inputs]; null: nothing is refined
    bool is_bf16;       // so is the table; else float32
    size_t refined;
};

void score(const Kernels& kernels, Pool& pool, const Head& head, const float* x, size_t tokens,
           float* logits);

}  // namespace qwen3_vl
