// Packed weights times one to eight tokens: as fast as the weights come from memory.
//
// A token's result does not depend on how many there are: each has its own sums, in one order. So
// drafts are verified with the very numbers that decoding alone would give.
#include "../kernels.h"
#include "../simd/ahead.h"
#include "../simd/simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

// What each format adds for one group of inputs: rows of products, with the weights' group scales.
//
// Int4 lies in lines of whole codes, or of their upper halves alone.
struct Whole {
    static constexpr size_t quads = 2;
    static void load(const uint8_t* line, Quads* codes) { load_nibbles(line, codes[0], codes[1]); }
};

struct Upper {
    static constexpr size_t quads = 4;
    static void load(const uint8_t* line, Quads* codes) { load_upper(line, codes); }
};

template <typename Line>
struct Int4 {
    static constexpr size_t lines = group_inputs / (quad * Line::quads);
    static constexpr size_t scale_lines = 1;

    template <size_t tokens>
    static void add_group(const uint8_t* from, const uint8_t* group_scales, const int32_t* x,
                          const int32_t* offsets, Rows* products) {
        Sums sums[tokens];
        for (size_t token = 0; token < tokens; ++token) sums[token] = start(offsets[token]);
        for (size_t line = 0; line < lines; ++line, x += Line::quads * tokens) {
            ask_for(from + line * line_bytes);
            Quads codes[Line::quads];
            Line::load(from + line * line_bytes, codes);
            for (size_t token = 0; token < tokens; ++token) {
                for (size_t i = 0; i < Line::quads; ++i) {
                    add_products(sums[token], codes[i], x[i * tokens + token]);
                }
            }
        }
        const Scales scales = load_scales(group_scales);
        for (size_t token = 0; token < tokens; ++token) {
            products[token] = scaled(sums[token], scales);
        }
    }
};

struct Int8 {
    static constexpr size_t lines = group_inputs / quad;
    static constexpr size_t scale_lines = 0;

    template <size_t tokens>
    static void add_group(const uint8_t* from, const uint8_t*, const int32_t* x,
                          const int32_t* offsets, Rows* products) {
        WideSums sums[tokens];
        for (size_t token = 0; token < tokens; ++token) {
            const int32_t offset = whole(offsets[token]);
            sums[token] = start_wide(offset * (byte_zero / int4_zero));
        }
        for (size_t line = 0; line < lines; ++line, x += tokens) {
            ask_for(from + line * line_bytes);
            const Quads codes = load_quads(from + line * line_bytes);
            for (size_t token = 0; token < tokens; ++token) {
                add_wide(sums[token], codes, x[token]);
            }
        }
        for (size_t token = 0; token < tokens; ++token) products[token] = to_rows(sums[token]);
    }
};

template <typename Format, size_t tokens>
void panel(const uint8_t* weights, size_t blocks, const Rounded& x, float* out, size_t stride) {
    Rows totals[tokens];
    for (Rows& one : totals) {
        for (Vec& part : one.part) part = broadcast(0);
    }
    for (size_t block = 0; block < blocks; ++block) {
        const uint8_t* scales = weights + block_groups * Format::lines * line_bytes;
        for (size_t i = 0; i < block_groups; ++i) {
            const size_t group = block * block_groups + i;
            Rows products[tokens];
            Format::template add_group<tokens>(
                weights + i * Format::lines * line_bytes, scales + i * panel_rows,
                x.quads + group * group_inputs / 4 * tokens, x.offsets + group * tokens, products);
            for (size_t token = 0; token < tokens; ++token) {
                const Vec scale = broadcast(x.scales[group * tokens + token]);
                for (size_t part = 0; part < Rows::parts; ++part) {
                    Vec& total = totals[token].part[part];
                    total = multiply_add(products[token].part[part], scale, total);
                }
            }
        }
        if constexpr (Format::scale_lines > 0) ask_for(scales);
        weights = scales + Format::scale_lines * line_bytes;
    }
    const float* row_scales = reinterpret_cast<const float*>(weights);
    for (size_t token = 0; token < tokens; ++token) {
        for (size_t part = 0; part < Rows::parts; ++part) {
            const size_t at = part * Vec::lanes;
            store(out + token * stride + at, totals[token].part[part] * load(row_scales + at));
        }
    }
}

template <typename Format>
void by_tokens(const uint8_t* weights, size_t blocks, const Rounded& x, size_t tokens, float* out,
               size_t stride) {
    using Panel = void(const uint8_t*, size_t, const Rounded&, float*, size_t);
    static constexpr Panel* panels[] = {panel<Format, 1>, panel<Format, 2>, panel<Format, 3>,
                                        panel<Format, 4>, panel<Format, 5>, panel<Format, 6>,
                                        panel<Format, 7>, panel<Format, 8>};
    panels[tokens - 1](weights, blocks, x, out, stride);
}

}  // namespace

void int4_few(const uint8_t* weights, size_t blocks, const Rounded& x, size_t tokens, float* out,
              size_t stride) {
    by_tokens<Int4<Whole>>(weights, blocks, x, tokens, out, stride);
}

void upper_few(const uint8_t* weights, size_t blocks, const Rounded& x, size_t tokens, float* out,
               size_t stride) {
    by_tokens<Int4<Upper>>(weights, blocks, x, tokens, out, stride);
}

void int8_few(const uint8_t* weights, size_t blocks, const Rounded& x, size_t tokens, float* out,
              size_t stride) {
    by_tokens<Int8>(weights, blocks, x, tokens, out, stride);
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
