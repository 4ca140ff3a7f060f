// The most that a query could find in each page, by the bounds of its keys.
#include "../kernels.h"
#include "../simd/ahead.h"
#include "../simd/simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

constexpr size_t pages_ahead = 8;  // whose bounds are on their way

}  // namespace

// Of some queries [rows, dim] that share a key head the largest product with any key that lies
// within the bounds of a page, for each of so many pages.
void reach(const Attention& all, size_t head, const float* q, size_t rows, size_t pages,
           float* most) {
    const PageShape& shape = all.shape;
    const size_t dim = shape.dim, bytes = shape.head_bytes() - shape.bounds_at();
    const auto bounds_of = [&](size_t page) {
        const auto number = static_cast<size_t>(all.table[page]);
        return all.pages + number * all.page_stride + head * shape.head_bytes() + shape.bounds_at();
    };
    for (size_t page = 0; page < pages; ++page) {
        if (page + pages_ahead < pages) ask_for(bounds_of(page + pages_ahead), bytes);
        const auto* low = reinterpret_cast<const BFloat16*>(bounds_of(page));
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
