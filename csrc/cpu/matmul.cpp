#include "matmul.h"

#include "features.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <limits>
#include <mutex>

namespace qwen3_vl {
namespace {

constexpr size_t rounded_up(size_t value, size_t to) { return (value + to - 1) / to * to; }

// Hands out pieces of one allocation, each on its own cache lines.
class Room {
   public:
    explicit Room(void* begin) : next_(static_cast<unsigned char*>(begin)) {}

    template <typename T>
    T* take(size_t count) {
        T* piece = reinterpret_cast<T*>(next_);
        next_ += rounded_up(count * sizeof(T), line_bytes);
        return piece;
    }

    unsigned char* next() const { return next_; }

   private:
    unsigned char* next_;
};

constexpr size_t most_panels = 64;   // that tokens meet while they are near
constexpr size_t block_panels = 16;  // whose results lie together before they are written

// Of weights that many tokens meet: they share the cache of a core with these.
size_t near_bytes() {
    static const size_t bytes = std::clamp<size_t>(features::core_cache() / 2, 1 << 17, 1 << 20);
    return bytes;
}

// How much of what there is in a product.
struct Extent {
    size_t tokens, blocks;  // of inputs
    size_t threads;
    bool is_few;
    size_t together;  // tokens that lie interleaved

    Extent(const Kernels& kernels, const Pool& pool, const Product& product)
        : tokens(product.tokens),
          blocks(rounded_up(product.matrices.inputs, block_inputs) / block_inputs),
          threads(static_cast<size_t>(pool.threads())),
          is_few(tokens <= few),
          together(is_few ? tokens : kernels.many_tokens) {}

    size_t inputs() const { return blocks * block_inputs; }  // with the zeros that fill them up
    size_t groups() const { return blocks * block_groups; }
    size_t places() const { return rounded_up(tokens, together); }
};

// A panel among those of all matrices: its weights, and the columns of the output that it fills.
struct Place {
    const uint8_t* weights;
    Format format;
    size_t column, count;
    const uint8_t* lower = nullptr;  // halves of codes, where they lie apart
};

// Weights in 4 and 8 bits: tokens are rounded to 8 bits, and many of them meet unpacked panels.
class Integers {
   public:
    using Ready = Panel;
    static constexpr bool may_lie_in_halves = true;

    Integers(const Kernels& kernels, const Product& product, const Extent& extent, Room& room)
        : kernels_(kernels), inputs_(product.matrices.inputs), extent_(extent) {
        for (const Matrix& matrix : product.matrices.all) {
            if (matrix.format == Format::int8) most_ = kernels.largest_against_bytes;
            if (matrix.format != Format::int8) unpacks_ = true;
            if (matrix.format == Format::int4_halves) joins_ = true;
        }
        x_.quads = room.take<int32_t>(extent.places() * extent.inputs() / quad);
        x_.offsets = room.take<int32_t>(extent.places() * extent.groups());
        x_.scales = room.take<float>(extent.places() * (extent.is_few ? extent.groups() : 1));
        x_.sums = room.take<int32_t>(extent.is_few ? 0 : extent.places());
        unpacked_ = room.take<uint8_t>(extent.is_few ? 0 : extent.threads * unpacked_room());
        joined_ = room.take<uint8_t>(joins_ ? extent.threads * joined_room() : 0);
    }

    static size_t panel_bytes(Format format, size_t blocks) {
        const size_t codes = format == Format::int4 ? blocks * block_bytes
                             : format == Format::int4_halves
                                 ? blocks * upper_block_bytes
                                 : blocks * block_inputs / quad * line_bytes;
        return codes + panel_rows * sizeof(float);
    }

    // Lower halves, which lie behind all upper ones.
    static size_t lower_bytes(size_t blocks) { return blocks * half_lines * line_bytes; }

    void place_groups(const float* x, size_t token, size_t begin, size_t end) const {
        kernels_.round_groups(x, inputs_, begin, end, most_, extent_.tokens, token, x_);
    }

    void place_token(const float* x, size_t token) const {
        kernels_.round_token(x, inputs_, extent_.groups(), most_, token, x_);
    }

