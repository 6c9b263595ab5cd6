// hostile.h for libFuzzer (clang -fsanitize=fuzzer): files that mean harm, those kept that reach something new.
// `python -m benchmarks fuzz` builds and runs it.
#include "hostile.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

// Half of the changes are libFuzzer's, half are those that know where the table is.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  std::minstd_rand random(seed);
  if (random() % 2) return LLVMFuzzerMutate(data, size, most);
  hostile::Bytes bytes(data, data + size);
  hostile::change(bytes, random);
  std::memcpy(data, bytes.data(), bytes.size());  // none is longer than it was
  return bytes.size();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hostile::Bytes bytes(data, data + size);
  hostile::mend(bytes);
  hostile::use(bytes);
  return 0;
}
