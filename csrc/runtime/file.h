// A model file: named arrays, checked once, used where they lie. Written by wavenet/packed.py.
//
//   0   char[8]   "wavenet\0"
//   8   uint32    version of the format, 1
//   12  uint32    CRC-32 (as of zlib) of everything from byte 16 on
//   16  uint64    bytes of the file
//   24  uint32    number of arrays, up to 1024
//   28  uint32    0
//   32  64 bytes for each array: char[40] name, padded by zeros; uint32 type (Type); uint32 0;
//                                uint64 first byte, a multiple of 64; uint64 number of elements
//
// Weights are float32 or bfloat16, or int8 with an array NAME.scale of float32 beside. Everything is little-endian. A
// file is not to be trusted: nothing is read from it that these checks have not covered.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace wavenet::runtime {

// What is wrong with a file, as a sentence without the file's name.
struct BadFile : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct NewerFile : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class Type : uint32_t { float32 = 1, float64 = 2, int64 = 3, text = 4, int8 = 5, bfloat16 = 6 };

template <class T>
struct Array {
  const T* data = nullptr;
  uint64_t count = 0;
};

class File {
 public:
  // The bytes stay where they are. Throws BadFile or NewerFile.
  File(const char* bytes, uint64_t size);

  bool has(const char* name) const { return find(name) != nullptr; }
  bool has(const char* name, Type type) const {
    const Entry* entry = find(name);
    return entry && entry->type == type;
  }

  // Throw BadFile if there is no such array, or it is of another type or size.
  const float* floats(const char* name, uint64_t count) const;
  const float* floats_or_null(const char* name, uint64_t count) const;
  const int8_t* bytes(const char* name, uint64_t count) const;
  const uint16_t* halves(const char* name, uint64_t count) const;  // of bfloat16
  Array<int64_t> integers(const char* name) const;
  int64_t integer(const char* name, int64_t least, int64_t most) const;
  double number(const char* name) const;
  std::vector<std::string> texts(const char* name) const;  // each ends with a zero

 private:
  struct Entry {
    const char* name;
    Type type;
    uint64_t first, count;
  };

  const Entry* find(const char* name) const;
  const Entry& get(const char* name, Type type) const;
  const char* numbers(const char* name, Type type, uint64_t count) const;

  const char* bytes_;
  std::vector<Entry> entries_;
};

}  // namespace wavenet::runtime
