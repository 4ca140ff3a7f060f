// What stands between the projections of a token and its attention: the norms of its heads, the
// rotation to its position, and the place of its key and value in a page.
#include "../kernels.h"
#include "../pages.h"
#include "../simd/simd.h"

#include <string.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
RmsNorm<float> rms_norm;
}

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

float largest_absolute(const float* x, size_t count) {
    Vec most = broadcast(0);
    for (size_t i = 0; i < count; i += Vec::lanes) most = maximum(most, absolute(load(x + i)));
    return largest_of(most);
}

// Rounds with one scale, which is given.
float round_all(const float* x, size_t count, int8_t* codes) {
    const float reach = largest_absolute(x, count);
    const Vec inverse = broadcast(reach > 0 ? 127 / reach : 0);
    for (size_t i = 0; i < count; i += Vec::lanes) store(codes + i, load(x + i) * inverse);
    return reach / 127;
}

// The token's place in a panel of keys: its row, and the first line of the panel.
template <typename T>
uint8_t* key_row(const PageShape& shape, uint8_t* keys, size_t token) {
    const size_t panel = token / panel_rows, row = token % panel_rows;
    return keys + panel * panel_rows * shape.dim * sizeof(T) + row * 4;
}

void write_int8(const PageShape& shape, const float* key, const float* value, uint8_t* keys,
                size_t token) {
    const size_t dim = shape.dim;
    uint8_t* values = keys + shape.half_bytes();
    int8_t codes[most_dim];
    reinterpret_cast<float*>(keys + page_tokens * dim)[token] = round_all(key, dim, codes);
    uint8_t* to = key_row<int8_t>(shape, keys, token);
    constexpr uint32_t zeros = int8_zero * 0x01010101u;
    for (size_t i = 0; i < dim; i += quad, to += line_bytes) {
        uint32_t four;
        memcpy(&four, codes + i, quad);
        four ^= zeros;  // as adding it to each
        memcpy(to, &four, quad);
    }
    int8_t* const row = reinterpret_cast<int8_t*>(values) + token * dim;
    reinterpret_cast<float*>(values + page_tokens * dim)[token] = round_all(value, dim, row);
}

void write_bf16(const PageShape& shape, const float* key, const float* value, uint8_t* keys,
                size_t token) {
    const size_t dim = shape.dim;
    BFloat16 rounded[most_dim];
    for (size_t i = 0; i < dim; i += Vec::lanes) store(rounded + i, load(key + i));
    uint8_t* to = key_row<BFloat16>(shape, keys, token);
    for (size_t i = 0; i < dim; i += 2, to += line_bytes) memcpy(to, rounded + i, 4);
    BFloat16* row = reinterpret_cast<BFloat16*>(keys + shape.half_bytes()) + token * dim;
    for (size_t i = 0; i < dim; i += Vec::lanes) store(row + i, load(value + i));
}

// Widens the bounds of a page by a key; the first one makes them.
void widen(const float* key, size_t dim, bool is_first, BFloat16* least) {
    BFloat16* const most = least + dim;
    for (size_t i = 0; i < dim; i += Vec::lanes) {
        const Vec one = load(key + i);
        store(least + i, is_first ? one : minimum(load(least + i), one));
        store(most + i, is_first ? one : maximum(load(most + i), one));
    }
}

}  // namespace

// One head: normalised if there is a norm, rotated by `turns` (cosines [dim / 2], then sines),
// times a factor.
void turn_head(const float* x, const float* norm, float eps, const float* turns, size_t dim,
               float factor, float* out) {
    float room[most_dim];
    const float* const normal = norm ? room : x;
    if (norm) rms_norm(x, norm, room, 1, dim, eps);
    const size_t half = dim / 2;
    const Vec scale = broadcast(factor);
    for (size_t i = 0; i < half; i += Vec::lanes) {
        const Vec cosine = load(turns + i) * scale, sine = load(turns + half + i) * scale;
        const Vec first = load(normal + i), second = load(normal + half + i);
        store(out + i, first * cosine - second * sine);
        store(out + half + i, second * cosine + first * sine);
    }
}

// Keys and values of one head of one token go to their place in its page.
void write_page(const PageShape& shape, const float* key, const float* value, uint8_t* page,
                size_t head, size_t token) {
    uint8_t* keys = page + head * shape.head_bytes();
    if (shape.format == KeyFormat::int8) {
        write_int8(shape, key, value, keys, token);
    } else {
        write_bf16(shape, key, value, keys, token);
    }
    if (!shape.sees) return;
    auto* const bounds = reinterpret_cast<BFloat16*>(keys + shape.bounds_at());
    widen(key, shape.dim, token == 0, bounds);
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
