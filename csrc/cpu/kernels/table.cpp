// The kernels of the variant that is being compiled; dispatch.cpp picks one such table.
#include "../kernels.h"
#include "../simd/simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {

RmsNorm<float> rms_norm;
RmsNorm<BFloat16> rms_norm;
LayerNorm layer_norm;
Dot<float> dot;
Dot<BFloat16> dot;
RoundGroups round_groups;
RoundToken round_token;
Few int4_few, upper_few;
JoinHalves join_halves;
Few int8_few;
Unpack unpack_int4;
Many many;
PlaceFloatPairs place_float_pairs;
PlacePairs place_pairs;
FewPairs bf16_few;
ManyPairs bf16_many;
WriteBlock finish;
TurnHead turn_head;
WritePage write_page;
Attend attend, attend_many;
Reach reach;
Maxima maxima;
Odds odds;
Rounds product_rounds, float_rounds;
ReadThrough read_through;

extern const Kernels kernels;
const Kernels kernels = {rms_norm,
                         rms_norm,
                         layer_norm,
                         dot,
                         dot,
                         round_groups,
                         round_token,
                         int4_few,
                         upper_few,
                         join_halves,
                         int8_few,
                         unpack_int4,
                         many,
                         place_float_pairs,
                         place_pairs,
                         bf16_few,
                         bf16_many,
                         finish,
                         turn_head,
                         write_page,
                         attend,
                         attend_many,
                         reach,
                         maxima,
                         odds,
                         product_rounds,
                         float_rounds,
                         read_through,
                         many_tokens,
                         many_panels,
                         tile_tokens,
                         sizeof(Pair),
                         largest_against_bytes};

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
