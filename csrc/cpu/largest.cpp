#include "largest.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <utility>

namespace qwen3_vl {
namespace {

constexpr size_t first_block = 64, next_block = 16;  // numbers; of the latter each is a largest
constexpr size_t alone = 1 << 14;  // as many numbers are looked at before a thread is called

// A place and its number, so that the smallest comes first: in the upper half what grows as the
// number falls, zero for what is no number, and in the lower half the place.
uint64_t ranked(const float* x, size_t place) {
    const float number = x[place] + 0.0f;  // makes one of both zeros
    const auto bits = std::bit_cast<uint32_t>(number);
    const uint32_t rising = bits >> 31 ? ~bits : bits | 1u << 31;
    const uint32_t rank = std::isnan(number) ? 0 : ~rising;
    return uint64_t{rank} << 32 | place;
}

// The first of some that are ranked. Few are held while all others are looked at once.
std::vector<int64_t> first_of(std::vector<uint64_t> ranks, size_t count) {
    constexpr size_t few = 32;
    const auto begin = ranks.begin(), end = begin + static_cast<std::ptrdiff_t>(count);
    if (count <= few) {
        std::partial_sort(begin, end, ranks.end());
    } else {
        if (end != ranks.end()) std::nth_element(begin, end, ranks.end());
        std::sort(begin, end);
    }
    std::vector<int64_t> places(count);
    std::transform(begin, end, places.begin(),
                   [](uint64_t rank) { return static_cast<int64_t>(rank & 0xffffffff); });
    return places;
}

std::vector<int64_t> largest_of(const Kernels& kernels, const float* x, size_t width, size_t count);

// They lie in the blocks with the largest numbers, of which there need be no more than numbers
// asked for. What fills no block is looked at besides.
std::vector<int64_t> largest_by(const Kernels& kernels, const float* most, size_t block,
                                const float* x, size_t width, size_t count) {
    const size_t blocks = width / block;
    std::vector<uint64_t> ranks;
    ranks.reserve(std::min(width, count * block + width % block));
    const auto look_at = [&](size_t begin, size_t end) {
        for (size_t place = begin; place < end; ++place) ranks.push_back(ranked(x, place));
    };
    if (count >= blocks) {
        look_at(0, width);
        return first_of(std::move(ranks), count);
    }
    for (const int64_t number : largest_of(kernels, most, blocks, count)) {
        const size_t begin = static_cast<size_t>(number) * block;
        look_at(begin, begin + block);
    }
    look_at(blocks * block, width);
    return first_of(std::move(ranks), count);
}

std::vector<int64_t> largest_of(const Kernels& kernels, const float* x, size_t width,
                                size_t count) {
    std::vector<float> most(width / next_block);
    if (count < most.size()) kernels.maxima(x, next_block, most.size(), most.data());
    return largest_by(kernels, most.data(), next_block, x, width, count);
}

}  // namespace

Peaks::Peaks(const Kernels& kernels, Pool& pool, const float* x, size_t rows, size_t width)
    : kernels_(kernels),
      x_(x),
      width_(width),
      block_(first_block),
      most_(rows * (width / first_block)),
      stride_(width / first_block) {
    const auto look = [&](size_t part, size_t parts) {
        const size_t begin = stride_ * part / parts, end = stride_ * (part + 1) / parts;
        for (size_t row = 0; row < rows; ++row) {
            kernels.maxima(x + row * width + begin * block_, block_, end - begin,
                           most_.data() + row * stride_ + begin);
        }
    };
    const size_t threads = static_cast<size_t>(pool.threads());
    if (rows * width <= alone) {
        look(0, 1);
    } else {
        pool.run([&](int thread) { look(static_cast<size_t>(thread), threads); });
    }
}

Peaks::Peaks(const Kernels& kernels, const float* x, size_t width, size_t block,
             std::vector<float> most, size_t stride)
    : kernels_(kernels),
      x_(x),
      width_(width),
      block_(block),
      most_(std::move(most)),
      stride_(stride) {}

std::vector<int64_t> Peaks::largest(size_t row, size_t count) const {
    return largest_by(kernels_, most_.data() + row * stride_, block_, x_ + row * width_, width_,
                      count);
}

}  // namespace qwen3_vl