    void multiply_few(const Place& place, float* block, size_t width) const {
        const auto kernel = place.format == Format::int4          ? kernels_.int4_few
                            : place.format == Format::int4_halves ? kernels_.upper_few
                                                                  : kernels_.int8_few;
        kernel(place.weights, extent_.blocks, x_, extent_.tokens, block, width);
    }

    void ask_for(const Place& place) const {
        const auto lines = [](const uint8_t* from, size_t bytes) {
#if defined(__GNUC__)
            for (size_t at = 0; at < bytes; at += line_bytes) __builtin_prefetch(from + at, 0, 2);
#endif
        };
        lines(place.weights, panel_bytes(place.format, extent_.blocks));
        lines(place.lower, lower_bytes(extent_.blocks));
    }

    // A panel in halves in full.
    void multiply_joined(const Place& place, size_t thread, float* block) const {
        kernels_.int4_few(joined(place, thread), extent_.blocks, x_, extent_.tokens, block,
                          panel_rows);
    }

    // A panel as many tokens meet it, the i-th of those that this thread takes together.
    Panel ready(const Place& place, size_t thread, size_t i) const {
        if (place.format != Format::int8) {
            uint8_t* const room = unpacked_ + thread * unpacked_room() + i * panel_room();
            const uint8_t* const panel = place.lower ? joined(place, thread) : place.weights;
            return kernels_.unpack_int4(panel, extent_.blocks, room);
        }
        const uint8_t* const scales = place.weights + extent_.inputs() / quad * line_bytes;
        return {place.weights, nullptr, reinterpret_cast<const float*>(scales)};
    }

    void multiply_many(const Panel* panels, size_t count, size_t token, size_t tokens, float* block,
                       size_t width) const {
        const size_t quads = extent_.inputs() / quad;
        const Rounded x = {x_.quads + token * quads, x_.offsets + token * extent_.groups(),
                           x_.scales + token, x_.sums + token};
        for (size_t i = 0, step; i < count; i += step) {
            step = together(panels + i, count - i);
            kernels_.many(panels + i, step, quads, x, tokens, block + i * panel_rows, width);
        }
    }

    // Bytes of a panel as many tokens meet it.
    size_t panel_room() const { return rounded_up(unpacked_bytes(extent_.blocks), line_bytes); }
    bool unpacks() const { return unpacks_; }

   private:
    const uint8_t* joined(const Place& place, size_t thread) const {
        uint8_t* const panel = joined_ + thread * joined_room();
        kernels_.join_halves(place.weights, place.lower, extent_.blocks, panel);
        return panel;
    }

    size_t joined_room() const {
        return rounded_up(panel_bytes(Format::int4, extent_.blocks), line_bytes);
    }

    // Bytes for the panels that a thread takes together.
    size_t unpacked_room() const {
        const size_t least = std::max<size_t>(2, kernels_.many_panels) * panel_room();
        return unpacks_ ? std::max(least, near_bytes()) : 0;
    }

    // How many of these panels a kernel takes at once: they must be unpacked alike.
    size_t together(const Panel* panels, size_t count) const {
        const size_t most = std::min(count, kernels_.many_panels);
        size_t alike = 1;
        while (alike < most && !panels[alike].scales == !panels[0].scales) ++alike;
        return alike;
    }

    const Kernels& kernels_;
    const size_t inputs_;
    const Extent& extent_;
    int most_ = 127;
    bool unpacks_ = false, joins_ = false;
    Rounded x_;
    uint8_t *unpacked_, *joined_;
};

// Weights in bfloat16, multiplied as they lie, with pairs of activations.
class Floats {
   public:
    using Ready = const uint8_t*;
    static constexpr bool may_lie_in_halves = false;

    Floats(const Kernels& kernels, const Product& product, const Extent& extent, Room& room)
        : kernels_(kernels), inputs_(product.matrices.inputs), extent_(extent) {
        const size_t bytes = extent.is_few ? sizeof(FloatPair) : kernels.pair_bytes;
        x_ = room.take<uint8_t>(extent.places() * pairs() * bytes);
    }

