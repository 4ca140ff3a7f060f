#include "sampling.h"

#include "largest.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

namespace qwen3_vl {
namespace {

constexpr size_t at_first = 64, more = 8;  // likeliest words: as many, then times as many
constexpr double log2_e = 1.4426950408889634;
constexpr double smallest = std::numeric_limits<float>::min();  // that temperatures count as

// What may be drawn of all words, and its odds relative to the likeliest.
class Candidates {
   public:
    Candidates(const Kernels& kernels, Pool& pool, const float* logits, size_t words,
               double temperature)
        : kernels_(kernels),
          pool_(pool),
          logits_(logits),
          all_(words),
          peaks_(kernels, pool, logits, 1, words),
          likeliest_(peaks_.largest(0, 1)[0]),
          bits_(static_cast<float>(log2_e / std::max(temperature, smallest))) {}

    int64_t likeliest() const { return likeliest_; }
    float best() const { return logits_[likeliest_]; }

    // So many, and those that equal the last of them.
    void keep_first(size_t count) {
        if (count == 0 || count >= all_) return;
        for (size_t room = count + 1;; room *= more) {
            words_ = peaks_.largest(0, std::min(room, all_));
            const float least = logits_[words_[count - 1]];
            while (logits_[words_.back()] < least) words_.pop_back();
            if (words_.size() < room) return;
        }
    }

    // Looks at the odds of what is kept, or of all words on all threads.
    void weigh() {
        if (!words_.empty()) {
            odds_ = odds_of(words_);
            return;
        }
        odds_.resize(all_);
        const size_t threads = static_cast<size_t>(pool_.threads());
        pool_.run([&](int number) {
            const size_t thread = static_cast<size_t>(number);
            const size_t begin = all_ * thread / threads, end = all_ * (thread + 1) / threads;
            kernels_.odds(logits_ + begin, end - begin, best(), bits_, odds_.data() + begin);
        });
    }

    // The likeliest that together reach this share of all odds.
    void keep_likeliest(double share) {
        if (share >= 1) return;
        const double enough = share * std::accumulate(odds_.begin(), odds_.end(), 0.0);
        if (!words_.empty()) {
            keep(reached(odds_, enough));
            return;
        }
        for (size_t room = at_first;; room *= more) {
            words_ = peaks_.largest(0, std::min(room, all_));
            std::vector<float> odds = odds_of(words_);
            const size_t count = reached(odds, enough);
            if (count == words_.size() && room < all_) continue;
            odds_ = std::move(odds);
            keep(count);
            return;
        }
    }

    // Those whose odds reach this share of the likeliest's.
    void keep_likely(double share) {
        for (float& odds : odds_) {
            if (odds < share) odds = 0;
        }
    }

    int64_t at(double point) const {
        const double end = point * std::accumulate(odds_.begin(), odds_.end(), 0.0);
        double passed = odds_[0];
        size_t place = 0;
        while (passed < end) passed += odds_[++place];
        return words_.empty() ? static_cast<int64_t>(place) : words_[place];
    }

   private:
    std::vector<float> odds_of(const std::vector<int64_t>& words) const {
        std::vector<float> odds;
        odds.reserve(words.size());
        for (const int64_t word : words) odds.push_back(logits_[word]);
        kernels_.odds(odds.data(), odds.size(), best(), bits_, odds.data());
        return odds;
    }

    // How many it takes, one at least, all if they do not reach it.
    static size_t reached(const std::vector<float>& odds, double enough) {
        double sum = odds[0];
        size_t count = 1;
        for (; count < odds.size() && sum < enough; ++count) sum += odds[count];
        return count;
    }

    void keep(size_t count) {
        words_.resize(count);
        odds_.resize(count);
    }

    const Kernels& kernels_;
    Pool& pool_;
    const float* const logits_;
    const size_t all_;
    const Peaks peaks_;
    const int64_t likeliest_;
    const float bits_;
    std::vector<int64_t> words_;  // the likeliest first; empty: all, as they lie
    std::vector<float> odds_;
};

}  // namespace

int64_t draw(const Kernels& kernels, Pool& pool, const float* logits, size_t words,
             const Filters& filters, double point) {
    const std::lock_guard<std::mutex> turn(pool.turn());
    Candidates candidates(kernels, pool, logits, words, filters.temperature);
    if (!std::isfinite(candidates.best())) return candidates.likeliest();
    candidates.keep_first(filters.top_k);
    candidates.weigh();
    candidates.keep_likeliest(filters.top_p);
    candidates.keep_likely(filters.min_p);
    return candidates.at(point);
}

}  // namespace qwen3_vl
