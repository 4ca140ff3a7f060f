// All layers of the decoder in one call, for tokens that are few.
#pragma once

#include "head.h"
#include "layer.h"
#include "rotation.h"

#include <vector>

namespace qwen3_vl {

// What stays from pass to pass; what it points to must outlive it.
struct Decoder {
    std::vector<Layer> layers;
    Rotation rotation;
    size_t words;
    const void* table;  // [words, hidden]: their embeddings
    const void* norm;   // RMSNorm's weights, after the last layer
    float eps;
    bool is_bf16;  // so are embeddings, the norm and what leaves it; else float32

    size_t hidden() const { return layers[0].into.inputs; }
    size_t room(size_t tokens) const;  // how many floats `run` works in
};

// Gives what leaves the norm [tokens, hidden] when these words come in, and where there is a head
// what that scores [tokens, words]; throws where there are no such words. The stretches of a layer
// lie behind those of the one before it, the first at `pass`.
void run(const Kernels& kernels, Pool& pool, const Decoder& decoder, Pass pass,
         const int64_t* words, const Positions& positions, size_t tokens, void* out,
         const Head* head, float* logits, float* room);

}  // namespace qwen3_vl
