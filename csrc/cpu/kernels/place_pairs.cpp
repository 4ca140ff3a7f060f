// Lays activations out in pairs, interleaved as products of tokens read them (layout.h).
#include "../kernels.h"
#include "../simd/simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

// `place` tells where a pair goes.
template <typename Any, typename Place>
void lay_out(const float* x, size_t inputs, size_t begin, size_t end, Any* out,
             const Place& place) {
    for (size_t at = begin * group_inputs; at < end * group_inputs; at += group_inputs) {
        float filled[group_inputs] = {};
        const size_t rest = at < inputs ? inputs - at : 0;
        memcpy(filled, x + at, (rest < group_inputs ? rest : group_inputs) * sizeof(float));
        Any pairs[group_inputs / pair];
        to_pairs(filled, pairs);
        for (size_t i = 0; i < group_inputs / pair; ++i) out[place(at / pair + i)] = pairs[i];
    }
}

}  // namespace

void place_float_pairs(const float* x, size_t inputs, size_t begin, size_t end, FloatPair* out,
                       size_t apart) {
    lay_out(x, inputs, begin, end, out, [apart](size_t number) { return number * apart; });
}

void place_pairs(const float* x, size_t inputs, size_t groups, size_t token, void* tile) {
    lay_out(x, inputs, 0, groups, static_cast<Pair*>(tile),
            [token](size_t number) { return place_of(number, token); });
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
