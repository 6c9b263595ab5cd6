#include "cpu/stream.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "cpu/threads.h"
#include "cpu/tiling.h"

namespace wavenet::cpu {

namespace {

Memory copy_of(const void* data, int64_t bytes) {
  Memory memory = allocate(bytes);
  std::memcpy(memory.get(), data, bytes);
  return memory;
}

}  // namespace

Stream::Stream(const Isa& isa, const Layer& first, const std::vector<int64_t>& dilations)
    : kernels_(isa.of(first.dtype)), first_(first), row_(first.R), stages_(dilations.size()) {
  // Products of so narrow a layer are cheaper than gathering what would save some of them (fast.h).
  if (first.dtype == DType::float32 && first.R <= kNarrow) row_ = kNarrow, first_.fast = false;
  for (const int64_t dilation : dilations) {  // what can't be counted in 64 bits can't be allocated either
    if (1.0 * first.B * static_cast<double>((first.K - 1) * row_bytes()) * static_cast<double>(dilation) > 1e18) {
      throw std::bad_alloc();
    }
  }
  Stack stack;
  stack.first = first_, stack.dilations = dilations;
  const std::vector<Layer> layers = layers_of(isa, stack);
  const int64_t real = real_bytes(first.dtype);
  int64_t reals = 0;
  for (std::size_t n = 0; n < layers.size(); ++n) {
    Stage& stage = stages_[n];
    Layer& l = stage.layer = layers[n];
    stage.history = l.past = l.left;
    stage.conv_weight = copy_of(l.conv_weight, l.C * l.R * l.K * real);
    l.conv_weight = stage.conv_weight.get();
    if (l.conv_bias) {
      stage.conv_bias = copy_of(l.conv_bias, l.C * real);
      l.conv_bias = stage.conv_bias.get();
    }
    // Which outputs a step writes; for packing it only matters that they are there.
    l.residual.data = l.skip.data = this;
    if (first.S == 0) l.skip.data = nullptr;
    stage.room = std::max<int64_t>(stage.history, 1);
    stage.rows = allocate(first.B * (stage.history + stage.room) * row_bytes());
    stage.packed_at = reals;
    reals += (kernels_.packed_reals(l, Operator::block) + 15) / 16 * 16;
  }
  packed_ = allocate(reals * real);
  for (Stage& stage : stages_) {
    char* to = packed_.get() + stage.packed_at * real;
    const int64_t units = kernels_.pack_units(stage.layer, Operator::block);
    for (int64_t unit = 0; unit < units; ++unit) kernels_.pack(stage.layer, Operator::block, unit, to);
    stage.layer.out_weight = stage.layer.out_bias = nullptr;
  }
  reset();
}

char* Stream::row(const Stage& stage, int64_t b, int64_t position) const {
  return stage.rows.get() + (b * (stage.history + stage.room) + position) * row_bytes();
}

Rows Stream::input(const Stage& stage) const {
  return {row(stage, 0, stage.position), (stage.history + stage.room) * row_, row_};
}

void Stream::reset() {
  for (Stage& stage : stages_) {
    stage.position = stage.history;
    for (int64_t b = 0; b < first_.B; ++b) std::memset(row(stage, b, 0), 0, stage.history * row_bytes());
  }
}

// For T rows after the history. Room that is used up begins anew behind a history moved to the front; there is at
// least as much of it as of history, so that moves are rare.
void Stream::make_room(Stage& stage, int64_t T) {
  if (stage.position + T <= stage.history + stage.room) return;
  const int64_t bytes = stage.history * row_bytes();
  if (T > stage.room) {
    Memory rows = allocate(first_.B * (stage.history + T) * row_bytes());
    for (int64_t b = 0; b < first_.B; ++b) {
      char* to = rows.get() + b * (stage.history + T) * row_bytes();
      std::memcpy(to, row(stage, b, stage.position - stage.history), bytes);
    }
    stage.rows = std::move(rows);
    stage.room = T;
  } else {
    for (int64_t b = 0; b < first_.B; ++b) {
      std::memmove(row(stage, b, 0), row(stage, b, stage.position - stage.history), bytes);
    }
  }
  stage.position = stage.history;
}

// Memory for T rows at a time; how much of it is each thread's.
std::size_t Stream::make_scratch(int64_t T, int threads) {
  std::size_t each = 0;
  for (Stage& stage : stages_) {
    stage.layer.T = T;
    const Tiling tiling(kernels_, stage.layer, threads);
    each = std::max(each, aligned_size(kernels_.scratch_bytes(stage.layer, Operator::block, tiling.units)));
  }
  if (threads > 1) each += kApart;
  if (each * threads > scratch_bytes_) {
    scratch_bytes_ = each * threads;
    scratch_ = allocate(scratch_bytes_);
  }
  return each;
}

void Stream::reserve(int64_t T) {
  T = std::min(T, kLongestPiece);
  for (Stage& stage : stages_) make_room(stage, T);
  for (int64_t rows = 1; rows <= T; ++rows) make_scratch(rows, 1);
}

void Stream::step(int64_t T, const Rows& x, const Rows& cond, const Rows& residual, const Rows& skip, int threads) {
  for (int64_t at = 0; at < T; at += kLongestPiece) {
    const auto from_here = [&](Rows rows) {
      if (rows.data) rows.data = static_cast<char*>(rows.data) + at * rows.time_stride * storage_bytes(first_.dtype);
      return rows;
    };
    const int64_t rows = std::min(kLongestPiece, T - at);
    short_step(rows, from_here(x), from_here(cond), from_here(residual), from_here(skip), threads);
  }
}

void Stream::short_step(int64_t T, const Rows& x, const Rows& cond, const Rows& residual, const Rows& skip,
                        int threads) {
  for (Stage& stage : stages_) make_room(stage, T);

  first_.T = T;
  threads = useful_threads(first_, threads);
  for (std::size_t n = 0; n < stages_.size(); ++n) {
    Layer& l = stages_[n].layer;
    l.T = T;
    l.x = input(stages_[n]);
    l.cond = cond;
    if (cond.data) l.cond.data = static_cast<char*>(cond.data) + n * l.C * storage_bytes(l.dtype);
    l.residual = n + 1 < stages_.size() ? input(stages_[n + 1]) : residual;
    l.skip = skip;
  }
  const std::size_t scratch_bytes = make_scratch(T, threads);
  const Rows own = input(stages_.front());
  for (int64_t b = 0; b < first_.B; ++b) {
    kernels_.copy_rows(x, b, 0, T, first_.R, first_.dtype, own);
  }
  run_on_threads(threads, scratch_.get(), scratch_bytes, [&](Team& team, char* scratch) {
    for (const Stage& stage : stages_) {
      const Tiling tiles(kernels_, stage.layer, threads);
      const char* packed = packed_.get() + stage.packed_at * real_bytes(first_.dtype);
      team.share(tiles.count, [&](int64_t i) {
        kernels_.tile(stage.layer, Operator::block, packed, tiles.clip(i), tiles.begin(i), tiles.end(i), scratch);
      });
    }
  });
  for (Stage& stage : stages_) stage.position += T;
}

int64_t Stream::state_rows() const {
  int64_t rows = 0;
  for (const Stage& stage : stages_) rows += stage.history;
  return rows;
}

void Stream::load_state(const void* state) {
  const int64_t bytes = first_.R * storage_bytes(first_.dtype);
  const char* from = static_cast<const char*>(state);
  for (int64_t b = 0; b < first_.B; ++b) {
    for (Stage& stage : stages_) {
      stage.position = stage.history;
      for (int64_t i = 0; i < stage.history; ++i, from += bytes) std::memcpy(row(stage, b, i), from, bytes);
    }
  }
}

void Stream::store_state(void* state) const {
  const int64_t bytes = first_.R * storage_bytes(first_.dtype);
  char* to = static_cast<char*>(state);
  for (int64_t b = 0; b < first_.B; ++b) {
    for (const Stage& stage : stages_) {
      const int64_t first = stage.position - stage.history;
      for (int64_t i = 0; i < stage.history; ++i, to += bytes) std::memcpy(to, row(stage, b, first + i), bytes);
    }
  }
}

}  // namespace wavenet::cpu
