// Which product comes after which, as it was the last time, and what is read of it first: threads
// that have nothing else to do bring that near.
#pragma once

#include <array>
#include <cstddef>
#include <unordered_map>
#include <vector>

namespace qwen3_vl {

struct Span {
    const unsigned char* at;
    std::size_t bytes;
};

// What one thread will read.
using Soon = std::array<Span, 4>;

class Foresight {
   public:
    // Told which product runs now; `first_reads()` finds what each thread reads of it first. Gives
    // that of the product that is likely to be next, or null.
    template <typename Find>
    const Soon* after(const void* product, const Find& first_reads) {
        if (known_.size() > most) known_.clear();
        Next& known = known_[latest_];
        if (known.product != product) known = {product, first_reads()};
        latest_ = product;
        const auto next = known_.find(product);
        return next == known_.end() ? nullptr : next->second.reads.data();
    }

   private:
    static constexpr std::size_t most = 4096;  // of products: weights that are gone are forgotten

    struct Next {
        const void* product = nullptr;
        std::vector<Soon> reads;  // of each thread
    };

    std::unordered_map<const void*, Next> known_;
    const void* latest_ = nullptr;
};

}  // namespace qwen3_vl
