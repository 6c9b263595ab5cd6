// The instructions of AMX that csrc/cpu/amx.h asks for, as Intel's manual describes them, for any processor: included before
// a source it makes the kernels that a compiler makes of WAVENET_FLAGS_amx (csrc/isas.cmake), with functions in the
// place of the intrinsics. What a processor would refuse, as tiles that no configuration was loaded for, ends the program here
// too. WAVENET_EMULATE_OTHER_AMX: one whose pairs are other ones than those that the kernels were written for.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace emulated {

struct Tiles {
  uint8_t palette = 0;
  uint16_t row_bytes[8];
  uint8_t rows[8];
  uint8_t data[8][16][64];
};
inline thread_local Tiles tiles;

inline void expect(bool true_) {
  if (!true_) __builtin_trap();
}

inline void load_configuration(const void* from) {
  uint8_t bytes[64];
  std::memcpy(bytes, from, sizeof bytes);
  expect(bytes[0] == 1 && bytes[1] == 0);  // of palette 0 there are none
  for (int i = 2; i < 16; ++i) expect(bytes[i] == 0);
  for (int i = 0; i < 16; ++i) {
    uint16_t row_bytes;
    std::memcpy(&row_bytes, bytes + 16 + 2 * i, sizeof row_bytes);
    const uint8_t rows = bytes[48 + i];
    expect(i < 8 ? row_bytes <= 64 && rows <= 16 && (row_bytes == 0) == (rows == 0) : row_bytes == 0 && rows == 0);
    if (i < 8) tiles.row_bytes[i] = row_bytes, tiles.rows[i] = rows;
  }
  std::memset(tiles.data, 0, sizeof tiles.data);
  tiles.palette = 1;
}

inline void release() { tiles.palette = 0; }

inline void expect_configured(int tile) { expect(tiles.palette == 1 && tile < 8 && tiles.rows[tile] > 0); }

inline void zero(int tile) {
  expect_configured(tile);
  std::memset(tiles.data[tile], 0, sizeof tiles.data[tile]);
}

inline void load(int tile, const void* from, int64_t stride) {
  zero(tile);
  for (int i = 0; i < tiles.rows[tile]; ++i) {
    std::memcpy(tiles.data[tile][i], static_cast<const char*>(from) + i * stride, tiles.row_bytes[tile]);
  }
}

inline void store(int tile, void* to, int64_t stride) {
  expect_configured(tile);
  for (int i = 0; i < tiles.rows[tile]; ++i) {
    std::memcpy(static_cast<char*>(to) + i * stride, tiles.data[tile][i], tiles.row_bytes[tile]);
  }
}

// Subnormal numbers are zeros, of what comes in and of what comes out.
inline float flushed(float v) { return std::fpclassify(v) == FP_SUBNORMAL ? std::copysign(0.0f, v) : v; }

// TDPBF16PS: "FP32 FMA with DAZ=FTZ=1, RNE rounding", one sum for the first and one for the second halves of all pairs; then
// both together, and that to what is there.
inline void multiply(int c, int a, int b) {
  expect_configured(a), expect_configured(b), expect_configured(c);
  expect(tiles.rows[c] == tiles.rows[a] && tiles.row_bytes[c] == tiles.row_bytes[b]);
  expect(tiles.row_bytes[a] == 4 * tiles.rows[b] && a != b && b != c && a != c);
  const auto half = [](int tile, int row, int at) {
    uint32_t bits = tiles.data[tile][row][2 * at] | tiles.data[tile][row][2 * at + 1] << 8;
    bits <<= 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return flushed(value);
  };
  float x[16][32], w[16][32];
  for (int i = 0; i < tiles.rows[a]; ++i) {
    for (int k = 0; k < tiles.row_bytes[a] / 2; ++k) x[i][k] = half(a, i, k);
  }
  static const int other = std::getenv("WAVENET_EMULATE_OTHER_AMX") != nullptr;
  for (int k = 0; k < tiles.rows[b]; ++k) {
    for (int n = 0; n < tiles.row_bytes[b] / 2; ++n) w[k][n] = half(b, k, n ^ other);
  }
  for (int m = 0; m < tiles.rows[c]; ++m) {
    float sums[32] = {};
    for (int k = 0; k < tiles.row_bytes[a] / 4; ++k) {
      for (int n = 0; n < tiles.row_bytes[b] / 2; ++n) sums[n] = flushed(std::fma(x[m][2 * k + n % 2], w[k][n], sums[n]));
    }
    for (int n = 0; n < tiles.row_bytes[c] / 4; ++n) {
      float sum;
      std::memcpy(&sum, tiles.data[c][m] + 4 * n, sizeof sum);
      sum = flushed(flushed(sum) + flushed(sums[2 * n] + sums[2 * n + 1]));
      std::memcpy(tiles.data[c][m] + 4 * n, &sum, sizeof sum);
    }
  }
}

}  // namespace emulated

#define WAVENET_TILES 1
#define _tile_loadconfig(from) emulated::load_configuration(from)
#define _tile_release() emulated::release()
#define _tile_zero(tile) emulated::zero(tile)
#define _tile_loadd(tile, from, stride) emulated::load(tile, from, stride)
#define _tile_stored(tile, to, stride) emulated::store(tile, to, stride)
#define _tile_dpbf16ps(c, a, b) emulated::multiply(c, a, b)
