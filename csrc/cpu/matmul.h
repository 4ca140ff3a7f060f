// Matrix products with packed weights, on all threads.
#pragma once

#include "dispatch.h"
#include "pool.h"

#include <vector>

namespace qwen3_vl {

enum class Format { int4, int4_halves, int8, bf16 };

struct Matrix {
    Format format;
    const uint8_t* panels;
    size_t rows;  // outputs; the last panel may be fuller than that
    // Of halves: few tokens meet the upper ones, and then these many panels with the largest
    // results in full; each token has its own.
    size_t promising = 0;
};

// What is done to a token before it is multiplied: RMSNorm, with a bias LayerNorm, or nothing.
struct Norm {
    const float *weight, *bias;
    float eps;
};

// Matrices of the same input, and what becomes of their results; what they point to must outlive
// them.
struct Matrices {
    std::vector<Matrix> all;  // all of them bf16, or none; one in halves is alone, and stored
    size_t inputs;
    Finish finish;

    // Columns of their results: with a gate those of one.
    size_t outputs() const {
        if (finish == Finish::gate) return all[0].rows;
        size_t rows = 0;
        for (const Matrix& one : all) rows += one.rows;
        return rows;
    }
};

struct Product {
    const float* x;  // [tokens, inputs]
    Norm norm;
    size_t tokens;
    const Matrices& matrices;
    const float* bias;  // null: none
    float* out;         // [tokens, outputs]
    // Null, or [tokens, panels] of a matrix that is alone and stored without bias: the largest
    // result of each panel, which only a few tokens tell.
    float* most = nullptr;
};

void multiply(const Kernels& kernels, Pool& pool, const Product& product);

}  // namespace qwen3_vl
