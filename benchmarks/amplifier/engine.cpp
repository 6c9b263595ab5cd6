// The other engine (https://github.com/sdatkinson/NeuralAmpModelerCore), in any of its versions that read a model by
// `nam::get_dsp`. Compiled with its sources, which are not part of this project.
#include <cstdio>
#include <exception>
#include <memory>

#include "NAM/activations.h"
#include "NAM/dsp.h"
#if __has_include("NAM/get_dsp.h")
#include "NAM/get_dsp.h"
#endif
#include "driver.h"

namespace {

// Of one channel, or by a pointer to each channel in later versions.
template <class Engine>
auto process(Engine& engine, float* input, float* output, int count, int)
    -> decltype(engine.process(&input, &output, 1)) {
  engine.process(&input, &output, count);
}
template <class Engine>
void process(Engine& engine, float* input, float* output, int count, long) {
  engine.process(input, output, count);
}

}  // namespace

extern "C" {

DRIVER void use_fast_tanh(int use) {  // by the engines that are opened next
  use ? nam::activations::Activation::enable_fast_tanh() : nam::activations::Activation::disable_fast_tanh();
}

void* driver_open(const char* path, int most) {
  try {
    std::unique_ptr<nam::DSP> engine = nam::get_dsp(std::filesystem::path(path));
    engine->Reset(48000, most);
    return engine.release();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", path, error.what());
    return nullptr;
  }
}

void driver_close(void* driver) { delete static_cast<nam::DSP*>(driver); }

void driver_run(void* driver, const float* input, float* output, size_t count, int buffer) {
  nam::DSP& engine = *static_cast<nam::DSP*>(driver);
  for (size_t at = 0; at < count; at += buffer) {
    const int some = static_cast<int>(count - at < static_cast<size_t>(buffer) ? count - at : buffer);
    process(engine, const_cast<float*>(input) + at, output + at, some, 0);
  }
}

}  // extern "C"
