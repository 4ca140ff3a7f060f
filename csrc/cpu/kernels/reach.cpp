// The most that a query could find in each page, by the bounds of its keys.
#include "../kernels.h"
#include "../simd/simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {

// Of some queries [rows, dim] that share a key head the largest product with any key that lies
// within the bounds of a page, for each of so many pages.
void reach(const Attention& all, size_t head, const float* q, size_t rows, size_t pages,
           float* most) {
    const PageShape& shape = all.shape;
    const size_t dim = shape.dim;
    for (size_t page = 0; page < pages; ++page) {
        const auto number = static_cast<size_t>(all.table[page]);
        const uint8_t* keys = all.pages + number * all.page_stride + head * shape.head_bytes();
        const auto* low = reinterpret_cast<const BFloat16*>(keys + shape.bounds_at());
        const BFloat16* high = low + dim;
        for (size_t row = 0; row < rows; ++row) {
            Vec sums = broadcast(0);
            for (size_t i = 0; i < dim; i += Vec::lanes) {
                const Vec one = load(q + row * dim + i);
                sums = sums + maximum(one * load(low + i), one * load(high + i));
            }
            const float found = sum(sums);
            if (row == 0 || found > most[page]) most[page] = found;
        }
    }
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
