// The border between C and C++ (wavenet.h): arguments are checked and exceptions end here.
#include "wavenet.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <new>
#include <stdexcept>
#include <system_error>

#include "cpu/dispatch.h"
#include "runtime/amplifier.h"
#include "runtime/classifier.h"
#include "runtime/generator.h"
#include "runtime/mapping.h"
#include "runtime/stack.h"

using namespace wavenet;

struct wavenet_model {
  std::unique_ptr<runtime::Mapping> mapping;  // none where the bytes are the caller's
  std::unique_ptr<runtime::Network> network;            // of a classifier
  std::unique_ptr<runtime::GeneratorNetwork> generator;  // or of what generates
  std::unique_ptr<runtime::Layers> stack;                // or a stack alone
  std::unique_ptr<runtime::AmplifierNetwork> amplifier;  // or a device that a signal is played through

  void read(const runtime::File& file) {
    const std::vector<std::string> kinds = file.texts("kind");
    const std::string& kind = kinds.front();
    if (kinds.size() == 1 && kind == "classifier") {
      network = std::make_unique<runtime::Network>(file);
    } else if (kinds.size() == 1 && kind == "generator") {
      generator = std::make_unique<runtime::GeneratorNetwork>(file);
    } else if (kinds.size() == 1 && kind == "stack") {
      stack = std::make_unique<runtime::Layers>(file);
    } else if (kinds.size() == 1 && kind == "amplifier") {
      amplifier = std::make_unique<runtime::AmplifierNetwork>(file);
    } else {
      throw runtime::BadFile("is of no kind that is known");
    }
  }
};

struct wavenet_classifier {
  runtime::Classifier classifier;
};

struct wavenet_generator {
  size_t channels;  // of its frames, or 0
  runtime::Generator generator;
};

struct wavenet_stack {
  size_t inputs, outputs;
  std::unique_ptr<runtime::PlainStack> stack;
  std::unique_ptr<runtime::Amplifier> amplifier;  // or this one
};

namespace {

constexpr double kDay = 86400;
constexpr double kMostOfWindow = 1 << 28;  // numbers: a gigabyte

void say(wavenet_error* error, wavenet_status status, const char* what, const char* message) {
  if (!error) return;
  error->status = status;
  std::snprintf(error->message, sizeof error->message, "%s%s%s", what, *what ? " " : "", message);
}

std::nullptr_t refuse(wavenet_error* error, const char* argument, const char* wrong) {
  say(error, WAVENET_BAD_ARGUMENT, argument, wrong);
  return nullptr;
}

// What `make` gives, or null and why not.
template <class Make>
auto guarded(const char* what, wavenet_error* error, const Make& make) -> decltype(make()) {
  if (error) *error = {WAVENET_OK, {}};
  try {
    return make();
  } catch (const runtime::BadFile& bad) {
    say(error, WAVENET_BAD_FILE, what, bad.what());
  } catch (const runtime::NewerFile& newer) {
    say(error, WAVENET_NEWER_FILE, what, newer.what());
  } catch (const std::system_error& failure) {
    say(error, WAVENET_NO_FILE, what, ("can't be read: " + failure.code().message()).c_str());
  } catch (const std::bad_alloc&) {
    say(error, WAVENET_NO_MEMORY, "", "there is not enough memory");
  } catch (const std::length_error&) {  // a vector of more than can be addressed
    say(error, WAVENET_NO_MEMORY, "", "there is not enough memory");
  }
  return nullptr;
}

const cpu::Isa& isa() {
  static const cpu::Isa& best = cpu::find_isa("");
  return best;
}

int64_t frames_of(const runtime::Network& net, double seconds) {
  const double frames = std::nearbyint(seconds * net.sample_rate / static_cast<double>(net.frame_samples()));
  return frames < 1 ? 1 : static_cast<int64_t>(frames);
}

// Numbers that are held of each frame of a window (pooling.h, and WholeWindows of listener.h).
double numbers_of_frame(const runtime::Network& net) {
  double numbers = static_cast<double>(net.pooled_channels()) + 1;
  if (net.clip_norm) numbers += 2.0 * static_cast<double>(net.frame_samples()) + static_cast<double>(net.S);
  return numbers;
}

}  // namespace

