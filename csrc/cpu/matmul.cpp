#include "matmul.h"

#include <algorithm>
#include <atomic>
#include <mutex>

namespace qwen3_vl {
namespace {

constexpr size_t few = 8;  // tokens for which weights are read once, and never unpacked

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

// A panel among those of all matrices: its weights, and the columns of the output that it fills.
struct Place {
    const uint8_t* weights;
    Format format;
    size_t column, count;
};

class Multiplication {
   public:
    Multiplication(const Kernels& kernels, Pool& pool, const Product& product, void* scratch)
        : kernels_(kernels),
          pool_(pool),
          product_(product),
          is_few_(product.tokens <= few),
          gated_(product.finish == Finish::gate),
          blocks_(rounded_up(product.inputs, block_inputs) / block_inputs),
          together_(is_few_ ? product.tokens : kernels.tile_tokens),
          room_(scratch) {
        for (size_t i = 0; i < product.count; ++i) {
            const Matrix& matrix = product.matrices[i];
            panels_ += panels_of(matrix);
            if (i == 0 || !gated_) columns_ += matrix.rows;
            if (matrix.format == Format::int8) most_ = kernels.largest_against_bytes;
        }
        const size_t tokens = rounded_up(product.tokens, together_);
        x_.quads = room_.take<int32_t>(tokens * blocks_ * block_inputs / quad);
        x_.offsets = room_.take<int32_t>(tokens * groups());
        x_.scales = room_.take<float>(is_few_ ? tokens * groups() : tokens);
        normal_ = room_.take<float>(product.norm.weight ? threads() * normal_room() : 0);
        unpacked_ = room_.take<uint8_t>(is_few_ ? 0 : threads() * most_panels * panel_room());
        results_ = room_.take<float>(threads() * results_room);
    }

    size_t bytes(const void* scratch) const {
        return static_cast<size_t>(room_.next() - static_cast<const unsigned char*>(scratch));
    }

    void run() {
        pool_.run([this](int thread) { round(static_cast<size_t>(thread)); });
        pool_.run([this](int thread) {
            if (is_few_) {
                multiply_few(static_cast<size_t>(thread));
            } else {
                multiply_many(static_cast<size_t>(thread));
            }
        });
    }

   private:
    static constexpr size_t most_panels = 16;  // that tokens meet together
    static constexpr size_t most_tokens = 8;
    static constexpr size_t results_room = most_tokens * most_panels * panel_rows;
    static constexpr size_t stretches = 8;            // of the weights, for each thread
    static constexpr size_t near_bytes = 256 * 1024;  // of weights: they share the cache of a core

    static size_t panels_of(const Matrix& matrix) {
        return rounded_up(matrix.rows, panel_rows) / panel_rows;
    }

    size_t threads() const { return static_cast<size_t>(pool_.threads()); }
    size_t groups() const { return blocks_ * block_groups; }
    size_t normal_room() const { return rounded_up(product_.inputs, line_bytes); }
    size_t panel_room() const { return rounded_up(unpacked_bytes(blocks_), line_bytes); }

    size_t panel_bytes(Format format) const {
        const size_t codes = format == Format::int4 ? blocks_ * block_bytes
                                                    : blocks_ * block_inputs / quad * line_bytes;
        return codes + panel_rows * sizeof(float);
    }

    // Panels that are multiplied together: with a gate those of the same rows of both matrices.
    size_t unit_panels() const { return gated_ ? 2 : is_few_ ? 1 : kernels_.tile_panels; }
    size_t units() const { return rounded_up(panels_, unit_panels()) / unit_panels(); }

    size_t places(size_t unit, Place* found) const {
        if (gated_) {
            for (size_t i = 0; i < 2; ++i) found[i] = place(product_.matrices[i], unit, 0);
            return 2;
        }
        const size_t first = unit * unit_panels();
        const size_t count = std::min(unit_panels(), panels_ - first);
        for (size_t i = 0; i < count; ++i) found[i] = place(first + i);
        return count;
    }

    Place place(size_t panel) const {
        const Matrix* matrix = product_.matrices;
        size_t column = 0;
        for (; panel >= panels_of(*matrix); ++matrix) {
            panel -= panels_of(*matrix);
            column += matrix->rows;
        }
        return place(*matrix, panel, column);
    }

    Place place(const Matrix& matrix, size_t panel, size_t column) const {
        const size_t row = panel * panel_rows;
        return {matrix.panels + panel * panel_bytes(matrix.format), matrix.format, column + row,
                std::min(panel_rows, matrix.rows - row)};
    }

    // Few tokens are split by inputs, many by tiles: no two threads write to one cache line.
    void round(size_t thread) const {
        const size_t units =
            is_few_ ? groups() : rounded_up(product_.tokens, together_) / together_;
        const size_t begin = units * thread / threads(), end = units * (thread + 1) / threads();
        if (is_few_) {
            for (size_t token = 0; token < product_.tokens; ++token) {
                kernels_.round_groups(prepared(token, thread), product_.inputs, begin, end, most_,
                                      product_.tokens, token, x_);
            }
        } else {
            const size_t last = std::min(end * together_, product_.tokens);
            for (size_t token = begin * together_; token < last; ++token) {
                kernels_.round_token(prepared(token, thread), product_.inputs, groups(), most_,
                                     token, x_);
            }
        }
    }

