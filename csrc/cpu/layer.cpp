#include "layer.h"

#include <algorithm>

namespace qwen3_vl {
namespace {

// Tokens that pass the MLP together: what lies between its products stays in the cache.
constexpr size_t together = 1024;

// All in parts of the same size: a small one at the end would be rounded as few tokens are.
size_t part_of(size_t tokens) {
    const size_t parts = (tokens + together - 1) / together;
    return (tokens + parts - 1) / parts;
}

}  // namespace

// Queries lie behind what the projections made; what they see takes the place of the latter.
size_t Layer::room(size_t tokens) const {
    return std::max(tokens * (into.outputs() + out.inputs), part_of(tokens) * first.outputs());
}

void run(const Kernels& kernels, Pool& pool, const Layer& layer, const Pass& pass,
         const float* turns, size_t tokens, float* stream, float* room) {
    const auto times = [&](const Matrices& matrices, const float* x, size_t count, const Norm& norm,
                           const float* bias, float* out) {
        multiply(kernels, pool, {x, norm, count, matrices, bias, out});
    };
    const Norm none = {nullptr, nullptr, 0};
    float* const q = room + tokens * layer.into.outputs();
    times(layer.into, stream, tokens, layer.before_attention, layer.into_bias, room);
    remember(kernels, pool, pass, {room, turns, layer.q_norm, layer.k_norm, layer.eps}, q);
    attend(kernels, pool, pass, layer.causal, q, room, nullptr);
    times(layer.out, room, tokens, none, layer.out_bias, stream);
    for (size_t at = 0, part = part_of(tokens); at < tokens; at += part) {
        const size_t count = std::min(part, tokens - at);
        float* const some = stream + at * layer.first.inputs;
        times(layer.first, some, count, layer.before_mlp, layer.first_bias, room);
        times(layer.second, room, count, none, layer.second_bias, some);
    }
}

}  // namespace qwen3_vl
