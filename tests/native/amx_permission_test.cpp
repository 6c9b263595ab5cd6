// When AMX may be used: by what processor and system say, in every combination, and here.
#include "cpu/amx_permission.h"

#include <cstdio>
#include <cstring>

using wavenet::cpu::AmxSupport;
using wavenet::cpu::may_use_amx;

namespace {

int asked = 0, failures = 0;
bool permits() { return ++asked; }
bool refuses() { return ++asked < 0; }  // as Linux before 5.16, which doesn't know the question, and a sandbox

void expect(bool as_it_should_be, const char* what) {
  if (as_it_should_be) return;
  std::printf("%s\n", what);
  ++failures;
}

}  // namespace

int main(int, char** arguments) {
  constexpr uint32_t kBfloat16 = 1u << 22, kTiles = 1u << 24, kInt8 = 1u << 25;
  constexpr uint64_t kVectors = 0xe7, kConfiguration = 1u << 17, kData = 1u << 18;
  constexpr uint32_t kAll = kBfloat16 | kTiles | kInt8;
  constexpr uint64_t kSaved = kVectors | kConfiguration | kData;
  expect(may_use_amx({kAll, kSaved, permits}) && asked == 1, "permitted");
  expect(!may_use_amx({kAll, kSaved, refuses}) && asked == 2, "refused");
  expect(!may_use_amx({kAll & ~kBfloat16, kSaved, permits}), "no products of bfloat16");
  expect(!may_use_amx({kAll & ~kTiles, kSaved, permits}), "no tiles");
  expect(!may_use_amx({kAll, kSaved & ~kConfiguration, permits}), "configurations are not saved");
  expect(!may_use_amx({kAll, kSaved & ~kData, permits}), "tiles are not saved");
  expect(!may_use_amx({0, 0, permits}), "another processor");
  expect(asked == 2, "asked for what isn't there");
  expect(may_use_amx() == (std::strcmp(arguments[1], "here") == 0), "this processor");
  expect(may_use_amx() == may_use_amx(), "the answer is kept");
  std::printf("%d failures\n", failures);
  return failures;
}
