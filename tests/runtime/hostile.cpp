// Files that mean harm: whatever they hold, the library answers with an error or with a model that can be used.
//
//   hostile MODEL COUNT SEED   changes a good file COUNT times and prints what became of them
#include "hostile.h"

#include <cstdio>
#include <fstream>

int main(int, char** arguments) {
  std::ifstream file(arguments[1], std::ios::binary);
  const hostile::Bytes good{std::istreambuf_iterator<char>(file), {}};
  std::mt19937_64 random(std::strtoull(arguments[3], nullptr, 10));
  if (hostile::use(good) != WAVENET_OK) return std::puts("the good file is refused"), 1;

  long outcomes[6] = {};
  for (long left = std::atol(arguments[2]); left > 0; --left) {
    hostile::Bytes bytes = good;
    for (auto changes = 1 + random() % 3; changes > 0; --changes) hostile::change(bytes, random);
    if (random() % 8 > 0) hostile::mend(bytes);
    ++outcomes[hostile::use(bytes)];
  }
  std::printf("used %ld, not a file %ld, bad file %ld, newer %ld, bad argument %ld, no memory %ld\n", outcomes[0],
              outcomes[1], outcomes[2], outcomes[3], outcomes[4], outcomes[5]);
}
