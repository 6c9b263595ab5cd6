// Where things lie in the shared memory of a block, kernel by kernel: computed here alone. A kernel lays it out from
// its shared memory on (At is char*), a plan, which asks for that much, from 0 on (At is int). Beside them, what else
// kernels and plans must agree on: how many blocks a multiprocessor has registers for.
#pragma once

#include <vector>

#include "cuda/both.h"
#include "cuda/tile_launch.h"
#include "cuda/weight_gradient.h"

namespace wavenet::cuda {

WAVENET_BOTH inline int larger(int a, int b) { return a > b ? a : b; }

// Rows in shared memory, padded so that eight neighbours lie in different banks.
struct Panel {
  static constexpr int kPad = 16;

  int row, pitch, rows;  // bytes of a row, and from one to the next

  WAVENET_BOTH Panel(int row, int rows) : row(row), pitch(row + kPad), rows(rows) {}
  WAVENET_BOTH int bytes() const { return rows * pitch; }
};

// The parts of a layout from 0 on, each with where it ends.
struct Region {
  const char* name;
  int end;
};
using Regions = std::vector<Region>;

// Biases are floats. Forward has, of each layer, 2D of the convolution and R of the residual, and S of all skips.
constexpr int kBias = sizeof(float);

// Forward:  weights | x, 1 or 2 buffers | z of each layer | biases
template <class At>
struct LayersLayout {
  Panel x, z;
  At x_at, z_at, biases_at, end;

  WAVENET_BOTH LayersLayout(At shared, TileSize tile, int e, const TileLaunch& tiled, int layers)
      : x(tiled.R * e, tiled.rows(tile.M)),
        z(tiled.D * e, tile.M),
        x_at(shared + tiled.weight_room(tile.N)),
        z_at(x_at + tiled.buffers * x.bytes()),
        biases_at(z_at + layers * z.bytes()),
        end(biases_at + (layers * (2 * tiled.D + tiled.R) + tiled.S) * kBias) {}

  Regions regions() const {
    return {{"weights", x_at}, {"x", z_at}, {"z", biases_at}, {"biases", end}};
  }
};

// Backward, first part:  weights | x and gradients of residual and skip side by side, 1 or 2 buffers | biases
template <class At>
struct GateGradientLayout {
  Panel x, grad;
  int grad_bytes;
  At tiles_at, biases_at, end;

  // gradients: channels of those that there are.
  WAVENET_BOTH GateGradientLayout(At shared, TileSize tile, int e, const TileLaunch& tiled, int gradients)
      : x(tiled.R * e, tiled.rows(tile.M)),
        grad(gradients * e, tile.M),
        grad_bytes(grad.row ? grad.bytes() : 0),
        tiles_at(shared + tiled.weight_room(tile.N)),
        biases_at(tiles_at + tiled.buffers * (x.bytes() + grad_bytes)),
        end(biases_at + 2 * tiled.D * kBias) {}

  Regions regions() const { return {{"weights", tiles_at}, {"x and gradients", biases_at}, {"biases", end}}; }
};

// Backward, second part:  weights | grad_a, 1 or 2 buffers
template <class At>
struct DataGradientLayout {
  Panel a;
  At a_at, end;

  WAVENET_BOTH DataGradientLayout(At shared, TileSize tile, int e, const TileLaunch& tiled)
      : a(2 * tiled.D * e, tiled.rows(tile.M)),
        a_at(shared + tiled.weight_room(tile.N)),
        end(a_at + tiled.buffers * a.bytes()) {}

  Regions regions() const { return {{"weights", a_at}, {"grad_a", end}}; }
};

// Backward in one launch:
//   weights | x, gradients of residual and skip side by side (1 or 2 buffers) | grad_a | z | biases, sums of theirs
template <class At>
struct FusedBackwardLayout {
  Panel x, a, z, grad;
  At tiles_at, a_at, z_at, biases_at, end;