extern "C" {

const char* wavenet_version(void) { return WAVENET_VERSION; }

const char* wavenet_instruction_set(void) { return isa().name; }

wavenet_model* wavenet_model_open(const char* path, wavenet_error* error) {
  return guarded(path ? path : "", error, [&]() -> wavenet_model* {
    if (!path) return refuse(error, "path", "is NULL; a file's name is accepted");
    auto model = std::make_unique<wavenet_model>();
    model->mapping = std::make_unique<runtime::Mapping>(path);
    model->read(runtime::File(model->mapping->bytes(), model->mapping->size()));
    return model.release();
  });
}

wavenet_model* wavenet_model_from_memory(const void* bytes, size_t size, wavenet_error* error) {
  return guarded("the model in memory", error, [&]() -> wavenet_model* {
    if (!bytes || reinterpret_cast<uintptr_t>(bytes) % 64 != 0) {
      return refuse(error, "bytes", "is NULL or not aligned to 64 bytes");
    }
    auto model = std::make_unique<wavenet_model>();
    model->read(runtime::File(static_cast<const char*>(bytes), size));
    return model.release();
  });
}

void wavenet_model_free(wavenet_model* model) { delete model; }

double wavenet_model_sample_rate(const wavenet_model* model) {
  if (model->network) return model->network->sample_rate;
  if (model->generator) return model->generator->sample_rate;
  return model->amplifier ? model->amplifier->sample_rate : 0;
}

size_t wavenet_model_classes(const wavenet_model* model) { return model->network ? model->network->labels.size() : 0; }

const char* wavenet_model_label(const wavenet_model* model, size_t which) {
  return which < wavenet_model_classes(model) ? model->network->labels[which].c_str() : nullptr;
}

size_t wavenet_model_frame_channels(const wavenet_model* model) {
  const bool has = model->generator && model->generator->conditioning;
  return has ? static_cast<size_t>(model->generator->conditioning->channels) : 0;
}

size_t wavenet_model_frame_samples(const wavenet_model* model) {
  return wavenet_model_frame_channels(model) ? static_cast<size_t>(model->generator->conditioning->hop) : 0;
}

wavenet_classifier* wavenet_classifier_create(const wavenet_model* model, double window_seconds, double hop_seconds,
                                              wavenet_error* error) {
  return guarded("", error, [&]() -> wavenet_classifier* {
    if (!model || !model->network) return refuse(error, "model", model ? "is no classifier" : "is NULL");
    const runtime::Network& net = *model->network;
    if (!(window_seconds >= 0 && window_seconds <= kDay)) {
      return refuse(error, "window_seconds", "is not from 0 to a day");
    }
    if (!(hop_seconds > 0 && hop_seconds <= kDay)) return refuse(error, "hop_seconds", "is not above 0, up to a day");
    if (window_seconds == 0 && net.clip_norm) {
      return refuse(error, "window_seconds", "is 0; a model that normalises clips accepts a length only");
    }
    const int64_t window = window_seconds == 0 ? 0 : frames_of(net, window_seconds);
    const double most = std::floor(kMostOfWindow / numbers_of_frame(net));
    if (window > 1 && static_cast<double>(window) > most) {
      const double seconds = most * static_cast<double>(net.frame_samples()) / net.sample_rate;
      char wrong[96];
      std::snprintf(wrong, sizeof wrong, "would take more than a gigabyte of memory; accepted of this model is up to %g",
                    seconds);
      return refuse(error, "window_seconds", wrong);
    }
    return new wavenet_classifier{runtime::Classifier(isa(), net, window, frames_of(net, hop_seconds))};
  });
}

void wavenet_classifier_free(wavenet_classifier* classifier) { delete classifier; }

ptrdiff_t wavenet_classifier_push(wavenet_classifier* classifier, const float* samples, size_t count) {
  // No more than these are looked at, or a long signal that is offered again and again is searched as often.
  count = std::min(count, static_cast<size_t>(classifier->classifier.room()));
  for (size_t i = 0; i < count; ++i) {
    if (!std::isfinite(samples[i])) return -1;
  }
  return static_cast<ptrdiff_t>(classifier->classifier.push(samples, static_cast<int64_t>(count)));
}

void wavenet_classifier_finish(wavenet_classifier* classifier) { classifier->classifier.finish(); }

int wavenet_classifier_read(wavenet_classifier* classifier, wavenet_decision* decision) {
  runtime::Decision made;
  if (!classifier->classifier.read(made)) return 0;
  *decision = {made.start, made.end, made.logits, made.probabilities, static_cast<size_t>(made.best)};
  return 1;
}

void wavenet_classifier_reset(wavenet_classifier* classifier) { classifier->classifier.reset(); }

double wavenet_classifier_delay(const wavenet_classifier* classifier) { return classifier->classifier.delay(); }

wavenet_generator* wavenet_generator_create(const wavenet_model* model, uint64_t seed, double temperature,
                                            wavenet_error* error) {
  return guarded("", error, [&]() -> wavenet_generator* {
    if (!model || !model->generator) return refuse(error, "model", model ? "does not generate" : "is NULL");
    const float as_float = static_cast<float>(temperature);
    if (!(as_float > 0 && std::isfinite(as_float))) return refuse(error, "temperature", "is not above 0 and finite");
    return new wavenet_generator{wavenet_model_frame_channels(model),
                                 runtime::Generator(isa(), *model->generator, seed, as_float)};
  });
}

void wavenet_generator_free(wavenet_generator* generator) { delete generator; }

ptrdiff_t wavenet_generator_push(wavenet_generator* generator, const float* frames, size_t count) {
  if (!generator->channels) return 0;
  count = std::min(count, static_cast<size_t>(generator->generator.room()));  // as of a classifier's samples
  for (size_t i = 0; i < count * generator->channels; ++i) {
    if (!std::isfinite(frames[i])) return -1;
  }
  return static_cast<ptrdiff_t>(generator->generator.push(frames, static_cast<int64_t>(count)));
}

void wavenet_generator_finish(wavenet_generator* generator) {
  if (generator->channels) generator->generator.finish();
}

ptrdiff_t wavenet_generator_run(wavenet_generator* generator, float* samples, size_t count) {
  return static_cast<ptrdiff_t>(generator->generator.run(samples, static_cast<int64_t>(count)));
}

void wavenet_generator_reset(wavenet_generator* generator) { generator->generator.reset(); }

wavenet_stack* wavenet_stack_create(const wavenet_model* model, wavenet_error* error) {
  return guarded("", error, [&]() -> wavenet_stack* {
    if (model && model->amplifier) {
      return new wavenet_stack{1, 1, nullptr, std::make_unique<runtime::Amplifier>(isa(), *model->amplifier)};
    }
    if (!model || !model->stack) return refuse(error, "model", model ? "is no stack" : "is NULL");
    const runtime::Layers& layers = *model->stack;
    return new wavenet_stack{static_cast<size_t>(layers.R), static_cast<size_t>(layers.S),
                             std::make_unique<runtime::PlainStack>(isa(), layers), nullptr};
  });
}

void wavenet_stack_free(wavenet_stack* stack) { delete stack; }

size_t wavenet_stack_inputs(const wavenet_stack* stack) { return stack->inputs; }

size_t wavenet_stack_outputs(const wavenet_stack* stack) { return stack->outputs; }

void wavenet_stack_push(wavenet_stack* stack, const float* rows, size_t count, float* skip) {
  const int64_t steps = static_cast<int64_t>(count);
  stack->stack ? stack->stack->push(rows, steps, skip) : stack->amplifier->push(rows, steps, skip);
}

void wavenet_stack_reset(wavenet_stack* stack) {
  stack->stack ? stack->stack->reset() : stack->amplifier->reset();
}

}  // extern "C"
