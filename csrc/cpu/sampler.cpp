#include "cpu/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "cpu/philox.h"

namespace wavenet::cpu {

namespace {

constexpr float kLogisticBound = 1e-5f, kSmallest = 2.98023224e-8f;  // wavenet_kernels/sampling/draws.py

float* floats(const Memory& memory) { return reinterpret_cast<float*>(memory.get()); }

Memory zeros(int64_t count) {
  Memory memory = allocate(std::max<int64_t>(count, 1) * sizeof(float));
  std::memset(memory.get(), 0, std::max<int64_t>(count, 1) * sizeof(float));
  return memory;
}

Memory copy_of(const float* from, int64_t count, int64_t room) {
  Memory memory = zeros(room);
  if (from) std::memcpy(memory.get(), from, count * sizeof(float));
  return memory;
}

uint16_t rounded(float value) {  // to nearest even; weights are finite or all is lost anyway
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (std::isnan(value)) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace

int64_t Sampler::padded(int64_t channels) const {
  return (channels + kernels_.lanes - 1) / kernels_.lanes * kernels_.lanes;
}

// In bytes, a whole number of lines.
int64_t Sampler::packed_size(int64_t outputs, int64_t inputs) const {
  return (padded(outputs) * (half_ ? (inputs + 1) / 2 : inputs) * 4 + 63) / 64 * 64;
}

// For products of so many rows at once. `element(output, input)`: what a weight is.
template <class Element>
Sampler::Matrix Sampler::pack(int64_t outputs, int64_t inputs, int64_t rows, const Element& element) {
  Matrix m;
  m.outputs = padded(outputs), m.inputs = inputs, m.panel = kernels_.panel(rows);
  const int64_t per_cell = half_ ? 2 : 1, depth = (inputs + per_cell - 1) / per_cell * per_cell;
  char* data = weights_.get() + packed_;
  m.data = data, packed_ += packed_size(outputs, inputs);
  for (int64_t at = 0; at < m.outputs; at += m.panel) {
    const int64_t width = std::min(m.panel, m.outputs - at);
    for (int64_t c = 0; c < depth; ++c) {
      for (int64_t i = 0; i < width; ++i) {
        const float value = at + i < outputs && c < inputs ? element(at + i, c) : 0.0f;
        const int64_t to = at * depth + (c / per_cell * width + i) * per_cell + c % per_cell;
        if (half_) {
          reinterpret_cast<uint16_t*>(data)[to] = rounded(value);
        } else {
          reinterpret_cast<float*>(data)[to] = value;
        }
      }
    }
  }
  return m;
}

// Cold: what happens once is to be small, in a file that is compiled for speed.
__attribute__((cold))
Sampler::Sampler(const Isa& isa, const SampleNetwork& network, int64_t batch, bool half)
    : kernels_(*isa.of_float->sample), net_(network), B_(batch), half_(half) {
  const int64_t L = net_.layers(), R = net_.R, D = net_.D, S = net_.S, K = net_.K, H = net_.H, P = net_.P;
  const int64_t Dp = padded(D), Rp = padded(R), Sp = padded(S), Hp = padded(H), Pp = padded(P);
  // Filter and gate each fill up whole vectors: row i of 2 Dp is row `gate_row(i)` of 2 D, or none.
  const auto gate_row = [&](int64_t i) { return i % Dp < D ? i / Dp * D + i % Dp : int64_t(-1); };
  const int64_t bytes = L * K * packed_size(2 * Dp, R) + (L - 1) * packed_size(R, D) + packed_size(S, L * Dp) +
                        packed_size(H, S) + packed_size(P, H);
  weights_ = allocate(bytes);
  prefer_large_pages(weights_.get(), bytes);
  const auto tap = [&](const Stage& stage, int64_t k) {
    const float* conv = net_.conv_weight + (&stage - stages_.data()) * 2 * D * R * K;
    const int64_t rows = B_ * std::min(std::max<int64_t>(lag(stage, k), 1), kSamplesAhead);
    return pack(2 * Dp, R, rows, [&](int64_t i, int64_t c) {
      const int64_t row = gate_row(i);
      return row < 0 ? 0.0f : conv[(row * R + c) * K + k];
    });
  };
  stages_.resize(L);
  for (int64_t l = 0; l < L; ++l) {
    Stage& stage = stages_[l];
    stage.dilation = net_.dilations[l];
    if (1.0 * (K - 1) * static_cast<double>(stage.dilation) * B_ * R > 1e15) throw std::bad_alloc();
    stage.history = (K - 1) * stage.dilation + kSamplesAhead;
    for (stage.length = 1; stage.length < stage.history;) stage.length *= 2;
    stage.current = tap(stage, K - 1);
    stage.conv_bias = zeros(2 * Dp);
    for (int64_t i = 0; net_.conv_bias && i < 2 * Dp; ++i) {
      if (gate_row(i) >= 0) floats(stage.conv_bias)[i] = net_.conv_bias[l * 2 * D + gate_row(i)];
    }
    const float* out = net_.out_weight + l * (R + S) * D;
    if (l + 1 < L) {
      stage.residual = pack(R, D, B_, [&](int64_t i, int64_t c) { return out[i * D + c]; });
    }
    stage.out_bias = copy_of(net_.out_bias ? net_.out_bias + l * (R + S) : nullptr, R, Rp);
    stage.ring = zeros(B_ * stage.length * Rp);
  }
  skip_ = pack(S, L * Dp, B_, [&](int64_t i, int64_t c) {
    const int64_t l = c / Dp, d = c % Dp;
    return d < D ? net_.out_weight[(l * (R + S) + R + i) * D + d] : 0.0f;
  });
  skip_bias_ = zeros(Sp);
  for (int64_t l = 0; net_.out_bias && l < L; ++l) {
    for (int64_t i = 0; i < S; ++i) floats(skip_bias_)[i] += net_.out_bias[l * (R + S) + R + i];
  }
  hidden_ = pack(H, S, B_, [&](int64_t i, int64_t c) { return net_.hidden_weight[i * S + c]; });
  output_ = pack(P, H, B_, [&](int64_t i, int64_t c) { return net_.output_weight[i * H + c]; });
  for (Stage& stage : stages_) {
    for (int64_t k = 0; k + 1 < K; ++k) {
      stage.past.push_back(tap(stage, k));
      stage.ahead.push_back(zeros(B_ * kSamplesAhead * 2 * Dp));
    }
  }
  hidden_bias_ = copy_of(net_.hidden_bias, H, Hp), output_bias_ = copy_of(net_.output_bias, P, Pp);
  const int64_t table = net_.taps * std::max<int64_t>(net_.codes, 1) * R;
  input_weight_ = copy_of(net_.input_weight, table, table);
  input_bias_ = copy_of(net_.input_bias, R, Rp);
  a_ = zeros(B_ * 2 * Dp), z_ = zeros(B_ * L * Dp);
  skips_ = zeros(B_ * Sp), hiddens_ = zeros(B_ * Hp), said_ = zeros(B_ * Pp);
  sums_.resize(Pp);
  past_samples_.resize(B_ * net_.taps);
  add_workers(1);
  reset();
}

void Sampler::add_workers(int count) {
  const int64_t rows = B_ * kSamplesAhead;
  for (int i = static_cast<int>(workers_.size()); i < count; ++i) {
    Worker worker;
    worker.index = i;
    worker.memory = allocate((2 * rows + (net_.K + 1)) * sizeof(float*));
    worker.y = reinterpret_cast<float**>(worker.memory.get());
    worker.x = const_cast<const float**>(worker.y + rows);
    worker.terms = worker.x + rows;
    workers_.push_back(std::move(worker));
  }
}

float* Sampler::row(const Stage& stage, int64_t b, int64_t t) const {
  return floats(stage.ring) + (b * stage.length + (t & (stage.length - 1))) * padded(net_.R);
}

void Sampler::reset() {
  t_ = 0;
  std::fill(past_samples_.begin(), past_samples_.end(), net_.first);
  for (Stage& stage : stages_) std::memset(stage.ring.get(), 0, B_ * stage.length * padded(net_.R) * sizeof(float));
}

// Those of so many padded channels that are the worker's.
Sampler::Range Sampler::share(const Worker& worker, int64_t channels) const {
  const int64_t vectors = channels / kernels_.lanes;
  return {vectors * worker.index / worker.of * kernels_.lanes, vectors * (worker.index + 1) / worker.of * kernels_.lanes};
}

// Of the rows in the worker's x, onto those in its y.
void Sampler::product(Worker& worker, const Matrix& matrix, int64_t rows, std::initializer_list<Range> outputs) {
  for (auto next = outputs.begin(); next != outputs.end();) {
    Range range = *next++;
    while (next != outputs.end() && next->begin == range.end) range.end = next++->end;  // more sums at once
    kernels_.product(matrix.data, half_, matrix.panel, matrix.outputs, range.begin, range.end, matrix.inputs, rows,
                     worker.x, worker.y);
  }
}

void Sampler::embed(int64_t b) {
  const int64_t R = net_.R;
  float* to = row(stages_[0], b, t_);
  std::memcpy(to, input_bias_.get(), R * sizeof(float));
  for (int64_t tap = 0; tap < net_.taps; ++tap) {
    const double sample = past_samples_[b * net_.taps + tap];
    const float* weight = floats(input_weight_) + tap * std::max<int64_t>(net_.codes, 1) * R;
    if (net_.codes) {
      weight += static_cast<int64_t>(sample) * R;
      for (int64_t c = 0; c < R; ++c) to[c] += weight[c];
    } else {
      const float x = static_cast<float>(sample);
      for (int64_t c = 0; c < R; ++c) to[c] += x * weight[c];
    }
  }
  if (net_.input_tanh) {
    for (int64_t c = 0; c < R; ++c) to[c] = std::tanh(to[c]);
  }
}

// The products of the past taps that begin to be needed now: of a tap `lag` samples back, whose inputs are there for
// as many samples ahead. With `all`, also those that began to be needed before.
void Sampler::past_taps(Worker& worker, Stage& stage, bool all) {
  const int64_t Dp = padded(net_.D);
  const Range mine = share(worker, Dp), gates = {Dp + mine.begin, Dp + mine.end};
  for (int64_t k = 0; k + 1 < net_.K; ++k) {
    const int64_t ahead = std::min(lag(stage, k), kSamplesAhead), begin = t_ - t_ % ahead;
    if (t_ != begin && !all) continue;
    int64_t rows = 0;
    for (int64_t b = 0; b < B_; ++b) {
      for (int64_t i = 0; i < ahead; ++i, ++rows) {
        float* y = floats(stage.ahead[k]) + (b * kSamplesAhead + i) * 2 * Dp;
        std::fill(y + mine.begin, y + mine.end, 0.0f);
        std::fill(y + gates.begin, y + gates.end, 0.0f);
        worker.x[rows] = row(stage, b, begin + i - lag(stage, k)), worker.y[rows] = y;
      }
    }
    product(worker, stage.past[k], rows, {mine, gates});
  }
}

void Sampler::layers(Worker& worker, Meeting& meeting, const SampleRun& run, int64_t i) {
  const int64_t L = net_.layers(), D = net_.D, Dp = padded(D);
  const Range mine = share(worker, Dp), gates = {Dp + mine.begin, Dp + mine.end};
  const Range channels = share(worker, padded(net_.R));
  for (int64_t l = 0; l < L; ++l) {
    Stage& stage = stages_[l];
    past_taps(worker, stage, false);
    for (int64_t b = 0; b < B_; ++b) {
      float* a = floats(a_) + b * 2 * Dp;
      const float *bias = floats(stage.conv_bias), *cond = nullptr;
      int64_t terms = 0;
      worker.terms[terms++] = bias;
      if (run.cond.data) {
        const int64_t at = b * run.cond.batch_stride + i * run.cond.time_stride + l * 2 * D;
        cond = static_cast<const float*>(run.cond.data) + at;
      }
      if (cond && D == Dp) {
        worker.terms[terms++] = cond;
      } else if (cond) {
        for (const Range& range : {mine, gates}) std::copy(bias + range.begin, bias + range.end, a + range.begin);
        for (int64_t c = mine.begin; c < std::min(mine.end, D); ++c) a[c] += cond[c], a[Dp + c] += cond[D + c];
        worker.terms[0] = a;
      }
      for (int64_t k = 0; k + 1 < net_.K; ++k) {
        const int64_t slot = t_ % std::min(lag(stage, k), kSamplesAhead);
        worker.terms[terms++] = floats(stage.ahead[k]) + (b * kSamplesAhead + slot) * 2 * Dp;
      }
      for (const Range& range : {mine, gates}) kernels_.sum(worker.terms, terms, range.begin, range.end, a);
      worker.x[b] = row(stage, b, t_), worker.y[b] = a;
    }
    product(worker, stage.current, B_, {mine, gates});
    for (int64_t b = 0; b < B_; ++b) {
      const float* a = floats(a_) + b * 2 * Dp;
      float* z = floats(z_) + (b * L + l) * Dp;
      kernels_.gate(a + mine.begin, a + gates.begin, mine.end - mine.begin, z + mine.begin);
    }
    meeting.wait(worker.index, worker.of);
    if (l + 1 == L) break;
    for (int64_t b = 0; b < B_; ++b) {
      float* next = row(stages_[l + 1], b, t_);
      worker.terms[0] = row(stage, b, t_), worker.terms[1] = floats(stage.out_bias);
      kernels_.sum(worker.terms, 2, channels.begin, channels.end, next);
      worker.x[b] = floats(z_) + (b * L + l) * Dp, worker.y[b] = next;
    }
    product(worker, stage.residual, B_, {channels});
    for (int64_t b = 0; net_.residual_scale != 1.0f && b < B_; ++b) {
      float* next = worker.y[b];
      for (int64_t c = channels.begin; c < channels.end; ++c) next[c] *= net_.residual_scale;
    }
    meeting.wait(worker.index, worker.of);
  }
}

void Sampler::head(Worker& worker, Meeting& meeting) {
  const auto layer = [&](const Matrix& matrix, const Memory& bias, const Memory& from, int64_t width, const Memory& to,
                         float scale, bool relu) {
    const Range mine = share(worker, matrix.outputs);
    for (int64_t b = 0; b < B_; ++b) {
      float* y = floats(to) + b * matrix.outputs;
      std::copy(floats(bias) + mine.begin, floats(bias) + mine.end, y + mine.begin);
      worker.x[b] = floats(from) + b * width, worker.y[b] = y;
    }
    product(worker, matrix, B_, {mine});
    for (int64_t b = 0; relu && b < B_; ++b) {
      float* y = worker.y[b];
      // NaN stays, so that it is seen.
      for (int64_t c = mine.begin; c < mine.end; ++c) {
        const float value = y[c] * scale;
        y[c] = value < 0.0f ? 0.0f : value;
      }
    }
    meeting.wait(worker.index, worker.of);
  };
  layer(skip_, skip_bias_, z_, net_.layers() * padded(net_.D), skips_, net_.skip_scale, true);
  layer(hidden_, hidden_bias_, skips_, padded(net_.S), hiddens_, 1.0f, true);
  layer(output_, output_bias_, hiddens_, padded(net_.H), said_, 1.0f, false);
}

// Draws sample i of the run; false if the parameters aren't finite.
bool Sampler::feed_back(const SampleRun& run, int64_t i) {
  const int64_t Pp = padded(net_.P);
  for (int64_t b = 0; b < B_; ++b) {
    const float* said = floats(said_) + b * Pp;
    for (int64_t p = 0; p < net_.P; ++p) {
      if (!std::isfinite(said[p])) return false;
    }
  }
  for (int64_t b = 0; b < B_; ++b) {
    const float* said = floats(said_) + b * Pp;
    if (run.parameters) std::memcpy(run.parameters + (b * run.n + i) * net_.P, said, net_.P * sizeof(float));
    float uniform[4];
    if (run.noise) {
      for (int w = 0; w < 4; ++w) uniform[w] = run.noise[(b * 4 + w) * run.n + i];
    } else {
      uniforms(run.seed, static_cast<uint64_t>(t_), run.first_signal + static_cast<uint64_t>(b), uniform);
    }
    double drawn = draw(said, uniform, run.temperature);
    if (net_.draw == Draw::softmax) {
      static_cast<int64_t*>(run.out)[b * run.n + i] = static_cast<int64_t>(drawn);
      if (run.forced) drawn = static_cast<double>(static_cast<const int64_t*>(run.forced)[b * run.n + i]);
    } else {
      static_cast<float*>(run.out)[b * run.n + i] = static_cast<float>(drawn);
      if (run.forced) drawn = static_cast<const float*>(run.forced)[b * run.n + i];
    }
    double* past = past_samples_.data() + b * net_.taps;
    std::memmove(past, past + 1, (net_.taps - 1) * sizeof(double));
    past[net_.taps - 1] = drawn;
  }
  ++t_;
  return true;
}

int64_t Sampler::run(const SampleRun& run, int threads) {
  add_workers(threads);
  Meeting meeting(threads);
  bool finite = true;
  run_on_threads(threads, reinterpret_cast<char*>(workers_.data()), sizeof(Worker), [&](Team& team, char* scratch) {
    Worker& worker = *reinterpret_cast<Worker*>(scratch);
    worker.of = team.size();
    for (int64_t i = 0;; ++i) {
      if (worker.index == 0) {
        finite = i == 0 || feed_back(run, i - 1);
        for (int64_t b = 0; finite && i < run.n && b < B_; ++b) embed(b);
      }
      meeting.wait(worker.index, worker.of);
      if (!finite || i == run.n) return;
      layers(worker, meeting, run, i);
      head(worker, meeting);
    }
  });
  return finite ? -1 : t_;
}

// The first whose running sum of unnormalised probabilities exceeds u times the total.
int64_t Sampler::component(const float* logits, int64_t count, float uniform, float temperature) const {
  float largest = logits[0];
  for (int64_t i = 1; i < count; ++i) largest = logits[i] > largest ? logits[i] : largest;
  const float scale = std::min(1.0f / temperature, std::numeric_limits<float>::max());  // not infinite: 0 times it is 0
  kernels_.exp(logits, padded(count), largest, scale, sums_.data());
  float total = 0;
  for (int64_t i = 0; i < count; ++i) sums_[i] = total += sums_[i];
  const float threshold = uniform * total;
  int64_t chosen = 0;
  while (chosen < count && sums_[chosen] <= threshold && sums_[chosen] < total) ++chosen;
  return chosen;
}

double Sampler::draw(const float* said, const float* uniform, float temperature) const {
  if (net_.draw == Draw::softmax) return static_cast<double>(component(said, net_.P, uniform[0], temperature));
  const int64_t count = net_.P == 2 ? 1 : net_.P / 3;
  const int64_t n = count == 1 ? 0 : component(said, count, uniform[0], temperature);
  const float mean = said[net_.P - 2 * count + n];
  float log_scale = said[net_.P - count + n];
  if (net_.has_floor) log_scale = std::max(log_scale, net_.scale_floor);
  float standard;
  if (net_.draw == Draw::logistic) {
    const float u = kLogisticBound + (1.0f - 2.0f * kLogisticBound) * uniform[1];
    standard = std::log(u) - std::log1p(-u);
  } else {
    const float radius = std::sqrt(-2.0f * std::log(std::max(uniform[2], kSmallest)));
    standard = radius * std::cos(6.28318530717958647692f * uniform[3]);
  }
  return std::min(1.0f, std::max(-1.0f, mean + temperature * std::exp(log_scale) * standard));
}

int64_t Sampler::state_size() const {
  int64_t size = static_cast<int64_t>(past_samples_.size());
  for (const Stage& stage : stages_) size += B_ * stage.history * net_.R;
  return size;
}

void Sampler::store_state(double* state) const {
  state = std::copy(past_samples_.begin(), past_samples_.end(), state);
  for (const Stage& stage : stages_) {
    for (int64_t b = 0; b < B_; ++b) {
      for (int64_t i = 0; i < stage.history; ++i) {
        const float* from = row(stage, b, t_ - stage.history + i);
        state = std::copy(from, from + net_.R, state);
      }
    }
  }
}

void Sampler::load_state(const double* state, int64_t position) {
  t_ = position;
  std::copy(state, state + past_samples_.size(), past_samples_.begin());
  state += past_samples_.size();
  for (const Stage& stage : stages_) {
    for (int64_t b = 0; b < B_; ++b) {
      for (int64_t i = 0; i < stage.history; ++i, state += net_.R) {
        float* to = row(stage, b, t_ - stage.history + i);
        for (int64_t c = 0; c < net_.R; ++c) to[c] = static_cast<float>(state[c]);
        std::fill(to + net_.R, to + padded(net_.R), 0.0f);  // what isn't finite may have been there
      }
    }
  }
  // A stretch of samples that is under way needs the rest of its products.
  workers_[0].of = 1;
  for (Stage& stage : stages_) past_taps(workers_[0], stage, true);
}

}  // namespace wavenet::cpu
