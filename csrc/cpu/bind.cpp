// The Python module qwen3_vl._native. Its stub, _native.pyi, is the documentation for callers.
//
// Tensors arrive as addresses (tensor.data_ptr()): an integer argument costs a fraction of what an
// array argument costs, and no torch header is needed, so one build serves every torch.
#include "dispatch.h"

#include <cstdint>
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

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

}  // namespace

NB_MODULE(_native, module) {
    nb::set_leak_warnings(false);  // the variant in use lives as long as the process
    const nb::call_guard<nb::gil_scoped_release> without_gil;  // kernels touch no Python object
    nb::class_<Variant>(module, "Variant")
        .def_ro("name", &Variant::name)
        .def("rms_norm_f32", &rms_norm<float, &Kernels::rms_norm_f32>, without_gil)
        .def("rms_norm_bf16", &rms_norm<BFloat16, &Kernels::rms_norm_bf16>, without_gil);
    module.def("available_variants", &available_variants);
    module.def("choose_variant", &choose_variant);
}

}  // namespace qwen3_vl
