// Where products are added up in 32 bits at once, int4 codes need no sums of their own. Included
// behind WideSums and what is done with them.
#pragma once

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

using Sums = WideSums;

// An offset as it is kept, of the first two activations of each quad and of the others; and all of
// it.
inline int32_t offset_of(int32_t lower, int32_t upper) { return lower + upper; }
inline int32_t whole(int32_t offset) { return offset; }

inline Sums start(int32_t offset) { return start_wide(offset); }

inline void add_products(Sums& sums, const Quads& codes, int32_t quad) {
    add_wide(sums, codes, quad);
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
