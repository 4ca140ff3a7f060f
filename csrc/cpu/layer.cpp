#include "layer.h"

#include <algorithm>

namespace qwen3_vl {

// Queries lie behind what the projections made; what they see takes the place of the latter.
size_t Layer::room(size_t tokens) const {
    return tokens * std::max(into.outputs() + out.inputs, gate.outputs());
}

void run(const Kernels& kernels, Pool& pool, const Layer& layer, const Pass& pass,
         const float* turns, size_t tokens, float* stream, float* room) {
    const auto times = [&](const Matrices& matrices, const float* x, const Norm& norm,
                           const float* bias, float* out) {
        multiply(kernels, pool, {x, norm, tokens, matrices, bias, out});
    };
    const Norm none = {nullptr, nullptr, 0};
    float* const q = room + tokens * layer.into.outputs();
    times(layer.into, stream, layer.before_attention, layer.bias, room);
    remember(kernels, pool, pass, {room, turns, layer.q_norm, layer.k_norm, layer.eps}, q);
    attend(kernels, pool, pass, true, q, room, nullptr);
    times(layer.out, room, none, layer.out_bias, stream);
    times(layer.gate, stream, layer.before_mlp, nullptr, room);
    times(layer.down, room, none, nullptr, stream);
}

}  // namespace qwen3_vl