    static size_t panel_bytes(Format, size_t blocks) {
        return blocks * block_inputs / pair * line_bytes;
    }

    void place_groups(const float* x, size_t token, size_t begin, size_t end) const {
        kernels_.place_float_pairs(x, inputs_, begin, end, float_pairs() + token, extent_.tokens);
    }

    void place_token(const float* x, size_t token) const {
        const size_t place = token % extent_.together;
        kernels_.place_pairs(x, inputs_, extent_.groups(), place, tile(token - place));
    }

    void multiply_few(const Place& place, float* block, size_t width) const {
        kernels_.bf16_few(place.weights, extent_.blocks, float_pairs(), extent_.tokens,
                          extent_.tokens, block, width);
    }

    const uint8_t* ready(const Place& place, size_t, size_t) const { return place.weights; }

    void multiply_many(const uint8_t* const* panels, size_t count, size_t token, size_t tokens,
                       float* block, size_t width) const {
        for (size_t i = 0, step; i < count; i += step) {
            step = std::min(count - i, kernels_.many_panels);
            kernels_.bf16_many(panels + i, step, extent_.blocks, tile(token), tokens,
                               block + i * panel_rows, width);
        }
    }

    size_t panel_room() const { return panel_bytes(Format::bf16, extent_.blocks); }
    bool unpacks() const { return false; }

   private:
    size_t pairs() const { return extent_.inputs() / pair; }
    uint8_t* tile(size_t token) const { return x_ + token * pairs() * kernels_.pair_bytes; }
    FloatPair* float_pairs() const { return reinterpret_cast<FloatPair*>(x_); }

    const Kernels& kernels_;
    const size_t inputs_;
    const Extent& extent_;
    uint8_t* x_;
};

// A product of weights in some `Numbers`, which lay tokens out and multiply panels.
template <typename Numbers>
class Multiplication {
   public:
    Multiplication(const Kernels& kernels, Pool& pool, const Product& product, void* scratch)
        : kernels_(kernels),
          pool_(pool),
          product_(product),
          gated_(product.matrices.finish == Finish::gate),
          columns_(product.matrices.outputs()),
          extent_(kernels, pool, product),
          room_(scratch),
          numbers_(kernels, product, extent_, room_),
          normal_(room_.take<float>(product.norm.weight ? extent_.threads * normal_room() : 0)),
          results_(room_.take<float>(extent_.threads * results_room)) {
        for (const Matrix& matrix : product.matrices.all) panels_ += panels_of(matrix);
        const size_t promising = extent_.is_few ? product.matrices.all[0].promising : 0;
        promising_ = std::min(promising, panels_);
        most_ = product.most;
        if (promising_ && !most_) most_ = room_.take<float>(panels_ * product.tokens);
        span_ = span();
        if (extent_.is_few) next_ = extent_.threads * first_stretch();
    }

    size_t bytes(const void* scratch) const {
        return static_cast<size_t>(room_.next() - static_cast<const unsigned char*>(scratch));
    }

    void run() {
        pool_.run([this](int thread) { place_tokens(static_cast<size_t>(thread)); });
        if (extent_.is_few) {
            const void* const product = product_.matrices.all[0].panels;
            pool_.expect(pool_.foresight().after(product, [this] { return first_reads(); }));
        }
        pool_.run([this](int thread) {
            if (extent_.is_few) {
                multiply_few(static_cast<size_t>(thread));
            } else {
                multiply_many(static_cast<size_t>(thread));
            }
        });
        if constexpr (Numbers::may_lie_in_halves) {
            if (promising_) look_closer();
        }
    }

   private:
    static constexpr size_t most_tokens = 32;
    static constexpr size_t results_room = most_tokens * block_panels * panel_rows;
    static constexpr size_t stretches = 8;  // of the weights, for each thread

    static size_t panels_of(const Matrix& matrix) {
        return rounded_up(matrix.rows, panel_rows) / panel_rows;
    }

    size_t normal_room() const { return rounded_up(product_.matrices.inputs, line_bytes); }

