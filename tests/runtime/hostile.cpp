// Files that mean harm: whatever they hold, the library answers with an error or with a classifier that can be used.
//
//   hostile MODEL COUNT SEED   mutates a good file COUNT times and prints what became of them
//
// With -DWAVENET_LIBFUZZER it is a target of libFuzzer (clang -fsanitize=fuzzer) instead. The checksum is set right
// again, or else nothing behind it would be reached.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

#include <wavenet.h>

namespace {

uint32_t crc32(const uint8_t* from, size_t count) {
  uint32_t crc = 0xFFFFFFFFu;
  for (; count > 0; ++from, --count) {
    crc ^= *from;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0u);
  }
  return crc ^ 0xFFFFFFFFu;
}

template <class T>
void put(std::vector<uint8_t>& bytes, size_t at, T value) {
  if (at + sizeof value <= bytes.size()) std::memcpy(bytes.data() + at, &value, sizeof value);
}

// Opens and uses it; the status.
int try_file(std::vector<uint8_t> bytes, bool mend) {
  if (mend && bytes.size() >= 24) {
    put<uint64_t>(bytes, 16, bytes.size());
    put<uint32_t>(bytes, 12, crc32(bytes.data() + 16, bytes.size() - 16));
  }
  // AddressSanitizer sees a read beyond exactly so many bytes.
  void* memory = nullptr;
  if (posix_memalign(&memory, 64, bytes.size() + !bytes.size()) != 0) std::abort();
  auto* aligned = static_cast<uint8_t*>(memory);
  if (!bytes.empty()) std::memcpy(aligned, bytes.data(), bytes.size());
  wavenet_error error;
  wavenet_model* model = wavenet_model_from_memory(aligned, bytes.size(), &error);
  // A window and a hop of one frame, however long a frame is.
  wavenet_classifier* classifier = model ? wavenet_classifier_create(model, 1e-9, 1e-9, &error) : nullptr;
  if (classifier) {
    for (size_t i = 0; i < wavenet_model_classes(model); ++i) std::strlen(wavenet_model_label(model, i));
    const std::vector<float> samples(300, 0.25f);
    wavenet_decision decision;
    for (size_t at = 0; at < samples.size();) {
      at += static_cast<size_t>(wavenet_classifier_push(classifier, samples.data() + at, samples.size() - at));
      wavenet_classifier_read(classifier, &decision);
    }
    wavenet_classifier_finish(classifier);
    while (wavenet_classifier_read(classifier, &decision)) {
    }
  } else if (error.status == WAVENET_OK || error.message[0] == '\0') {
    std::abort();  // no reason
  }
  wavenet_classifier_free(classifier);
  wavenet_model_free(model);
  std::free(aligned);
  return error.status;
}

}  // namespace

#if defined(WAVENET_LIBFUZZER)

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try_file({data, data + size}, true);
  return 0;
}

#else

int main(int, char** arguments) {
  std::ifstream file(arguments[1], std::ios::binary);
  const std::vector<uint8_t> good{std::istreambuf_iterator<char>(file), {}};
  std::mt19937_64 random(std::strtoull(arguments[3], nullptr, 10));
  const auto below = [&](uint64_t n) { return static_cast<size_t>(random() % n); };
  if (try_file(good, false) != WAVENET_OK) return std::puts("the good file is refused"), 1;

  const uint64_t strange[] = {0, 1, 2, 3, 5, 63, 64, 255, 65535, 65537, 1u << 20, 1u << 31, 0x7fffffffffffffff,
                              0x8000000000000000, 0xffffffffffffffff, 0x3ff0000000000000, 0x7ff8000000000000};
  const size_t entries = good[24] | good[25] << 8;
  long outcomes[6] = {};
  for (long left = std::atol(arguments[2]); left > 0; --left) {
    std::vector<uint8_t> bytes = good;
    for (size_t changes = 1 + below(3); changes > 0; --changes) {
      const size_t entry = 32 + 64 * below(entries), field = entry + 40 + 8 * below(3);
      uint64_t first;
      std::memcpy(&first, good.data() + entry + 48, sizeof first);
      switch (below(7)) {
        case 0:  // a bit anywhere
          bytes[below(bytes.size())] ^= 1u << below(8);
          break;
        case 1:  // a bit of the header or the table
          bytes[below(32 + 64 * entries)] ^= 1u << below(8);
          break;
        case 2:  // a field of the table
          put<uint64_t>(bytes, field, strange[below(std::size(strange))]);
          break;
        case 3:  // the beginning of an array, a number in most
          put<uint64_t>(bytes, static_cast<size_t>(first), strange[below(std::size(strange))]);
          break;
        case 4:
          put<uint64_t>(bytes, static_cast<size_t>(first), 1 + below(70));
          break;
        case 5:  // an array in the place of another
          std::memcpy(bytes.data() + entry, good.data() + 32 + 64 * below(entries), 64);
          break;
        default:
          bytes.resize(below(4) ? bytes.size() - below(200) % bytes.size() : below(bytes.size() + 1));
      }
      if (bytes.size() < 32 + 64 * entries) break;
    }
    ++outcomes[try_file(std::move(bytes), below(8) > 0)];
  }
  std::printf("used %ld, not a file %ld, bad file %ld, newer %ld, bad argument %ld, no memory %ld\n", outcomes[0],
              outcomes[1], outcomes[2], outcomes[3], outcomes[4], outcomes[5]);
}

#endif
