#include "runtime/generator.h"

#include <algorithm>
#include <cmath>

#include "runtime/network.h"

namespace wavenet::runtime {

namespace {

constexpr int64_t kPiece = 256;  // samples at a time

}  // namespace

GeneratorNetwork::GeneratorNetwork(const File& file) {
  cpu::SampleNetwork& n = network;
  sample_rate = positive(file, "sample_rate", 1e9);
  gain = static_cast<float>(positive(file, "gain", 1e9));
  n.draw = static_cast<cpu::Draw>(file.integer("draw", 0, 2));
  n.codes = file.integer("codes", 0, kMostChannels);
  n.taps = file.integer("taps", 1, kMostTaps);
  const Layers layers(file);
  n.R = layers.R, n.D = layers.D, n.S = layers.S, n.K = layers.K, n.dilations = layers.dilations;
  n.residual_scale = static_cast<float>(layers.residual_scale);
  // Products of past samples are made ahead, for each tap (cpu/sampler.cpp).
  const uint64_t ahead = product({n.layers(), n.K, cpu::kSamplesAhead, 2 * std::max(n.D, kLeastRow)});
  if (ahead > kMostNumbers) throw BadFile("has impossible sizes");
  n.H = file.integer("head_channels", 1, kMostChannels);
  n.P = file.integer("parameters", 1, kMostChannels);
  const bool softmax = n.draw == cpu::Draw::softmax, pair = n.draw == cpu::Draw::gaussian && n.P == 2;
  if (softmax ? n.codes != n.P : n.codes != 0 || !(n.P % 3 == 0 || pair)) throw BadFile("has impossible parameters");
  n.first = file.number("first");
  const double most = softmax ? static_cast<double>(n.codes - 1) : 1;
  if (!(n.first >= (softmax ? 0 : -1) && n.first <= most)) throw BadFile("has an impossible first");
  if (file.has("conditioning.channels")) {
    conditioning = std::make_unique<ConditioningNetwork>(file, n.layers() * 2 * n.D);
  }
  if (file.has("companding")) companding = static_cast<float>(positive(file, "companding", 1e9));
  if (file.has("pre_emphasis")) pre_emphasis = positive(file, "pre_emphasis", 1);
  n.skip_scale = static_cast<float>(positive(file, "skip_scale", 1e9));
  n.input_tanh = file.integer("input_tanh", 0, 1) == 1;
  n.has_floor = file.has("scale_floor");
  if (n.has_floor) n.scale_floor = static_cast<float>(file.number("scale_floor"));

  const auto held = [&](const Weights& of, const char* name) {
    if (of.quantized) throw BadFile("has int8 weights in " + std::string(name));
    held_.push_back(of.floats());
    return held_.back().get();
  };
  const auto weight = [&](const char* name, int64_t outputs, int64_t channels, int64_t taps) {
    return held(weights_of(file, name, 1, outputs, channels, taps), name);
  };
  n.input_weight = weight("input.weight", n.taps, std::max<int64_t>(n.codes, 1), n.R);
  n.input_bias = file.floats_or_null("input.bias", product({n.R}));
  n.conv_weight = held(layers.conv, "stack.conv_weight"), n.conv_bias = layers.conv.bias;
  n.out_weight = held(layers.out, "stack.out_weight"), n.out_bias = layers.out.bias;
  n.hidden_weight = weight("hidden.weight", n.H, n.S, 1);
  n.hidden_bias = file.floats_or_null("hidden.bias", product({n.H}));
  n.output_weight = weight("output.weight", n.P, n.H, 1);
  n.output_bias = file.floats_or_null("output.bias", product({n.P}));
  if (softmax) {
    values = file.floats("values", static_cast<uint64_t>(n.codes));
    const auto inside = [](float value) { return value >= -1.0f && value <= 1.0f; };
    if (!std::all_of(values, values + n.codes, inside)) throw BadFile("has values that are no samples");
  }
}

Generator::Generator(const cpu::Isa& isa, const GeneratorNetwork& net, uint64_t seed, float temperature)
    : net_(net), sampler_(isa, net.network, 1, false), seed_(seed), temperature_(temperature), codes_(kPiece) {
  if (net.conditioning) conditioning_ = std::make_unique<Conditioning>(isa, *net.conditioning);
}

void Generator::reset() {
  sampler_.reset();
  if (conditioning_) conditioning_->reset();
  last_ = 0;
}

int64_t Generator::run(float* samples, int64_t count) {
  int64_t made = 0;
  while (made < count) {
    cpu::SampleRun run;
    run.n = std::min(kPiece, count - made);
    run.seed = seed_, run.temperature = temperature_;
    if (conditioning_) run.n = conditioning_->next(run.n, run.cond);
    if (run.n == 0) break;
    float* to = samples + made;
    if (net_.values) {
      run.out = codes_.data();
    } else {
      run.out = to;
    }
    if (sampler_.run(run, 1) >= 0) return -1;
    for (int64_t i = 0; net_.values && i < run.n; ++i) to[i] = net_.values[codes_[i]];
    finish_sound(to, run.n);
    made += run.n;
  }
  return made;
}

// As Loop.finish of wavenet.generation.generate.
void Generator::finish_sound(float* samples, int64_t count) {
  const float mu = net_.companding;
  for (int64_t i = 0; i < count; ++i) {
    float x = samples[i];
    if (mu > 0) x = std::copysign(std::expm1(std::fabs(x) * std::log1p(mu)) / mu, x);
    if (net_.pre_emphasis > 0) x = static_cast<float>(last_ = x + net_.pre_emphasis * last_);
    samples[i] = std::min(1.0f, std::max(-1.0f, x / net_.gain));
  }
}

}  // namespace wavenet::runtime
