// The sampling loop on several threads against one: every sample the same, and under ThreadSanitizer no race.
#pragma once

#include <random>
#include <vector>

#include "cpu/sampler.h"

namespace wavenet {

// Whether two signals of a small network come out the same, made in pieces by ever other numbers of threads.
inline bool samples_alike_on_threads(const cpu::Isa& isa, bool half) {
  std::mt19937 random(0);
  std::uniform_real_distribution<float> uniform(-0.5f, 0.5f);
  const auto numbers = [&](int64_t count) {
    std::vector<float> result(count);
    for (float& value : result) value = uniform(random);
    return result;
  };
  cpu::SampleNetwork net;
  net.taps = 1, net.R = 21, net.D = 34, net.S = 7, net.K = 3, net.H = 40, net.P = 6;
  net.dilations = {1, 2, 9};
  net.draw = cpu::Draw::logistic;
  const int64_t L = net.layers(), B = 2, n = 40;
  const std::vector<float> input = numbers(net.R), conv = numbers(L * 2 * net.D * net.R * net.K);
  const std::vector<float> out = numbers(L * (net.R + net.S) * net.D), hidden = numbers(net.H * net.S);
  const std::vector<float> output = numbers(net.P * net.H), cond = numbers(B * n * L * 2 * net.D);
  net.input_weight = net.input_bias = input.data();
  net.conv_weight = conv.data(), net.conv_bias = nullptr, net.out_weight = out.data(), net.out_bias = nullptr;
  net.hidden_weight = hidden.data(), net.hidden_bias = nullptr;
  net.output_weight = output.data(), net.output_bias = nullptr;

  const auto made = [&](int64_t piece, int most) {
    cpu::Sampler sampler(isa, net, B, half);
    std::vector<float> all;
    for (int64_t at = 0; at < n; at += piece) {
      std::vector<float> samples(B * piece);
      cpu::SampleRun run;
      run.n = piece, run.out = samples.data(), run.seed = 1;
      run.cond.data = const_cast<float*>(cond.data() + at * L * 2 * net.D);
      run.cond.batch_stride = n * L * 2 * net.D, run.cond.time_stride = L * 2 * net.D;
      if (sampler.run(run, 1 + static_cast<int>(at / piece) % most) >= 0) return std::vector<float>();
      all.insert(all.end(), samples.begin(), samples.end());
    }
    return all;
  };
  const std::vector<float> alone = made(5, 1);
  return !alone.empty() && made(5, 4) == alone;
}

}  // namespace wavenet
