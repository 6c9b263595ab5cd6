#include "cpu/stream.h"

#include <algorithm>
#include <cstring>

#include "cpu/threads.h"
#include "cpu/tiling.h"

namespace wavenet::cpu {

Stream::Stream(const Isa& isa, const Layer& first, const std::vector<int64_t>& dilations)
    : kernels_(isa.of(first.dtype)), first_(first), stages_(dilations.size()) {
  Stack stack;
  stack.first = first, stack.dilations = dilations;
  const std::vector<Layer> layers = layers_of(stack);
  int64_t reals = 0;
  for (std::size_t n = 0; n < layers.size(); ++n) {
    Stage& stage = stages_[n];
    stage.layer = layers[n];
    stage.history = stage.layer.left;
    stage.layer.past = stage.history;
    // Which outputs a step writes; for packing it only matters that they are there.
    stage.layer.residual.data = stage.layer.skip.data = this;
    if (first.S == 0) stage.layer.skip.data = nullptr;
    stage.room = std::max<int64_t>(stage.history, 1);
    stage.rows = allocate(first.B * (stage.history + stage.room) * row_bytes());
    stage.packed_at = reals;
    reals += (kernels_.packed_reals(stage.layer, Operator::block) + 15) / 16 * 16;
  }
  packed_ = allocate(reals * real_bytes(first.dtype));
  for (Stage& stage : stages_) {
    char* to = packed_.get() + stage.packed_at * real_bytes(first.dtype);
    const int64_t units = kernels_.pack_units(stage.layer, Operator::block);
    for (int64_t unit = 0; unit < units; ++unit) kernels_.pack(stage.layer, Operator::block, unit, to);
  }
  reset();
}

char* Stream::row(const Stage& stage, int64_t b, int64_t position) const {
  return stage.rows.get() + (b * (stage.history + stage.room) + position) * row_bytes();
}

Rows Stream::input(const Stage& stage) const {
  return {row(stage, 0, stage.position), (stage.history + stage.room) * first_.R, first_.R};
}

void Stream::reset() {
  for (Stage& stage : stages_) {
    stage.position = stage.history;
    for (int64_t b = 0; b < first_.B; ++b) std::memset(row(stage, b, 0), 0, stage.history * row_bytes());
  }
}

void Stream::make_room(Stage& stage, int64_t T) {
  if (stage.position + T <= stage.history + stage.room) return;
  const int64_t bytes = stage.history * row_bytes();
  if (T > stage.room) {  // more than ever before: as much again as the history, so that moves are rare
    const int64_t room = std::max(T, stage.history);
    Memory rows = allocate(first_.B * (stage.history + room) * row_bytes());
    for (int64_t b = 0; b < first_.B; ++b) {
      char* to = rows.get() + b * (stage.history + room) * row_bytes();
      std::memcpy(to, row(stage, b, stage.position - stage.history), bytes);
    }
    stage.rows = std::move(rows);
    stage.room = room;
  } else {
    for (int64_t b = 0; b < first_.B; ++b) {
      std::memmove(row(stage, b, 0), row(stage, b, stage.position - stage.history), bytes);
    }
  }
  stage.position = stage.history;
}

void Stream::step(int64_t T, const Rows& x, const Rows& cond, const Rows& residual, const Rows& skip, int threads) {
  if (T == 0) return;
  for (Stage& stage : stages_) make_room(stage, T);

  std::size_t wanted = 0;
  int64_t most_tiles = 0;
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
    const Tiling tiling(kernels_, l, threads);
    most_tiles = std::max(most_tiles, tiling.count);
    wanted = std::max<std::size_t>(wanted, kernels_.scratch_bytes(l, Operator::block, tiling.units));
  }
  threads = static_cast<int>(std::min<int64_t>(threads, most_tiles));
  wanted = aligned_size(wanted) * threads;
  if (wanted > scratch_bytes_) scratch_ = allocate(wanted), scratch_bytes_ = wanted;

  const Rows own = input(stages_.front());
  for (int64_t b = 0; b < first_.B; ++b) {
    for (int64_t t = 0; t < T; ++t) kernels_.copy_row(x, b, t, first_.R, first_.dtype, own);
  }
  run_on_threads(threads, scratch_.get(), wanted / threads, [&](Team& team, char* scratch) {
    for (const Stage& stage : stages_) {
      const Tiling tiling(kernels_, stage.layer, threads);
      const char* packed = packed_.get() + stage.packed_at * real_bytes(first_.dtype);
      team.share(tiling.count, [&](int64_t i) {
        kernels_.tile(stage.layer, Operator::block, packed, tiling.clip(i), tiling.begin(i), tiling.end(i), scratch);
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
  const char* from = static_cast<const char*>(state);
  for (int64_t b = 0; b < first_.B; ++b) {
    for (Stage& stage : stages_) {
      stage.position = stage.history;
      std::memcpy(row(stage, b, 0), from, stage.history * row_bytes());
      from += stage.history * row_bytes();
    }
  }
}

void Stream::store_state(void* state) const {
  char* to = static_cast<char*>(state);
  for (int64_t b = 0; b < first_.B; ++b) {
    for (const Stage& stage : stages_) {
      std::memcpy(to, row(stage, b, stage.position - stage.history), stage.history * row_bytes());
      to += stage.history * row_bytes();
    }
  }
}

}  // namespace wavenet::cpu
