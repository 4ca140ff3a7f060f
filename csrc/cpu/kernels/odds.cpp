// How likely words are, relative to the likeliest: 2 to the power of their distances to it.
#include "../kernels.h"
#include "../simd/exponential.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {

void odds(const float* logits, size_t count, float best, float bits, float* out) {
    const auto likelihood = [&](Vec logit) {
        return exponential2((logit - broadcast(best)) * broadcast(bits));
    };
    size_t i = 0;
    for (; i + Vec::lanes <= count; i += Vec::lanes) store(out + i, likelihood(load(logits + i)));
    if (i < count) {
        store_first(out + i, likelihood(load_first(logits + i, count - i)), count - i);
    }
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
