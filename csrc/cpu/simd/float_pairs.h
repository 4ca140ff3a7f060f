// Products of bfloat16 weights with float32 activations: a line of weights, first and second
// inputs apart.
#pragma once

#include "rows.h"

#include <string.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

inline void to_pairs(const float* group, FloatPair* pairs) {
    memcpy(pairs, group, group_inputs * sizeof(float));
}

// The weights of the first inputs of a line, or those of the second.
template <size_t side>
inline Rows load_side(const uint8_t* line) {
    Rows rows;
    for (size_t part = 0; part < Rows::parts; ++part) {
        Vec both[pair];
        load_pairs(line + part * Vec::lanes * sizeof(uint32_t), both[0], both[1]);
        rows.part[part] = both[side];
    }
    return rows;
}

// Adds the products of one side with the floats of some tokens. One side after the other: the
// weights of both would take too many registers.
template <size_t side, size_t tokens>
inline void add_side(Rows (&sums)[tokens], const uint8_t* line, const FloatPair* x) {
    const Rows weights = load_side<side>(line);
    for (size_t token = 0; token < tokens; ++token) {
        const Vec value = broadcast(x[token].of[side]);
        for (size_t part = 0; part < Rows::parts; ++part) {
            Vec& one = sums[token].part[part];
            one = multiply_add(weights.part[part], value, one);
        }
    }
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
