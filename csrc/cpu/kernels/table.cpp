// The kernels of the variant that is being compiled; dispatch.cpp picks one such table.
#include "../kernels.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {

RmsNorm<float> rms_norm;
RmsNorm<BFloat16> rms_norm;

extern const Kernels kernels;
const Kernels kernels = {rms_norm, rms_norm};

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
