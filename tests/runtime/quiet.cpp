// Listens to noise with everything that can happen to a classifier, makes sound with everything that can happen to a
// generator, or plays noise through an amplifier, and counts what is allocated meanwhile: nothing.
#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>

#include <wavenet.h>

namespace {

long allocations = 0;

void* counted(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  void* memory = std::aligned_alloc(alignment, (bytes + alignment) / alignment * alignment);
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes, 16); }
void* operator new[](std::size_t bytes) { return counted(bytes, 16); }
void* operator new(std::size_t bytes, std::align_val_t to) { return counted(bytes, static_cast<std::size_t>(to)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }

namespace {

int fail(const wavenet_error& error) { return std::fprintf(stderr, "%s\n", error.message), 1; }

int make(const wavenet_model* model) {
  wavenet_error error;
  wavenet_generator* generator = wavenet_generator_create(model, 0, 1.0, &error);
  if (!generator) return fail(error);
  const size_t frames = 100, channels = wavenet_model_frame_channels(model);
  const std::vector<float> told(frames * channels, 0.5f);
  std::vector<float> samples(300);
  long made = 0;
  const long before = allocations;
  for (const size_t chunk : {1, 3, 100}) {
    for (size_t at = 0; at < frames;) {
      const size_t count = frames - at < chunk ? frames - at : chunk;
      const auto taken = wavenet_generator_push(generator, told.data() + at * channels, count);
      at += channels ? static_cast<size_t>(taken) : count;
      made += wavenet_generator_run(generator, samples.data(), samples.size());
    }
    wavenet_generator_finish(generator);
    made += wavenet_generator_run(generator, samples.data(), samples.size());
    wavenet_generator_reset(generator);
  }
  std::printf("%ld samples, %ld allocations, of %ld for model and generator\n", made, allocations - before, before);
  wavenet_generator_free(generator);
  return 0;
}

int play(wavenet_stack* stack) {
  std::vector<float> samples(3000, 0.25f);
  const long before = allocations;
  for (const size_t chunk : {1, 7, 64, 1000, 3000}) {
    for (size_t at = 0; at < samples.size(); at += chunk) {
      const size_t count = samples.size() - at < chunk ? samples.size() - at : chunk;
      wavenet_stack_push(stack, samples.data() + at, count, samples.data() + at);
    }
    wavenet_stack_reset(stack);
  }
  std::printf("%zu samples, %ld allocations, of %ld for model and stack\n", samples.size(), allocations - before, before);
  wavenet_stack_free(stack);
  return 0;
}

int listen(const wavenet_model* model) {
  wavenet_error error;
  wavenet_classifier* classifier = wavenet_classifier_create(model, 0.3, 0.05, &error);
  if (!classifier) return fail(error);

  std::vector<float> samples(3000);
  for (float& sample : samples) sample = static_cast<float>(std::rand()) / RAND_MAX - 0.5f;
  wavenet_decision decision;
  long decisions = 0;
  const long before = allocations;
  for (const size_t chunk : {1, 7, 64, 1000, 3000}) {
    for (size_t at = 0; at < samples.size();) {
      const size_t count = samples.size() - at < chunk ? samples.size() - at : chunk;
      at += static_cast<size_t>(wavenet_classifier_push(classifier, samples.data() + at, count));
      decisions += wavenet_classifier_read(classifier, &decision);
    }
    wavenet_classifier_finish(classifier);
    while (wavenet_classifier_read(classifier, &decision)) ++decisions;
    wavenet_classifier_reset(classifier);
  }
  std::printf("%ld decisions, %ld allocations, of %ld for model and classifier\n", decisions, allocations - before,
              before);
  wavenet_classifier_free(classifier);
  return 0;
}

}  // namespace

int main(int, char** arguments) {
  wavenet_error error;
  wavenet_model* model = wavenet_model_open(arguments[1], &error);
  if (!model) return fail(error);
  wavenet_stack* stack = wavenet_stack_create(model, nullptr);
  const int failed = stack ? play(stack) : wavenet_model_classes(model) ? listen(model) : make(model);
  wavenet_model_free(model);
  return failed;
}
