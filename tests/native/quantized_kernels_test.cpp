// The kernels of int8 for all instruction sets of x86 give the same bits: those of AVX2 as shipped, the others with
// their instructions emulated (emulated_int8.h), and the numbers that cpu/quantized.h defines.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "cpu/quantized.h"

namespace wavenet::cpu {
extern const QuantizedKernels quantized_avx2, quantized_avxvnni, quantized_avx512, quantized_avx512vnni;
}

using namespace wavenet::cpu;

namespace {

struct Named {
  const char* name;
  const QuantizedKernels& kernels;
};
const Named kAll[] = {{"avx2", quantized_avx2},
                      {"avxvnni", quantized_avxvnni},
                      {"avx512", quantized_avx512},
                      {"avx512vnni", quantized_avx512vnni}};

std::mt19937 random_bits(1);
int failures = 0;

void expect_same(const std::vector<float>& found, const std::vector<float>& expected, const std::string& what) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const bool same = std::memcmp(&found[i], &expected[i], sizeof(float)) == 0;
    if (same || (std::isnan(found[i]) && std::isnan(expected[i]))) continue;
    if (++failures <= 10) std::printf("%s: element %zu is %a, not %a\n", what.c_str(), i, found[i], expected[i]);
    return;
  }
}

struct Weights {
  int64_t outputs, channels, taps;
  std::vector<int8_t> weight;
  std::vector<float> scale, bias;

  Weights(int64_t outputs, int64_t channels, int64_t taps, bool most) : outputs(outputs), channels(channels), taps(taps) {
    for (int64_t i = 0; i < outputs * channels * taps; ++i) {
      const int any = static_cast<int>(random_bits() % 129) - 64;
      weight.push_back(static_cast<int8_t>(most ? (i / channels % 2 ? 64 : -64) : any));
    }
    for (int64_t i = 0; i < outputs; ++i) {
      scale.push_back(1e-3f * static_cast<float>(1 + random_bits() % 100));
      bias.push_back(1e-2f * static_cast<float>(random_bits() % 200) - 1.0f);
    }
  }
  QuantizedMatrix packed(int64_t lanes, const std::vector<int64_t>& order) const {
    return pack_quantized(lanes, order, {weight.data(), scale.data(), bias.data(), channels, taps});
  }
};

// Quantised rows, `past` of them before row 0.
struct Inputs {
  std::vector<uint8_t> bytes;
  std::vector<float> scales;
  int64_t past, size;

  Inputs(const QuantizedKernels& kernels, const std::vector<float>& x, int64_t channels, int64_t past)
      : past(past), size(quantized_bytes(channels)) {
    const int64_t rows = static_cast<int64_t>(x.size()) / channels;
    bytes.resize(static_cast<size_t>(rows * size)), scales.resize(static_cast<size_t>(rows));
    kernels.quantize(x.data(), channels, rows, channels, all());
  }
  QuantizedRows all() { return {bytes.data(), scales.data(), size}; }
  QuantizedRows now() { return rows_from(all(), past); }
};

std::vector<float> noise(int64_t count, bool most) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) {
    values.push_back(most ? 1.0f : 1e-3f * static_cast<float>(random_bits() % 4000) - 2.0f);
  }
  return values;
}

// By the definition: sums of bytes, which become floats one tap after another.
std::vector<float> convolved(const Weights& w, Inputs& in, int64_t rows) {
  std::vector<float> y;
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t o = 0; o < w.outputs; ++o) {
      float total = 0;
      for (int64_t k = 0; k < w.taps; ++k) {
        const QuantizedRows x = rows_from(in.now(), t + k + 1 - w.taps);
        int32_t sum = 0;
        for (int64_t c = 0; c < w.channels; ++c) {
          sum += (int32_t{x.data[c]} - 64) * w.weight[static_cast<size_t>((o * w.channels + c) * w.taps + k)];
        }
        total = std::fma(x.scales[0], static_cast<float>(sum), total);
      }
      y.push_back(std::fma(total, w.scale[static_cast<size_t>(o)], w.bias[static_cast<size_t>(o)]));
    }
  }
  return y;
}

void test_convolution(int64_t channels, int64_t outputs, int64_t taps, int64_t rows, bool most) {
  const Weights w(outputs, channels, taps, most);
  std::vector<float> x = noise((rows + taps - 1) * channels, most);
  if (rows == 5) x[x.size() / 2] = NAN, x[1] = INFINITY, x.back() = 0;
  for (const Named& one : kAll) {
    Inputs in(one.kernels, x, channels, taps - 1);
    std::vector<float> y(static_cast<size_t>(rows * outputs));
    const QuantizedMatrix matrix = w.packed(one.kernels.lanes, outputs_of(0, outputs, one.kernels.lanes));
    one.kernels.convolve(matrix, in.now(), rows, outputs, y.data());
    expect_same(y, convolved(w, in, rows), std::string("convolution, ") + one.name);
    Inputs first(quantized_avx2, x, channels, taps - 1);
    expect_same(in.scales, first.scales, std::string("scales, ") + one.name);
    expect_same({in.bytes.begin(), in.bytes.end()}, {first.bytes.begin(), first.bytes.end()},
                std::string("bytes, ") + one.name);
  }
}

void test_layer(int64_t R, int64_t D, int64_t S, int64_t rows, bool most) {
  const Weights conv(2 * D, R, 2, most), out(R + S, D, 1, most);
  const int64_t dilation = 3;
  const std::vector<float> x = noise((rows + dilation) * R, most), before = noise(rows * S, false);
  std::vector<float> residual, skip;
  for (const Named& one : kAll) {
    const int64_t lanes = one.kernels.lanes;
    std::vector<int64_t> gated;
    for (int64_t first = 0; first < D; first += lanes) {
      const int64_t count = D - first < lanes ? D - first : lanes;
      append_outputs(gated, first, count, lanes), append_outputs(gated, D + first, count, lanes);
    }
    QuantizedLayer layer;
    layer.R = R, layer.D = D, layer.S = S, layer.dilation = dilation, layer.residual_scale = 0.7f;
    layer.convolution = conv.packed(lanes, gated);
    layer.residual = out.packed(lanes, outputs_of(0, R, lanes)), layer.skip = out.packed(lanes, outputs_of(R, S, lanes));
    Inputs in(one.kernels, x, R, dilation);
    std::vector<float> r(x.begin() + dilation * R, x.end()), s = before;
    const Memory scratch = allocate(static_cast<size_t>(one.kernels.scratch_bytes(layer, rows)));
    one.kernels.layer(layer, in.now(), rows, r.data(), s.data(), true, scratch.get());
    if (residual.empty()) residual = r, skip = s;
    expect_same(r, residual, std::string("residual, ") + one.name);
    expect_same(s, skip, std::string("skip, ") + one.name);
  }
}

}  // namespace

int main() {
  int cases = 0;
  for (const bool most : {false, true}) {
    for (const int64_t channels : {1, 3, 8, 17, 40, 64}) {
      for (const int64_t outputs : {1, 7, 16, 31, 33, 64}) {
        for (const int64_t taps : {1, 3}) {
          for (const int64_t rows : {1, 5, 13, 23}) ++cases, test_convolution(channels, outputs, taps, rows, most);
        }
      }
    }
    for (const int64_t R : {1, 16, 24, 33}) {
      for (const int64_t D : {1, 8, 17, 32}) {
        for (const int64_t S : {5, 16, 40}) {
          for (const int64_t rows : {1, 7, 70}) ++cases, test_layer(R, D, S, rows, most);
        }
      }
    }
  }
  std::printf("%d cases, %d failures\n", cases, failures);
  return failures != 0;
}
