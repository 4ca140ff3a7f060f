// Rounds activations to signed 8 bits, interleaved as the products of tokens read them (layout.h).
#include "../kernels.h"
#include "../simd/simd.h"

#include <string.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

float largest(const float* x, size_t count) {
    Vec most = broadcast(0);
    size_t i = 0;
    for (; i + Vec::lanes <= count; i += Vec::lanes) most = maximum(most, absolute(load(x + i)));
    if (i < count) most = maximum(most, absolute(load_first(x + i, count - i)));
    return largest_of(most);
}

// Codes of one group of one token; gives what they sum up to, lane by lane.
Vec round_group(const float* x, size_t count, float inverse, int8_t* codes) {
    const Vec factor = broadcast(inverse);
    float padded[group_inputs] = {};
    if (count < group_inputs) {
        memcpy(padded, x, count * sizeof(float));
        x = padded;
    }
    Vec sums = broadcast(0);
    for (size_t i = 0; i < group_inputs; i += Vec::lanes) {
        const Vec whole = nearest(load(x + i) * factor);
        store(codes + i, whole);
        sums = sums + whole;
    }
    return sums;
}

// Its quads, `apart` from each other.
void place_group(const int8_t* codes, int32_t* quads, size_t apart) {
    for (size_t i = 0; i < group_inputs; i += quad) {
        memcpy(quads + i / quad * apart, codes + i, quad);
    }
}

int32_t offset_of(const int8_t* codes) {
    int32_t lower = 0, upper = 0;
    for (size_t i = 0; i < group_inputs; i += quad) {
        lower += codes[i] + codes[i + 1];
        upper += codes[i + 2] + codes[i + 3];
    }
    return offset_of(-int4_zero * lower, -int4_zero * upper);
}

size_t present(size_t inputs, size_t group) {
    const size_t begin = group * group_inputs;
    return begin >= inputs ? 0 : inputs - begin < group_inputs ? inputs - begin : group_inputs;
}

}  // namespace

void round_groups(const float* x, size_t inputs, size_t begin, size_t end, int most, size_t tokens,
                  size_t token, const Rounded& out) {
    for (size_t group = begin; group < end; ++group) {
        const float* from = x + group * group_inputs;
        const size_t count = present(inputs, group), at = group * tokens + token;
        const float reach = largest(from, count);
        const float inverse = reach > 0 ? static_cast<float>(most) / reach : 0;
        int8_t codes[group_inputs];
        round_group(from, count, inverse, codes);
        place_group(codes, out.quads + group * group_inputs / quad * tokens + token, tokens);
        out.offsets[at] = offset_of(codes);
        out.scales[at] = reach / static_cast<float>(most);
    }
}

void round_token(const float* x, size_t inputs, size_t groups, int most, size_t token,
                 const Rounded& out) {
    const float reach = largest(x, inputs);
    const float inverse = reach > 0 ? static_cast<float>(most) / reach : 0;
    constexpr size_t group_quads = group_inputs / quad, apart = many_run == 1 ? many_tokens : 1;
    static_assert(many_run == 1 || many_run % group_quads == 0, "a group lies together, or apart");
    const size_t first = token / many_tokens * groups;  // of the groups of its tile
    const size_t place = token % many_tokens;
    int32_t* const quads = out.quads + first * group_quads * many_tokens;
    Vec sums = broadcast(0);
    for (size_t group = 0; group < groups; ++group, x += group_inputs) {
        int8_t codes[group_inputs];
        sums = sums + round_group(x, present(inputs, group), inverse, codes);
        place_group(codes, quads + place_of(group * group_quads, place), apart);
        // With a scale for the row the sum of all is enough.
        if (!one_scale) out.offsets[(first + group) * many_tokens + place] = offset_of(codes);
    }
    out.sums[token] = static_cast<int32_t>(sum(sums));  // exact: all are whole and below 2^24
    out.scales[token] = reach / static_cast<float>(most);
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
