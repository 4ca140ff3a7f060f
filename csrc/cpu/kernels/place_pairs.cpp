// Lays activations out in pairs, interleaved as products of tokens read them (layout.h).
#include "../kernels.h"
#include "../simd/simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

template <typename Any>
void place(const float* x, size_t inputs, size_t begin, size_t end, Any* out, size_t apart) {
    for (size_t at = begin * group_inputs; at < end * group_inputs; at += group_inputs) {
        float filled[group_inputs] = {};
        const size_t rest = at < inputs ? inputs - at : 0;
        memcpy(filled, x + at, (rest < group_inputs ? rest : group_inputs) * sizeof(float));
        Any pairs[group_inputs / pair];
        to_pairs(filled, pairs);
        for (size_t i = 0; i < group_inputs / pair; ++i) out[(at / pair + i) * apart] = pairs[i];
    }
}

}  // namespace

void place_float_pairs(const float* x, size_t inputs, size_t begin, size_t end, FloatPair* out,
                       size_t apart) {
    place(x, inputs, begin, end, out, apart);
}

void place_pairs(const float* x, size_t inputs, size_t begin, size_t end, void* out, size_t apart) {
    place(x, inputs, begin, end, static_cast<Pair*>(out), apart);
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
