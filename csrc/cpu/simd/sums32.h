// Where products are added up in 32 bits at once, int4 codes need no sums of their own. Included
// behind WideSums and what is done with them.
#pragma once

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

using Sums = WideSums;

inline Sums start(int32_t offsets) {
    return start_wide(static_cast<int16_t>(offsets) + (offsets >> 16));
}

inline void add_products(Sums& sums, const Quads& codes, int32_t quad) {
    add_wide(sums, codes, quad);
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
