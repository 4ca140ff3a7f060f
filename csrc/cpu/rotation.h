// By what angles heads are turned.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace qwen3_vl {

constexpr size_t position_axes = 3;

// What it points to must outlive it.
struct Rotation {
    const int64_t* axes;       // [pairs]: which of its three positions turns a pair of a token
    const float* frequencies;  // [pairs]: by how much for each step
    size_t pairs;              // of dimensions of a head
    bool is_bf16;              // so are cosines and sines rounded
};

// The cosines and then the sines of each token, [tokens, 2 · pairs], at `positions` [tokens, 3].
void turn(const Rotation& rotation, const int64_t* positions, size_t tokens, float* turns);

}  // namespace qwen3_vl
