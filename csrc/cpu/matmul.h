// Matrix products with packed weights, on all threads.
#pragma once

#include "dispatch.h"
#include "pool.h"

namespace qwen3_vl {

enum class Format { int4, int8, bf16 };

struct Matrix {
    Format format;
    const uint8_t* panels;
    size_t rows;  // outputs; the last panel may be fuller than that
};

// What is done to a token before it is multiplied: RMSNorm, with a bias LayerNorm, or nothing.
struct Norm {
    const float *weight, *bias;
    float eps;
};

struct Product {
    const float* x;  // [tokens, inputs]
    Norm norm;
    size_t tokens, inputs;
    const Matrix* matrices;  // of the same input; all of them bf16, or none
    size_t count;
    Finish finish;
    const float* bias;  // null: none
    float* out;         // [tokens, rows of all matrices], or with a gate [tokens, rows of one]
};

void multiply(const Kernels& kernels, Pool& pool, const Product& product);

}  // namespace qwen3_vl
