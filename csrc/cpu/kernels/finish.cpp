// What happens to a block of results before it is written: bias, activation, residual.
#include "../kernels.h"
#include "../simd/exponential.h"
#include "../simd/simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

template <Finish how>
inline Vec finished(Vec value, Vec old, Vec other) {
    if constexpr (how == Finish::add) return old + value;
    if constexpr (how == Finish::gelu) return gelu_tanh(value);
    if constexpr (how == Finish::gate) return silu(value) * other;
    return value;
}

template <Finish how>
void rows(const float* block, size_t tokens, size_t width, const float* bias, float* out,
          size_t stride, size_t count) {
    for (size_t token = 0; token < tokens; ++token, block += width, out += stride) {
        for (size_t i = 0; i < count; i += Vec::lanes) {
            const size_t rest = count - i;
            const bool whole = rest >= Vec::lanes;
            Vec value = load(block + i);
            if (bias) value = value + (whole ? load(bias + i) : load_first(bias + i, rest));
            const Vec old = how != Finish::add ? broadcast(0)
                            : whole            ? load(out + i)
                                               : load_first(out + i, rest);
            const Vec other = how == Finish::gate ? load(block + panel_rows + i) : broadcast(0);
            const Vec result = finished<how>(value, old, other);
            if (whole) {
                store(out + i, result);
            } else {
                store_first(out + i, result, rest);
            }
        }
    }
}

}  // namespace

// The first `count` columns of a block [tokens, width] go to `out` [tokens, stride].
void finish(Finish how, const float* block, size_t tokens, size_t width, const float* bias,
            float* out, size_t stride, size_t count) {
    switch (how) {
        case Finish::store:
            return rows<Finish::store>(block, tokens, width, bias, out, stride, count);
        case Finish::add:
            return rows<Finish::add>(block, tokens, width, bias, out, stride, count);
        case Finish::gelu:
            return rows<Finish::gelu>(block, tokens, width, bias, out, stride, count);
        case Finish::gate:
            return rows<Finish::gate>(block, tokens, width, bias, out, stride, count);
    }
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
