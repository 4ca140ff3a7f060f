#include "largest.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>
#include <vector>

namespace qwen3_vl {
namespace {

constexpr size_t block_numbers = 64;  // of which the largest is looked at first
constexpr size_t alone = 1 << 14;     // as many numbers are looked at before a thread is called

// Which of two places comes first.
class Before {
   public:
    explicit Before(const float* x) : x_(x) {}

    bool operator()(int64_t a, int64_t b) const {
        const float one = x_[a], other = x_[b];
        if (std::isnan(one) || std::isnan(other)) {
            return std::isnan(one) && (!std::isnan(other) || a < b);
        }
        return one > other || (one == other && a < b);
    }

   private:
    const float* x_;
};

// The first of some places, in order. Few are held while all others are looked at once.
void to_front(std::vector<int64_t>& places, size_t count, const Before& before) {
    constexpr size_t few = 32;
    const auto end = places.begin() + static_cast<std::ptrdiff_t>(count);
    if (count <= few) {
        std::partial_sort(places.begin(), end, places.end(), before);
        return;
    }
    if (end != places.end()) std::nth_element(places.begin(), end, places.end(), before);
    std::sort(places.begin(), end, before);
}

// Those of one row lie in the blocks with the largest maxima, of which there need be no more than
// numbers asked for. What fills no block is looked at besides.
void of_row(const float* x, size_t width, const float* most, size_t count, int64_t* found) {
    const size_t blocks = width / block_numbers;
    std::vector<int64_t> near(blocks), places;
    std::iota(near.begin(), near.end(), int64_t{0});
    const size_t kept = std::min(blocks, count);
    to_front(near, kept, Before(most));
    const auto look_at = [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) places.push_back(static_cast<int64_t>(i));
    };
    for (size_t i = 0; i < kept; ++i) {
        const size_t begin = static_cast<size_t>(near[i]) * block_numbers;
        look_at(begin, begin + block_numbers);
    }
    look_at(blocks * block_numbers, width);
    to_front(places, count, Before(x));
    std::copy_n(places.begin(), count, found);
}

}  // namespace

void largest(const Kernels& kernels, Pool& pool, const float* x, size_t rows, size_t width,
             size_t count, int64_t* places) {
    const std::lock_guard<std::mutex> turn(pool.turn());
    const size_t blocks = width / block_numbers, threads = static_cast<size_t>(pool.threads());
    auto* const most = static_cast<float*>(pool.room(rows * blocks * sizeof(float)));
    const auto look = [&](size_t part, size_t parts) {
        const size_t begin = blocks * part / parts, end = blocks * (part + 1) / parts;
        for (size_t row = 0; row < rows; ++row) {
            kernels.maxima(x + row * width + begin * block_numbers, block_numbers, end - begin,
                           most + row * blocks + begin);
        }
    };
    if (rows * width <= alone) {
        look(0, 1);
    } else {
        pool.run([&](int thread) { look(static_cast<size_t>(thread), threads); });
    }
    for (size_t row = 0; row < rows; ++row) {
        of_row(x + row * width, width, most + row * blocks, count, places + row * count);
    }
}

}  // namespace qwen3_vl
