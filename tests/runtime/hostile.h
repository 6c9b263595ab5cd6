// What files that mean harm are made of, and what is done with one: for hostile.cpp and fuzz.cpp.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <random>
#include <vector>

#include <wavenet.h>

namespace hostile {

using Bytes = std::vector<uint8_t>;
constexpr size_t kHeader = 32, kEntry = 64;  // bytes, of which csrc/runtime/file.h says what they are

inline uint32_t crc32(const uint8_t* from, size_t count) {
  uint32_t crc = 0xFFFFFFFFu;
  for (; count > 0; ++from, --count) {
    crc ^= *from;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0u);
  }
  return crc ^ 0xFFFFFFFFu;
}

template <class T>
void put(Bytes& bytes, uint64_t at, T value) {
  if (at <= bytes.size() && sizeof value <= bytes.size() - at) std::memcpy(bytes.data() + at, &value, sizeof value);
}

// Sets size and checksum right, or else nothing behind them would be reached.
inline void mend(Bytes& bytes) {
  if (bytes.size() < 24) return;
  put<uint64_t>(bytes, 16, bytes.size());
  put<uint32_t>(bytes, 12, crc32(bytes.data() + 16, bytes.size() - 16));
}

// One change, mostly where it matters: in the table of arrays, or where an array begins.
template <class Random>
void change(Bytes& bytes, Random& random) {
  const auto below = [&](uint64_t n) { return static_cast<size_t>(random() % n); };
  const uint64_t strange[] = {0, 1, 2, 3, 5, 63, 64, 255, 65535, 65537, 1u << 20, 1u << 31, 0x7fffffffffffffff,
                              0x8000000000000000, 0xffffffffffffffff, 0x3ff0000000000000, 0x7ff8000000000000};
  if (bytes.size() < kHeader + kEntry) {
    if (!bytes.empty()) bytes[below(bytes.size())] ^= 1u << below(8);
    return;
  }
  const size_t most = (bytes.size() - kHeader) / kEntry, said = bytes[24] | bytes[25] << 8;
  const size_t entries = said < 1 ? 1 : said < most ? said : most;
  const size_t entry = kHeader + kEntry * below(entries);
  uint64_t first;
  std::memcpy(&first, bytes.data() + entry + 48, sizeof first);
  switch (below(7)) {
    case 0:  // a bit anywhere
      bytes[below(bytes.size())] ^= 1u << below(8);
      break;
    case 1:  // a bit of the header or the table
      bytes[below(kHeader + kEntry * entries)] ^= 1u << below(8);
      break;
    case 2:  // a field of the table
      put<uint64_t>(bytes, entry + 40 + 8 * below(3), strange[below(std::size(strange))]);
      break;
    case 3:  // the beginning of an array, a number in most
      put<uint64_t>(bytes, first, strange[below(std::size(strange))]);
      break;
    case 4:
      put<uint64_t>(bytes, first, 1 + below(70));
      break;
    case 5:  // an array in the place of another
      std::memmove(bytes.data() + entry, bytes.data() + kHeader + kEntry * below(entries), kEntry);
      break;
    default:
      bytes.resize(below(4) ? bytes.size() - below(200) % bytes.size() : below(bytes.size() + 1));
  }
}

inline void listen(wavenet_classifier* classifier, const wavenet_model* model) {
  size_t letters = 0;
  for (size_t i = 0; i < wavenet_model_classes(model); ++i) letters += std::strlen(wavenet_model_label(model, i));
  if (letters > size_t{1} << 40) std::abort();
  const std::vector<float> samples(300, 0.25f);
  wavenet_decision decision;
  for (size_t at = 0; at < samples.size();) {
    at += static_cast<size_t>(wavenet_classifier_push(classifier, samples.data() + at, samples.size() - at));
    wavenet_classifier_read(classifier, &decision);
  }
  wavenet_classifier_finish(classifier);
  while (wavenet_classifier_read(classifier, &decision)) {
  }
  wavenet_classifier_reset(classifier);
}

inline void make(wavenet_generator* generator, const wavenet_model* model) {
  const size_t frames = 20;
  const std::vector<float> told(frames * wavenet_model_frame_channels(model), 0.5f);
  std::vector<float> samples(40);
  for (size_t at = 0; at < frames; at += 7) {
    wavenet_generator_push(generator, told.data() + at * told.size() / frames, frames - at < 7 ? frames - at : 7);
    wavenet_generator_run(generator, samples.data(), samples.size());
  }
  wavenet_generator_finish(generator);
  wavenet_generator_run(generator, samples.data(), samples.size());
}

// Opens it, uses what it is if it opens; the status.
inline wavenet_status use(const Bytes& bytes) {
  // AddressSanitizer sees a read beyond exactly so many bytes.
  void* memory = nullptr;
  if (posix_memalign(&memory, 64, bytes.size() + !bytes.size()) != 0) std::abort();
  if (!bytes.empty()) std::memcpy(memory, bytes.data(), bytes.size());
  wavenet_error error;
  wavenet_model* model = wavenet_model_from_memory(memory, bytes.size(), &error);
  // A hop of one frame, however long a frame is; a window of one, and all that was heard.
  wavenet_classifier* classifier = model ? wavenet_classifier_create(model, 1e-9, 1e-9, &error) : nullptr;
  if (classifier) {
    listen(classifier, model);
    wavenet_classifier* all = wavenet_classifier_create(model, 0, 1e-9, nullptr);
    if (all) listen(all, model);
    wavenet_classifier_free(all);
  } else if (wavenet_generator* generator = model ? wavenet_generator_create(model, 1, 0.5, &error) : nullptr) {
    make(generator, model);
    wavenet_generator_reset(generator);
    wavenet_generator_free(generator);
  } else if (wavenet_stack* stack = model ? wavenet_stack_create(model, &error) : nullptr) {
    const size_t count = wavenet_stack_inputs(stack) == 1 ? 300 : 3;  // samples go beyond an amplifier's room
    std::vector<float> rows(count * wavenet_stack_inputs(stack), 0.5f), skip(count * wavenet_stack_outputs(stack));
    wavenet_stack_push(stack, rows.data(), count, skip.data());
    wavenet_stack_reset(stack);
    wavenet_stack_free(stack);
  } else if (error.status == WAVENET_OK || error.message[0] == '\0') {
    std::abort();  // no reason
  }
  wavenet_classifier_free(classifier);
  wavenet_model_free(model);
  std::free(memory);
  return error.status;
}

}  // namespace hostile
