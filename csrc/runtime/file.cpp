#include "runtime/file.h"

#include <array>
#include <cstring>

namespace wavenet::runtime {

namespace {

constexpr char kMagic[8] = {'w', 'a', 'v', 'e', 'n', 'e', 't', '\0'};
constexpr uint32_t kVersion = 1;
constexpr uint64_t kHeader = 32, kEntry = 64, kName = 40, kAlignment = 64;
// Of a file's arrays, twenty times what models have: names are compared one with another.
constexpr uint64_t kMostArrays = 1024;

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "model files are little-endian, and so must be the machine"
#endif

template <class T>
T read(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

uint64_t bytes_of(Type type) {
  switch (type) {
    case Type::float32:
      return 4;
    case Type::float64:
    case Type::int64:
      return 8;
    case Type::bfloat16:
      return 2;
    case Type::text:
    case Type::int8:
      return 1;
  }
  return 0;
}

// Eight tables, of a byte and the zeros that follow it, take eight bytes at a time.
struct Crc32 {
  std::array<std::array<uint32_t, 256>, 8> table{};

  Crc32() {
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0u);
      table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; ++i) {
      for (int k = 1; k < 8; ++k) table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 255];
    }
  }

  uint32_t of(const char* from, uint64_t count) const {
    uint32_t crc = 0xFFFFFFFFu;
    for (; count >= 8; from += 8, count -= 8) {
      const uint64_t next = read<uint64_t>(from) ^ crc;
      crc = 0;
      for (int k = 0; k < 8; ++k) crc ^= table[7 - k][next >> 8 * k & 255];
    }
    for (; count > 0; ++from, --count) crc = crc >> 8 ^ table[0][(crc ^ static_cast<uint8_t>(*from)) & 255];
    return crc ^ 0xFFFFFFFFu;
  }
};

}  // namespace

File::File(const char* bytes, uint64_t size) : bytes_(bytes) {
  if (size < kHeader || std::memcmp(bytes, kMagic, sizeof kMagic) != 0) throw BadFile("is no model file");
  const uint32_t version = read<uint32_t>(bytes + 8);
  if (version != kVersion) {
    throw NewerFile("has format " + std::to_string(version) + "; this library reads format " +
                    std::to_string(kVersion));
  }
  if (read<uint64_t>(bytes + 16) != size) {
    throw BadFile("has " + std::to_string(size) + " of " + std::to_string(read<uint64_t>(bytes + 16)) + " bytes");
  }
  if (read<uint32_t>(bytes + 12) != Crc32().of(bytes + 16, size - 16)) {
    throw BadFile("is damaged: its checksum is another");
  }
  const uint64_t count = read<uint32_t>(bytes + 24);
  if (count > (size - kHeader) / kEntry) throw BadFile("is too short for its arrays");
  if (count > kMostArrays) {
    throw BadFile("has " + std::to_string(count) + " arrays; accepted are up to " + std::to_string(kMostArrays));
  }
  for (uint64_t i = 0; i < count; ++i) {
    const char* from = bytes + kHeader + i * kEntry;
    const Entry entry{from, static_cast<Type>(read<uint32_t>(from + kName)), read<uint64_t>(from + 48),
                      read<uint64_t>(from + 56)};
    if (from[0] == '\0' || from[kName - 1] != '\0') throw BadFile("has an array without a proper name");
    const uint64_t each = bytes_of(entry.type);
    const bool inside = each > 0 && entry.first <= size && entry.count <= (size - entry.first) / each;
    if (!inside || entry.first % kAlignment != 0) {
      throw BadFile("has an array that is of no known type or not inside it: " + std::string(entry.name));
    }
    if (find(entry.name)) throw BadFile("has two arrays named " + std::string(entry.name));
    entries_.push_back(entry);
  }
}

const File::Entry* File::find(const char* name) const {
  for (const Entry& entry : entries_) {
    if (std::strcmp(entry.name, name) == 0) return &entry;
  }
  return nullptr;
}

const File::Entry& File::get(const char* name, Type type) const {
  const Entry* entry = find(name);
  if (!entry) throw BadFile("lacks " + std::string(name));
  if (entry->type != type) throw BadFile("has another type of " + std::string(name));
  return *entry;
}

const char* File::numbers(const char* name, Type type, uint64_t count) const {
  const Entry& entry = get(name, type);
  if (entry.count != count) {
    throw BadFile("has " + std::to_string(entry.count) + " numbers of " + name + "; its sizes ask for " +
                  std::to_string(count));
  }
  return bytes_ + entry.first;
}

const float* File::floats(const char* name, uint64_t count) const {
  return reinterpret_cast<const float*>(numbers(name, Type::float32, count));
}

const int8_t* File::bytes(const char* name, uint64_t count) const {
  return reinterpret_cast<const int8_t*>(numbers(name, Type::int8, count));
}

const uint16_t* File::halves(const char* name, uint64_t count) const {
  return reinterpret_cast<const uint16_t*>(numbers(name, Type::bfloat16, count));
}

const float* File::floats_or_null(const char* name, uint64_t count) const {
  return has(name) ? floats(name, count) : nullptr;
}

Array<int64_t> File::integers(const char* name) const {
  const Entry& entry = get(name, Type::int64);
  return {reinterpret_cast<const int64_t*>(bytes_ + entry.first), entry.count};
}

int64_t File::integer(const char* name, int64_t least, int64_t most) const {
  const Array<int64_t> array = integers(name);
  if (array.count != 1 || array.data[0] < least || array.data[0] > most) {
    throw BadFile("has no " + std::string(name) + " from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return array.data[0];
}

double File::number(const char* name) const {
  const Entry& entry = get(name, Type::float64);
  if (entry.count != 1) throw BadFile("has more than one " + std::string(name));
  return *reinterpret_cast<const double*>(bytes_ + entry.first);
}

std::vector<std::string> File::texts(const char* name) const {
  const Entry& entry = get(name, Type::text);
  const char *from = bytes_ + entry.first, *end = from + entry.count;
  if (entry.count == 0 || end[-1] != '\0') throw BadFile("has an unfinished text in " + std::string(name));
  std::vector<std::string> texts;
  for (; from != end; from += texts.back().size() + 1) texts.emplace_back(from);
  return texts;
}

}  // namespace wavenet::runtime
