// By what angles heads are turned.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace qwen3_vl {

// What it points to must outlive it.
struct Rotation {
    const int64_t* axes;       // [pairs]: which of its three positions turns a pair of a token
    const float* frequencies;  // [pairs]: by how much for each step
    size_t pairs;              // of dimensions of a head
    bool is_bf16;              // so are cosines and sines rounded
};

// [axes, tokens]: how far it is from an axis to the next, and from a token.
struct Positions {
    const int64_t* at;
    size_t axis, token;
};

// The cosines and then the sines of each token, [tokens, 2 · pairs], at its positions.
void turn(const Rotation& rotation, const Positions& positions, size_t tokens, float* turns);

}  // namespace qwen3_vl
