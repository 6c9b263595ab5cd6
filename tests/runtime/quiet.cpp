// Listens to noise with everything that can happen to a classifier, and counts what is allocated meanwhile: nothing.
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

int main(int, char** arguments) {
  wavenet_error error;
  wavenet_model* model = wavenet_model_open(arguments[1], &error);
  if (!model) return std::fprintf(stderr, "%s\n", error.message), 1;
  wavenet_classifier* classifier = wavenet_classifier_create(model, 0.3, 0.05, &error);
  if (!classifier) return std::fprintf(stderr, "%s\n", error.message), 1;

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
  wavenet_model_free(model);
}