  WAVENET_BOTH FusedBackwardLayout(At shared, TileSize tile, int e, const TileLaunch& tiled, int outputs)
      : x(tiled.R * e, tiled.rows(tile.M)),
        a(2 * tiled.D * e, tiled.rows(tile.M)),
        z(tiled.D * e, tile.M),
        grad(outputs * e, tile.M),
        tiles_at(shared + tiled.weight_room(tile.N)),
        a_at(tiles_at + tiled.buffers * (x.bytes() + grad.bytes())),
        z_at(a_at + a.bytes()),
        biases_at(z_at + z.bytes()),
        end(biases_at + (2 * 2 * tiled.D + outputs) * kBias) {}

  Regions regions() const {
    return {{"weights", tiles_at}, {"x and gradients", a_at}, {"grad_a", z_at}, {"z", biases_at}, {"biases", end}};
  }
};

// Backward, third part:  ring of steps of rows, of both factors
struct WeightGradientLayout {
  int depth;             // rows of a step
  int a_pitch, b_pitch;  // bytes from one to the next
  int stage_bytes, end;

  // A fragment's words are eight rows (16 bits) or four (32 bits) of the tile: padded, all are in different banks.
  constexpr WeightGradientLayout(OuterSize size, int e)
      : depth(2 * kStepBytes / e),
        a_pitch(size.A * e + (e == 2 ? 16 : 32)),
        b_pitch(size.B * e + (e == 2 ? 16 : 32)),
        stage_bytes(depth * (a_pitch + b_pitch)),
        end(kStages * stage_bytes) {}
};

// The same of wide layers:  ring of tiles, of each the left factor, then the right one
struct WideWeightGradientLayout {
  static constexpr int e = 2;
  int conv_pitch, out_pitch;  // of the left factor's rows
  int left_bytes, stage_bytes, end;

  WAVENET_BOTH explicit WideWeightGradientLayout(const TileLaunch& tiled)
      : conv_pitch(Panel(kWideColumns * e, 0).pitch),
        out_pitch(Panel(kWideOutputs * kWideColumns * e, 0).pitch),
        left_bytes((larger(tiled.rows(kWideRows) * conv_pitch, kWideRows * out_pitch) + 1023) / 1024 * 1024),
        stage_bytes(left_bytes + kWideRows * kWideColumns * e),
        end(kStages * stage_bytes) {}

  Regions regions() const { return {{"tiles", end}}; }
};

// Streaming:  ring of weights | inputs of the taps, the last of which is x | z | skip sums in float
template <class At>
struct StreamLayout {
  Panel tap, z;
  int skip_bytes;
  At taps_at, x_at, z_at, skip_at, end;

  // N: outputs of a slab.
  WAVENET_BOTH StreamLayout(At shared, TileSize tile, int e, int R, int D, int S, int K, int N)
      : tap(R * e, tile.M),
        z(D * e, tile.M),
        skip_bytes(tile.M * S * static_cast<int>(sizeof(float))),
        taps_at(shared + ring_bytes(N)),
        x_at(taps_at + (K - 1) * tap.bytes()),
        z_at(x_at + tap.bytes()),
        skip_at(z_at + z.bytes()),
        end(skip_at + skip_bytes) {}

  Regions regions() const { return {{"weights", taps_at}, {"x", z_at}, {"z", skip_at}, {"skip", end}}; }
};

// Blocks of a multiprocessor that a kernel's registers leave room for, by its slabs' N: its __launch_bounds__.
constexpr int resident_layers(int N) { return N == 128 ? 1 : 2; }
constexpr int resident_gate_gradient(int N) { return N == 32 ? 2 : 1; }
constexpr int resident_data_gradient(int N) { return N == 128 ? 1 : 2; }
constexpr int resident_fused_backward(int tiles) { return tiles == 1 ? 2 : 1; }
constexpr int kResidentWeightGradient = 2;

}  // namespace wavenet::cuda