    // Panels that are multiplied together: with a gate those of the same rows of both matrices.
    size_t unit_panels() const { return gated_ ? 2 : extent_.is_few ? 1 : kernels_.many_panels; }
    size_t units() const { return rounded_up(panels_, unit_panels()) / unit_panels(); }

    size_t places(size_t unit, Place* found) const {
        if (gated_) {
            for (size_t i = 0; i < 2; ++i) found[i] = place(product_.matrices.all[i], unit, 0);
            return 2;
        }
        const size_t first = unit * unit_panels();
        const size_t count = std::min(unit_panels(), panels_ - first);
        for (size_t i = 0; i < count; ++i) found[i] = place(first + i);
        return count;
    }

    Place place(size_t panel) const {
        const Matrix* matrix = product_.matrices.all.data();
        size_t column = 0;
        for (; panel >= panels_of(*matrix); ++matrix) {
            panel -= panels_of(*matrix);
            column += matrix->rows;
        }
        return place(*matrix, panel, column);
    }

    Place place(const Matrix& matrix, size_t panel, size_t column) const {
        const size_t row = panel * panel_rows;
        const size_t bytes = Numbers::panel_bytes(matrix.format, extent_.blocks);
        Place found = {matrix.panels + panel * bytes, matrix.format, column + row,
                       std::min(panel_rows, matrix.rows - row)};
        if constexpr (Numbers::may_lie_in_halves) {
            if (matrix.format == Format::int4_halves) {
                const uint8_t* const lower = matrix.panels + panels_of(matrix) * bytes;
                found.lower = lower + panel * Numbers::lower_bytes(extent_.blocks);
            }
        }
        return found;
    }

    // Few tokens are split by inputs, many by tiles: no two threads write to one cache line.
    void place_tokens(size_t thread) const {
        const size_t units =
            extent_.is_few ? extent_.groups() : extent_.places() / extent_.together;
        const size_t begin = units * thread / extent_.threads,
                     end = units * (thread + 1) / extent_.threads;
        if (extent_.is_few) {
            for (size_t token = 0; token < product_.tokens; ++token) {
                numbers_.place_groups(prepared(token, thread), token, begin, end);
            }
        } else {
            const size_t last = std::min(end * extent_.together, product_.tokens);
            for (size_t token = begin * extent_.together; token < last; ++token) {
                numbers_.place_token(prepared(token, thread), token);
            }
        }
    }

    // A token as it is laid out: normalised, in this thread's room, or as it came.
    const float* prepared(size_t token, size_t thread) const {
        const Norm& norm = product_.norm;
        const float* const x = product_.x + token * product_.matrices.inputs;
        if (!norm.weight) return x;
        float* const room = normal_ + thread * normal_room();
        if (norm.bias) {
            kernels_.layer_norm(x, norm.weight, norm.bias, room, product_.matrices.inputs,
                                norm.eps);
        } else {
            kernels_.rms_norm_f32(x, norm.weight, room, 1, product_.matrices.inputs, norm.eps);
        }
        return room;
    }

    // Each thread has a stretch of the weights to begin with, and then takes the next that nobody
    // has: a neighbour on the machine may slow one of them. The less is left the shorter they are,
    // so that all end together.
    void multiply_few(size_t thread) {
        const auto stretch = [this](size_t unit) {
            return std::max<size_t>(1, (units() - unit) / (2 * extent_.threads));
        };
        multiply_few(thread, thread * first_stretch(),
                     std::min((thread + 1) * first_stretch(), units()));
        size_t unit = next_.load(std::memory_order_relaxed);
        while (unit < units()) {
            const size_t end = unit + stretch(unit);
            if (!next_.compare_exchange_weak(unit, end, std::memory_order_relaxed)) continue;
            multiply_few(thread, unit, end);
            unit = next_.load(std::memory_order_relaxed);
        }
    }