    // A token as it is rounded: normalised, in this thread's room, or as it came.
    const float* prepared(size_t token, size_t thread) const {
        const Norm& norm = product_.norm;
        const float* const x = product_.x + token * product_.inputs;
        if (!norm.weight) return x;
        float* const room = normal_ + thread * normal_room();
        if (norm.bias) {
            kernels_.layer_norm(x, norm.weight, norm.bias, room, product_.inputs, norm.eps);
        } else {
            kernels_.rms_norm_f32(x, norm.weight, room, 1, product_.inputs, norm.eps);
        }
        return room;
    }

    // Each thread takes the next stretch of the weights that nobody has: a neighbour on the machine
    // may slow one of them.
    void multiply_few(size_t thread) {
        float* const block = results_ + thread * results_room;
        const size_t stretch = std::max<size_t>(1, units() / (stretches * threads()));
        for (size_t unit = 0, end = 0;; ++unit) {
            if (unit == end) {
                unit = next_.fetch_add(stretch, std::memory_order_relaxed);
                if (unit >= units()) return;
                end = std::min(unit + stretch, units());
            }
            Place found[most_panels];
            const size_t count = places(unit, found);
            for (size_t i = 0; i < count; ++i) {
                const auto kernel =
                    found[i].format == Format::int4 ? kernels_.int4_few : kernels_.int8_few;
                kernel(found[i].weights, blocks_, x_, product_.tokens, block + i * panel_rows,
                       count * panel_rows);
            }
            write(block, found, count, 0, product_.tokens);
        }
    }

    // Each thread takes the next panels that nobody has; all tokens meet them while they are near.
    void multiply_many(size_t thread) {
        const size_t quads = blocks_ * block_inputs / quad;
        uint8_t* const room = unpacked_ + thread * most_panels * panel_room();
        float* const block = results_ + thread * results_room;
        for (size_t unit; (unit = next_.fetch_add(span(), std::memory_order_relaxed)) < units();) {
            Place found[most_panels];
            Panel panels[most_panels];
            size_t count = 0;
            for (size_t end = std::min(unit + span(), units()); unit < end; ++unit) {
                count += places(unit, found + count);
            }
            for (size_t i = 0; i < count; ++i) {
                panels[i] =
                    found[i].format == Format::int4
                        ? kernels_.unpack_int4(found[i].weights, blocks_, room + i * panel_room())
                        : Panel{found[i].weights, nullptr,
                                reinterpret_cast<const float*>(found[i].weights +
                                                               quads * line_bytes)};
            }
            for (size_t token = 0; token < product_.tokens; token += together_) {
                const size_t tokens = std::min(together_, product_.tokens - token);
                const int32_t* x = x_.quads + token * quads;
                const int32_t* offsets = x_.offsets + token * groups();
                for (size_t i = 0, step; i < count; i += step) {
                    step = together(panels + i, count - i);
                    kernels_.many(panels + i, step, quads, x, offsets, x_.scales + token, tokens,
                                  block + i * panel_rows, count * panel_rows);
                }
                write(block, found, count, token, tokens);
            }
        }
    }

    // How many units of many tokens a thread takes at once: as many as stay near while a tile of
    // tokens meets them, but not so many that other threads would wait for it at the end.
    size_t span() const {
        const size_t near = near_bytes / (unit_panels() * panel_room());
        const size_t fair = units() / (stretches * threads());
        return std::max<size_t>(1, std::min({near, fair, most_panels / unit_panels()}));
    }

    // How many of these panels a kernel takes at once: they must be unpacked alike.
    size_t together(const Panel* panels, size_t count) const {
        const bool alike = count > 1 && !panels[0].scales == !panels[1].scales;
        return alike ? kernels_.tile_panels : 1;
    }

    void write(const float* block, const Place* places, size_t count, size_t token,
               size_t tokens) const {
        const size_t width = count * panel_rows, step = gated_ ? 2 : 1;
        float* const out = product_.out + token * columns_;
        for (size_t i = 0; i < count; i += step) {
            const float* bias = product_.bias ? product_.bias + places[i].column : nullptr;
            kernels_.finish(product_.finish, block + i * panel_rows, tokens, width, bias,
                            out + places[i].column, columns_, places[i].count);
        }
    }

    const Kernels& kernels_;
    Pool& pool_;
    const Product& product_;
    const bool is_few_, gated_;
    const size_t blocks_;
    const size_t together_;  // tokens that lie interleaved
    size_t panels_ = 0, columns_ = 0;
    int most_ = 127;
    Room room_;
    Rounded x_;
    float* normal_;
    uint8_t* unpacked_;
    float* results_;
    std::atomic<size_t> next_{0};
};

}  // namespace

void multiply(const Kernels& kernels, Pool& pool, const Product& product) {
    const std::lock_guard<std::mutex> turn(pool.turn());
    const size_t bytes = Multiplication(kernels, pool, product, nullptr).bytes(nullptr);
    Multiplication(kernels, pool, product, pool.room(bytes)).run();
}

}  // namespace qwen3_vl
