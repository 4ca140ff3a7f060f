#include "layer.h"

#include <algorithm>

namespace qwen3_vl {
namespace {

// Tokens that pass wide products together: what these make stays in the cache until it is used.
constexpr size_t together = 1024;

// All in parts of the same size: a small one at the end would be rounded as few tokens are.
size_t part_of(size_t tokens) {
    const size_t parts = (tokens + together - 1) / together;
    return (tokens + parts - 1) / parts;
}

}  // namespace

// Queries lie behind what the projections make of a part, and then what all tokens see.
size_t Layer::queries_at(size_t tokens) const {
    return std::max(part_of(tokens) * into.outputs(), tokens * out.inputs);
}

size_t Layer::room(size_t tokens) const {
    return std::max(queries_at(tokens) + tokens * out.inputs, part_of(tokens) * first.outputs());
}

void run(const Kernels& kernels, Pool& pool, const Layer& layer, const Pass& pass,
         const float* turns, size_t tokens, float* stream, float* room) {
    const auto times = [&](const Matrices& matrices, const float* x, size_t count, const Norm& norm,
                           const float* bias, float* out) {
        multiply(kernels, pool, {x, norm, count, matrices, bias, out});
    };
    const auto in_parts = [&](const auto& work) {
        for (size_t at = 0, part = part_of(tokens); at < tokens; at += part) {
            work(at, std::min(part, tokens - at), stream + at * layer.into.inputs);
        }
    };
    const Norm none = {nullptr, nullptr, 0};
    float* const q = room + layer.queries_at(tokens);
    in_parts([&](size_t at, size_t count, const float* some) {
        times(layer.into, some, count, layer.before_attention, layer.into_bias, room);
        const Projected made = {at, count, room, turns, layer.q_norm, layer.k_norm, layer.eps};
        remember(kernels, pool, pass, made, q);
    });
    attend(kernels, pool, pass, layer.causal, q, room, nullptr);
    times(layer.out, room, tokens, none, layer.out_bias, stream);
    in_parts([&](size_t, size_t count, float* some) {
        times(layer.first, some, count, layer.before_mlp, layer.first_bias, room);
        times(layer.second, room, count, none, layer.second_bias, some);
    });
}

}  // namespace qwen3_vl