    void multiply_few(size_t thread, size_t unit, size_t end) const {
        float* const block = results_ + thread * results_room;
        for (; unit < end; ++unit) {
            Place found[2];
            const size_t count = places(unit, found);
            for (size_t i = 0; i < count; ++i) {
                numbers_.multiply_few(found[i], block + i * panel_rows, count * panel_rows);
            }
            write(block, found, count, 0, product_.tokens);
            if (!most_) continue;
            for (size_t token = 0; token < product_.tokens; ++token) {
                look(block + token * panel_rows, token, unit);
            }
        }
    }

    void look(const float* results, size_t token, size_t panel) const {
        kernels_.maxima(results, panel_rows, 1, most_ + token * panels_ + panel);
    }

    // Panels that few tokens have met by the upper halves of their weights, and which promise the
    // largest results, are multiplied in full. A token's results do not depend on the others.
    void look_closer() {
        std::vector<uint8_t> wanted(panels_);  // a bit for each token
        for (size_t token = 0; token < product_.tokens; ++token) {
            const float* const most = most_ + token * panels_;
            const float least = least_of(std::vector<float>(most, most + panels_));
            for (size_t panel = 0; panel < panels_; ++panel) {
                if (!(most[panel] < least)) wanted[panel] |= static_cast<uint8_t>(1 << token);
            }
        }
        std::vector<size_t> chosen;
        for (size_t panel = 0; panel < panels_; ++panel) {
            if (wanted[panel]) chosen.push_back(panel);
        }
        next_ = 0;
        pool_.run([&](int number) {
            const size_t thread = static_cast<size_t>(number);
            float* const block = results_ + thread * results_room;
            const auto take = [&] {
                const size_t i = next_.fetch_add(1, std::memory_order_relaxed);
                if (i < chosen.size()) numbers_.ask_for(place(chosen[i]));
                return i;
            };
            for (size_t i = take(), following; i < chosen.size(); i = following) {
                following = take();  // it comes near while this one is multiplied
                const Place found = place(chosen[i]);
                numbers_.multiply_joined(found, thread, block);
                for (size_t token = 0; token < product_.tokens; ++token) {
                    if (!(wanted[chosen[i]] >> token & 1)) continue;
                    write(block + token * panel_rows, &found, 1, token, 1);
                    look(block + token * panel_rows, token, chosen[i]);
                }
            }
        });
    }

    // What the last of the promising panels reaches. What is no number is larger than any.
    float least_of(std::vector<float> most) const {
        for (float& one : most) {
            if (std::isnan(one)) one = std::numeric_limits<float>::infinity();
        }
        const auto last = most.begin() + static_cast<std::ptrdiff_t>(promising_ - 1);
        std::nth_element(most.begin(), last, most.end(), std::greater<>());
        return *last;
    }

    size_t first_stretch() const {
        return rounded_up(units(), 2 * extent_.threads) / (2 * extent_.threads);
    }

    // What threads with few tokens begin with, as far as half the cache of a core holds it.
    std::vector<Soon> first_reads() const {
        std::vector<Soon> reads(extent_.threads);
        for (size_t thread = 0; thread < extent_.threads; ++thread) {
            size_t room = features::core_cache() / 2;
            const size_t end = std::min((thread + 1) * first_stretch(), units());
            for (size_t unit = thread * first_stretch(); unit < end; ++unit) {
                Place found[2];
                const size_t count = places(unit, found);
                for (size_t i = 0; i < count; ++i) {
                    const size_t bytes = Numbers::panel_bytes(found[i].format, extent_.blocks);
                    if (bytes > room || !append(reads[thread], {found[i].weights, bytes})) break;
                    room -= bytes;
                }
            }
        }
        return reads;
    }

    // Panels lie one after the other, those of a gate beside them too.
    static bool append(Soon& soon, const Span& more) {
        for (Span& one : soon) {
            if (one.bytes == 0) one.at = more.at;
            if (one.at + one.bytes != more.at) continue;
            one.bytes += more.bytes;
            return true;
        }
        return false;
    }

