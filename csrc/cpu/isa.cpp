// The kernels for one instruction set: compiled once for each, with WAVENET_ISA naming it (cpu.cmake).
//
// Everything lives in a namespace of that name and uses no template or inline function of the standard
// library. Otherwise the linker, which keeps one copy of such a function for the whole program, could keep
// the copy made of instructions that the processor lacks.
#include "cpu/isa.h"

#define WAVENET_STRING_(x) #x
#define WAVENET_STRING(x) WAVENET_STRING_(x)
#define WAVENET_CONCAT_(a, b) a##b
#define WAVENET_CONCAT(a, b) WAVENET_CONCAT_(a, b)

#if defined(__clang__)
#define WAVENET_UNROLL _Pragma("unroll")
#else
#define WAVENET_UNROLL _Pragma("GCC unroll 32")
#endif

namespace wavenet::cpu {
namespace WAVENET_ISA {

// clang-format off: each part builds on those before it.
#include "cpu/vector.h"
#include "cpu/gate.h"
#include "cpu/micro_kernel.h"
#include "cpu/packing.h"
#include "cpu/taps.h"
#include "cpu/tile.h"
#include "cpu/backward.h"
// clang-format on

}  // namespace WAVENET_ISA

const Isa& WAVENET_CONCAT(isa_, WAVENET_ISA)() {
  namespace here = WAVENET_ISA;
  static const Isa isa = {WAVENET_STRING(WAVENET_ISA),
                          here::kRows,
                          here::packed_floats,
                          here::pack_units,
                          here::pack,
                          here::scratch_bytes,
                          here::tile,
                          here::backward_packed_floats,
                          here::backward_pack_units,
                          here::backward_pack,
                          here::backward_scratch_bytes,
                          here::backward_tile,
                          here::backward_x_tile,
                          here::add_sum};
  return isa;
}

}  // namespace wavenet::cpu
