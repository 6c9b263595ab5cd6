// The kernels for one instruction set and type: compiled once for each, with WAVENET_ISA and WAVENET_REAL naming
// them (cpu.cmake).
//
// Everything lives in a namespace of those names and uses no template or inline function of the standard
// library. Otherwise the linker, which keeps one copy of such a function for the whole program, could keep
// the copy made of instructions that the processor lacks.
//
// WAVENET_PAIRS: of floats, those that multiply bfloat16 as such; WAVENET_TILES: in the tiles of AMX. (Not wherever the
// compiler may use those: it may have been told so for all kernels, but only those of AMX ask for the permission.)
// WAVENET_FORWARD_ONLY leaves out what only training needs, and single operators that no network is made of.
#include "cpu/isa.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#define WAVENET_MASKS !WAVENET_DOUBLE  // parts of vectors are loaded and stored by masks
#endif

#include <utility>

#include "cpu/instance.h"

#define WAVENET_HERE WAVENET_JOIN(in_, WAVENET_ISA, _, WAVENET_REAL)

namespace wavenet::cpu {
namespace WAVENET_HERE {

// clang-format off: each part builds on those before it.
#include "cpu/vector.h"
#include "cpu/cells.h"
#include "cpu/storage.h"
#include "cpu/gate.h"
#if WAVENET_PAIRS
#include "cpu/short_gate.h"
#endif
#include "cpu/scratch.h"
#include "cpu/micro_kernel.h"
#include "cpu/amx.h"
#include "cpu/fast.h"
#include "cpu/packing.h"
#include "cpu/tile.h"
#if !WAVENET_FORWARD_ONLY
#include "cpu/backward.h"
#endif
#if !WAVENET_DOUBLE && !WAVENET_PAIRS
#include "cpu/sample.h"
#include "cpu/compand.h"
constexpr SampleKernels kSampleKernels = {kLanes,      sample_panel_outputs, sample_product, sample_sum,
                                          sample_gate, sample_exp,           compand};
constexpr const SampleKernels* kSample = &kSampleKernels;
#include "cpu/in_time.h"
constexpr TimeKernels kTimeKernels = {2 * kLanes, time_product, time_activate};
constexpr const TimeKernels* kInTime = &kTimeKernels;
#else
constexpr const SampleKernels* kSample = nullptr;
constexpr const TimeKernels* kInTime = nullptr;
#endif
// clang-format on

}  // namespace WAVENET_HERE

namespace here = WAVENET_HERE;
#if WAVENET_TILES
bool WAVENET_JOIN(tiles_of_, WAVENET_ISA, _, agree)() { return here::tiles_agree(); }
#endif
extern const Kernels WAVENET_JOIN(kernels_, WAVENET_ISA, _, WAVENET_REAL);
const Kernels WAVENET_JOIN(kernels_, WAVENET_ISA, _, WAVENET_REAL) = {here::kBlockRows,
                                                                      here::kPerCell == 1,
                                                                      here::packed_reals,
                                                                      here::pack_units,
                                                                      here::pack,
                                                                      here::has_zero_weight,
                                                                      here::scratch_bytes,
                                                                      here::tile,
#if WAVENET_FORWARD_ONLY
                                                                      nullptr, nullptr, nullptr, nullptr, nullptr,
                                                                      nullptr, nullptr, here::copy_rows, nullptr,
#else
                                                                      here::backward_packed_reals,
                                                                      here::backward_pack_units,
                                                                      here::backward_pack,
                                                                      here::backward_scratch_bytes,
                                                                      here::backward_tile,
                                                                      here::backward_x_tile,
                                                                      here::sum_slices,
                                                                      here::copy_rows,
                                                                      here::store_reals,
#endif
                                                                      here::kSample, here::kInTime};

}  // namespace wavenet::cpu
