// The kernels of one variant, by number.
#include "../../csrc/cpu/kernels.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
extern const Kernels kernels;
}

extern "C" const void* kernel(size_t number) {
    const qwen3_vl::Kernels& all = qwen3_vl::QWEN3_VL_VARIANT::kernels;
    const void* const found[] = {
        reinterpret_cast<const void*>(all.round_groups),
        reinterpret_cast<const void*>(all.round_token),
        reinterpret_cast<const void*>(all.int4_few),
        reinterpret_cast<const void*>(all.int8_few),
        reinterpret_cast<const void*>(all.unpack_int4),
        reinterpret_cast<const void*>(all.many),
        reinterpret_cast<const void*>(all.place_float_pairs),
        reinterpret_cast<const void*>(all.bf16_few),
        reinterpret_cast<const void*>(all.finish),
        reinterpret_cast<const void*>(all.rms_norm_f32),
        reinterpret_cast<const void*>(all.layer_norm),
        reinterpret_cast<const void*>(all.write_page),
        reinterpret_cast<const void*>(all.attend),
        reinterpret_cast<const void*>(all.attend_many),
        reinterpret_cast<const void*>(all.upper_few),
        reinterpret_cast<const void*>(all.join_halves),
        reinterpret_cast<const void*>(all.maxima),
    };
    return found[number];
}
