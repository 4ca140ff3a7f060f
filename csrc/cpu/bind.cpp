// The Python module qwen3_vl._native. Its stub, _native.pyi, is the documentation for callers.
//
// Tensors arrive as addresses (tensor.data_ptr()): an integer argument costs a fraction of what an
// array argument costs, and no torch header is needed, so one build serves every torch.
#include "attention.h"
#include "decoder.h"
#include "dispatch.h"
#include "head.h"
#include "largest.h"
#include "layer.h"
#include "matmul.h"
#include "pool.h"
#include "rotation.h"
#include "sampling.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

namespace nb = nanobind;

namespace qwen3_vl {
namespace {

template <typename T>
T* pointer(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

template <typename T, RmsNorm<T>* Kernels::* kernel>
void rms_norm(const Variant& variant, std::uintptr_t x, std::uintptr_t weight, std::uintptr_t out,
              std::size_t rows, std::size_t width, float eps) {
    (variant.kernels->*kernel)(pointer<const T>(x), pointer<const T>(weight), pointer<T>(out), rows,
                               width, eps);
}

Format format_of(int bits, std::size_t promising) {
    switch (bits) {
        case 4:
            return promising ? Format::int4_halves : Format::int4;
        case 8:
            return Format::int8;
        case 16:
            return Format::bf16;
        default:
            throw std::invalid_argument("weights have 4, 8 or 16 bits");
    }
}

using MatrixAt = std::tuple<int, std::uintptr_t, std::size_t, std::size_t>;

Matrices join(const std::vector<MatrixAt>& given, std::size_t inputs, Finish finish) {
    Matrices joined{{}, inputs, finish};
    for (const auto& [bits, address, rows, promising] : given) {
        if (promising && (bits != 4 || given.size() > 1 || finish != Finish::store)) {
            throw std::invalid_argument("a matrix in halves has 4 bits, is alone, and is stored");
        }
        const Format format = format_of(bits, promising);
        joined.all.push_back({format, pointer<const std::uint8_t>(address), rows, promising});
    }
    return joined;
}

void multiply_all(const Variant& variant, Pool& pool, const Matrices& matrices, std::uintptr_t x,
                  std::size_t tokens, std::uintptr_t norm, std::uintptr_t norm_bias, float eps,
                  std::uintptr_t bias, std::uintptr_t out) {
    multiply(*variant.kernels, pool,
             {pointer<const float>(x),
              {pointer<const float>(norm), pointer<const float>(norm_bias), eps},
              tokens,
              matrices,
              pointer<const float>(bias),
              pointer<float>(out)});
}

// Stretches are [count, 5] numbers: addresses of pages and table, first token, tokens, tokens held.
void remember_all(const Variant& variant, Pool& pool, const PageShape& shape, std::size_t stride,
                  std::uintptr_t stretches, std::size_t count, std::size_t heads,
                  std::uintptr_t qkv, std::uintptr_t turns, std::uintptr_t q_norm,
                  std::uintptr_t k_norm, float eps, std::uintptr_t q) {
    const Pass pass = {shape, stride, pointer<const Stretch>(stretches), count, heads};
    remember(*variant.kernels, pool, pass,
             {0, pass.tokens(), pointer<const float>(qkv), pointer<const float>(turns),
              pointer<const float>(q_norm), pointer<const float>(k_norm), eps},
             pointer<float>(q));
}

void attend_all(const Variant& variant, Pool& pool, const PageShape& shape, std::size_t stride,
                std::uintptr_t stretches, std::size_t count, std::size_t heads, bool causal,
                std::uintptr_t q, std::uintptr_t out, std::uintptr_t log_sums) {
    const Pass pass = {shape, stride, pointer<const Stretch>(stretches), count, heads};
    attend(*variant.kernels, pool, pass, causal, pointer<const float>(q), pointer<float>(out),
           pointer<float>(log_sums));
}

using NormAt = std::tuple<std::uintptr_t, std::uintptr_t, float>;  // weight, bias, eps

Norm norm_at(const NormAt& given) {
    const auto& [weight, bias, eps] = given;
    return {pointer<const float>(weight), pointer<const float>(bias), eps};
}

Layer make_layer(const Matrices& into, const Matrices& out, const Matrices& first,
                 const Matrices& second, const NormAt& before_attention, const NormAt& before_mlp,
                 const NormAt& of_heads, const std::array<std::uintptr_t, 4>& biases, bool causal) {
    const auto& [q_norm, k_norm, eps] = of_heads;
    return {into,
            out,
            first,
            second,
            norm_at(before_attention),
            norm_at(before_mlp),
            pointer<const float>(q_norm),
            pointer<const float>(k_norm),
            eps,
            pointer<const float>(biases[0]),
            pointer<const float>(biases[1]),
            pointer<const float>(biases[2]),
            pointer<const float>(biases[3]),
            causal};
}

void run_layer(const Variant& variant, Pool& pool, const PageShape& shape, std::size_t stride,
               std::uintptr_t stretches, std::size_t count, std::size_t heads, const Layer& layer,
               std::uintptr_t turns, std::size_t tokens, std::uintptr_t stream,
               std::uintptr_t room) {
    const Pass pass = {shape, stride, pointer<const Stretch>(stretches), count, heads};
    run(*variant.kernels, pool, layer, pass, pointer<const float>(turns), tokens,
        pointer<float>(stream), pointer<float>(room));
}

Head make_head(const Matrices& matrix, std::uintptr_t table, bool is_bf16, std::size_t refined) {
    return {matrix, pointer<const void>(table), is_bf16, refined};
}

void score_all(const Variant& variant, Pool& pool, const Head& head, std::uintptr_t x,
               std::size_t tokens, std::uintptr_t logits) {
    score(*variant.kernels, pool, head, pointer<const float>(x), tokens, pointer<float>(logits));
}

void largest_all(const Variant& variant, Pool& pool, std::uintptr_t x, std::size_t rows,
                 std::size_t width, std::size_t count, std::uintptr_t places) {
    const std::lock_guard<std::mutex> turn(pool.turn());
    const Peaks peaks(*variant.kernels, pool, pointer<const float>(x), rows, width);
    for (std::size_t row = 0; row < rows; ++row) {
        std::ranges::copy(peaks.largest(row, count), pointer<std::int64_t>(places) + row * count);
    }
}

std::int64_t draw_one(const Variant& variant, Pool& pool, std::uintptr_t logits, std::size_t words,
                      std::size_t top_k, double temperature, double top_p, double min_p,
                      double point) {
    return draw(*variant.kernels, pool, pointer<const float>(logits), words,
                {top_k, temperature, top_p, min_p}, point);
}

using RotationAt = std::tuple<std::uintptr_t, std::uintptr_t, std::size_t>;

Rotation rotation_at(const RotationAt& given, bool is_bf16) {
    const auto& [axes, frequencies, pairs] = given;
    return {pointer<const std::int64_t>(axes), pointer<const float>(frequencies), pairs, is_bf16};
}

using PositionsAt = std::tuple<std::uintptr_t, std::size_t, std::size_t>;

Positions positions_at(const PositionsAt& given) {
    const auto& [at, axis, token] = given;
    return {pointer<const std::int64_t>(at), axis, token};
}

void turn_all(const RotationAt& rotation, bool is_bf16, const PositionsAt& positions,
              std::size_t tokens, std::uintptr_t turns) {
    turn(rotation_at(rotation, is_bf16), positions_at(positions), tokens, pointer<float>(turns));
}

Decoder make_decoder(std::vector<Layer> layers, const RotationAt& rotation, std::size_t words,
                     std::uintptr_t table, std::uintptr_t norm, float eps, bool is_bf16) {
    return {std::move(layers),
            rotation_at(rotation, is_bf16),
            words,
            pointer<const void>(table),
            pointer<const void>(norm),
            eps,
            is_bf16};
}

// Stretches are those of the first layer, then those of the next.
void run_decoder(const Variant& variant, Pool& pool, const PageShape& shape, std::size_t stride,
                 std::uintptr_t stretches, std::size_t count, std::size_t heads,
                 const Decoder& decoder, std::uintptr_t words, const PositionsAt& positions,
                 std::size_t tokens, std::uintptr_t out, const std::optional<Head>& head,
                 std::uintptr_t logits, std::uintptr_t room) {
    const Pass pass = {shape, stride, pointer<const Stretch>(stretches), count, heads};
    run(*variant.kernels, pool, decoder, pass, pointer<const std::int64_t>(words),
        positions_at(positions), tokens, pointer<void>(out), head ? &*head : nullptr,
        pointer<float>(logits), pointer<float>(room));
}

static_assert(sizeof(Stretch) == 5 * sizeof(std::int64_t),
              "Python hands over rows of five numbers");

// Runs a loop of products on every thread; gives how many there were in all.
template <Rounds* Kernels::* kernel>
std::size_t rounds_on_all(const Variant& variant, Pool& pool, std::size_t rounds) {
    const std::lock_guard<std::mutex> turn(pool.turn());
    std::atomic<std::size_t> products{0};
    pool.run([&](int) {
        float left = 0;
        products += (variant.kernels->*kernel)(rounds, &left);
    });
    return products;
}

// Reads floats, each thread its stretch of them.
void read_on_all(const Variant& variant, Pool& pool, std::uintptr_t from, std::size_t count) {
    const std::lock_guard<std::mutex> turn(pool.turn());
    const std::size_t share = count / static_cast<std::size_t>(pool.threads());
    pool.run([&](int thread) {
        float left = 0;
        variant.kernels->read_through(
            pointer<const float>(from) + static_cast<std::size_t>(thread) * share, share, &left);
    });
}

// Calls all threads together, again and again, for nothing.
void meet(Pool& pool, std::size_t times) {
    const std::lock_guard<std::mutex> turn(pool.turn());
    for (std::size_t i = 0; i < times; ++i) pool.run([](int) {});
}

}  // namespace

NB_MODULE(_native, module) {
    nb::set_leak_warnings(false);  // the variant in use lives as long as the process
    const nb::call_guard<nb::gil_scoped_release> without_gil;  // kernels touch no Python object
    nb::enum_<Finish>(module, "Finish")
        .value("store", Finish::store)
        .value("add", Finish::add)
        .value("gelu", Finish::gelu)
        .value("gate", Finish::gate);
    nb::enum_<KeyFormat>(module, "KeyFormat")
        .value("int8", KeyFormat::int8)
        .value("bf16", KeyFormat::bf16);
    nb::class_<PageShape>(module, "PageShape")
        .def(nb::init<KeyFormat, std::size_t, std::size_t, std::size_t>())
        .def_prop_ro("bytes", &PageShape::bytes);
    nb::class_<Pool>(module, "Pool")
        .def(nb::init<int>())
        .def_prop_ro("threads", &Pool::threads)
        .def("meet", &meet, without_gil);
    nb::class_<Matrices>(module, "Matrices");
    module.def("join", &join);
    nb::class_<Layer>(module, "Layer").def("room", &Layer::room);
    module.def("layer", &make_layer);
    nb::class_<Decoder>(module, "Decoder").def("room", &Decoder::room);
    module.def("decoder", &make_decoder);
    nb::class_<Head>(module, "Head");
    module.def("head", &make_head);
    module.def("turn", &turn_all, without_gil);
    nb::class_<Variant>(module, "Variant")
        .def_ro("name", &Variant::name)
        .def("rms_norm_f32", &rms_norm<float, &Kernels::rms_norm_f32>, without_gil)
        .def("rms_norm_bf16", &rms_norm<BFloat16, &Kernels::rms_norm_bf16>, without_gil)
        .def("multiply", &multiply_all, without_gil)
        .def("remember", &remember_all, without_gil)
        .def("attend", &attend_all, without_gil)
        .def("run_layer", &run_layer, without_gil)
        .def("run_decoder", &run_decoder, without_gil)
        .def("score", &score_all, without_gil)
        .def("largest", &largest_all, without_gil)
        .def("draw", &draw_one, without_gil)
        .def("product_rounds", &rounds_on_all<&Kernels::product_rounds>, without_gil)
        .def("float_rounds", &rounds_on_all<&Kernels::float_rounds>, without_gil)
        .def("read", &read_on_all, without_gil);
    module.def("available_variants", &available_variants);
    module.def("choose_variant", &choose_variant);
}

}  // namespace qwen3_vl