    // Each thread takes the next panels that nobody has, with some of the tokens, which meet them
    // while they are near.
    void multiply_many(size_t thread) {
        float* const block = results_ + thread * results_room;
        const size_t parts = token_parts(), jobs = rounded_up(units(), span_) / span_ * parts;
        const size_t tiles = extent_.places() / extent_.together;
        for (size_t job; (job = next_.fetch_add(1, std::memory_order_relaxed)) < jobs;) {
            Place found[most_panels];
            typename Numbers::Ready panels[most_panels];
            size_t count = 0;
            const size_t first = job / parts * span_, part = job % parts;
            for (size_t unit = first; unit < std::min(first + span_, units()); ++unit) {
                count += places(unit, found + count);
            }
            for (size_t i = 0; i < count; ++i) panels[i] = numbers_.ready(found[i], thread, i);
            for (size_t tile = tiles * part / parts; tile < tiles * (part + 1) / parts; ++tile) {
                const size_t token = tile * extent_.together;
                const size_t tokens = std::min(extent_.together, product_.tokens - token);
                ask_for_room(found, count, token, tokens);
                for (size_t i = 0, step; i < count; i += step) {
                    step = std::min(count - i, block_panels);
                    numbers_.multiply_many(panels + i, step, token, tokens, block,
                                           step * panel_rows);
                    write(block, found + i, step, token, tokens);
                }
            }
        }
    }

    // How many units of many tokens a thread takes at once: as many as stay near while tokens meet
    // them. Where that would leave too little to share out, tokens are shared out too, or if that
    // meant to unpack panels again, it takes fewer.
    size_t span() const {
        const size_t near = near_bytes() / (unit_panels() * numbers_.panel_room());
        const size_t fair = numbers_.unpacks() ? units() / shares() : units();
        return std::max<size_t>(1, std::min({near, fair, most_panels / unit_panels()}));
    }

    size_t token_parts() const {
        if (numbers_.unpacks()) return 1;
        return std::min(extent_.places() / extent_.together,
                        rounded_up(shares() * span_, units()) / units());
    }

    // What there must be to share out, so that no thread is waited for long.
    size_t shares() const { return stretches * extent_.threads; }

    // The lines that results will be written to come near while they are computed.
    void ask_for_room(const Place* places, size_t count, size_t token, size_t tokens) const {
#if defined(__GNUC__)
        for (size_t i = 0; i < tokens; ++i) {
            const float* const row = product_.out + (token + i) * columns_;
            for (size_t j = 0; j < count; j += gated_ ? 2 : 1) {
                __builtin_prefetch(row + places[j].column, 1, 2);
            }
        }
#endif
    }

    void write(const float* block, const Place* places, size_t count, size_t token,
               size_t tokens) const {
        const size_t width = count * panel_rows, step = gated_ ? 2 : 1;
        float* const out = product_.out + token * columns_;
        for (size_t i = 0; i < count; i += step) {
            const float* bias = product_.bias ? product_.bias + places[i].column : nullptr;
            kernels_.finish(product_.matrices.finish, block + i * panel_rows, tokens, width, bias,
                            out + places[i].column, columns_, places[i].count);
        }
    }

    const Kernels& kernels_;
    Pool& pool_;
    const Product& product_;
    const bool gated_;
    const size_t columns_;
    const Extent extent_;
    size_t panels_ = 0, promising_, span_;
    Room room_;
    const Numbers numbers_;
    float* const normal_;
    float* const results_;
    float* most_;  // of each panel, token by token; null: nobody asks
    std::atomic<size_t> next_{0};
};

template <typename Numbers>
void multiply_with(const Kernels& kernels, Pool& pool, const Product& product) {
    const size_t bytes = Multiplication<Numbers>(kernels, pool, product, nullptr).bytes(nullptr);
    Multiplication<Numbers>(kernels, pool, product, pool.room(bytes)).run();
}

}  // namespace

void multiply(const Kernels& kernels, Pool& pool, const Product& product) {
    const std::lock_guard<std::mutex> turn(pool.turn());
    const bool is_bf16 = product.matrices.all[0].format == Format::bf16;
    (is_bf16 ? multiply_with<Floats> : multiply_with<Integers>)(kernels, pool, product);
}

}  // namespace qwen3_vl
