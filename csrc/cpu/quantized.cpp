#include "cpu/quantized.h"

#include <cstring>
#include <string_view>

#if defined(__linux__) && defined(__aarch64__)
#include <sys/auxv.h>
#endif
#if defined(WAVENET_HAVE_AVXVNNI)
#include <cpuid.h>
#endif

namespace wavenet::cpu {

#define WAVENET_QUANTIZED(isa) extern const QuantizedKernels quantized_##isa
WAVENET_QUANTIZED(portable);
WAVENET_QUANTIZED(avx2);
WAVENET_QUANTIZED(avxvnni);
WAVENET_QUANTIZED(avx512);
WAVENET_QUANTIZED(avx512vnni);
WAVENET_QUANTIZED(neon);
WAVENET_QUANTIZED(dotprod);

namespace {

#if defined(WAVENET_HAVE_DOTPROD)
bool has_dot_products() {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & (1ul << 20)) != 0;  // HWCAP_ASIMDDP
#elif defined(__APPLE__)
  return true;
#else
  return false;
#endif
}
#endif

#if defined(WAVENET_HAVE_AVXVNNI)
// Beside AVX2, whose registers the system is known to save. Not every compiler that makes such instructions knows the
// name for __builtin_cpu_supports.
bool has_avxvnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || a == 0) return false;  // a: how many more there are
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4) != 0;
}
#endif

}  // namespace

const QuantizedKernels& quantized_kernels(const Isa& isa) {
  [[maybe_unused]] std::string_view name = isa.name;
  if (name == "amx") name = "avx512";  // tiles are of bfloat16 alone
#if defined(WAVENET_HAVE_AVX512VNNI)
  if (name == "avx512" && __builtin_cpu_supports("avx512vnni")) return quantized_avx512vnni;
#endif
#if defined(WAVENET_HAVE_AVX512)
  if (name == "avx512") return quantized_avx512;
#endif
#if defined(WAVENET_HAVE_AVXVNNI)
  if (name == "avx2" && has_avxvnni()) return quantized_avxvnni;
#endif
#if defined(WAVENET_HAVE_AVX2)
  if (name == "avx2") return quantized_avx2;
#endif
#if defined(WAVENET_HAVE_DOTPROD)
  if (has_dot_products()) return quantized_dotprod;
#endif
#if defined(WAVENET_HAVE_NEON)
  return quantized_neon;
#elif defined(WAVENET_HAVE_PORTABLE)
  return quantized_portable;
#elif defined(WAVENET_HAVE_AVX2)
  return quantized_avx2;
#else
  return quantized_avx512;
#endif
}

void append_outputs(std::vector<int64_t>& outputs, int64_t first, int64_t count, int64_t lanes) {
  const int64_t whole = (count + lanes - 1) / lanes * lanes;
  for (int64_t i = 0; i < whole; ++i) outputs.push_back(i < count ? first + i : -1);
}

std::vector<int64_t> outputs_of(int64_t first, int64_t count, int64_t lanes) {
  std::vector<int64_t> outputs;
  append_outputs(outputs, first, count, lanes);
  return outputs;
}

QuantizedMatrix pack_quantized(int64_t lanes, const std::vector<int64_t>& outputs, const QuantizedWeights& weights) {
  const int64_t count = static_cast<int64_t>(outputs.size()), taps = weights.taps, channels = weights.channels;
  QuantizedMatrix m;
  m.vectors = count / lanes, m.taps = taps, m.bytes = quantized_bytes(channels);
  const std::size_t size = static_cast<std::size_t>(panel_bytes(m, count));
  m.held = allocate(size), m.data = m.held.get();
  std::memset(m.held.get(), 0, size);
  for (int64_t first = 0; first < count; first += 2 * lanes) {
    const int64_t width = count - first < 2 * lanes ? count - first : 2 * lanes;
    char* panel = m.held.get() + panel_bytes(m, first);
    for (int64_t i = 0; i < width; ++i) {
      const int64_t output = outputs[first + i];
      if (output < 0) continue;
      float* scales = reinterpret_cast<float*>(panel);
      scales[i] = weights.scale[output];
      if (weights.bias) scales[width + i] = weights.bias[output];
      const int8_t* from = weights.weight + output * channels * taps;
      for (int64_t k = 0; k < taps; ++k) {
        char* tap = panel + width * (8 + k * (4 + m.bytes));
        int32_t sum = 0;
        for (int64_t c = 0; c < channels; ++c) {
          const int8_t weight = from[c * taps + k];
          sum += weight;
          tap[width * 4 + c / 4 * width * 4 + i * 4 + c % 4] = static_cast<char>(weight);
        }
        reinterpret_cast<int32_t*>(tap)[i] = static_cast<int32_t>(-kMostQuantized) * sum;
      }
    }
  }
  return m;
}

}  // namespace wavenet::cpu
