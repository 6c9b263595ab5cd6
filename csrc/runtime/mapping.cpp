#include "runtime/mapping.h"

#include <cerrno>
#include <system_error>

#if defined(_WIN32)
#include <cstdio>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace wavenet::runtime {

namespace {

[[noreturn]] void fail() { throw std::system_error(errno, std::generic_category()); }

}  // namespace

#if defined(_WIN32)

Mapping::Mapping(const char* path) {
  std::FILE* file = std::fopen(path, "rb");
  if (!file) fail();
  bool good = std::fseek(file, 0, SEEK_END) == 0;
  const long end = good ? std::ftell(file) : -1;
  good = end >= 0 && std::fseek(file, 0, SEEK_SET) == 0;
  if (good) {
    size_ = static_cast<uint64_t>(end);
    read_ = cpu::allocate(size_);
    good = std::fread(read_.get(), 1, size_, file) == size_;
  }
  std::fclose(file);
  if (!good) fail();
  bytes_ = read_.get();
}

Mapping::~Mapping() = default;

#else

Mapping::Mapping(const char* path) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) fail();
  struct stat status;
  void* mapped = MAP_FAILED;
  if (fstat(file, &status) == 0) {
    if (S_ISDIR(status.st_mode)) {
      errno = EISDIR;
    } else if (status.st_size <= 0) {  // what isn't a plain file has no size either
      errno = EINVAL;
    } else {
      size_ = static_cast<uint64_t>(status.st_size);
      mapped = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    }
  }
  const int reason = errno;
  close(file);
  if (mapped == MAP_FAILED) {
    errno = reason;
    fail();
  }
  bytes_ = static_cast<const char*>(mapped);
}

Mapping::~Mapping() { munmap(const_cast<char*>(bytes_), size_); }

#endif

}  // namespace wavenet::runtime
