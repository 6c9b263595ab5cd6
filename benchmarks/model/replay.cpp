// One multiprocessor, cycle by cycle, on what the warps of the blocks that it holds did (tests/sass/engine/trace.h).
//
//   four schedulers   each issues one instruction a cycle, of a warp that may go on; it stays with that warp while it can
//   a warp            goes on in order: after the stall count, scoreboards and waits that the compiler encoded
//   pipes             are taken by an instruction for some cycles: a scheduler's own (ALU, FMA, special functions, tensor
//                     cores), the multiprocessor's (shared memory by wavefronts, L1 by lines and sectors)
//   L1                least recently used sectors, of what shared memory leaves; what was read once is in L2
//   L2, DRAM          queues with a rate, which is this multiprocessor's share, and a latency
//
// What is unknown of an instruction's timing is in constants.h, which replay.py writes from its table, as it does the
// kinds of instructions and the reasons to wait.
#include <algorithm>
#include <cstdint>
#include <deque>
#include <list>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "constants.h"
#include "trace.h"

namespace {

using sass::Step;
using Time = uint64_t;

constexpr Time kNever = ~Time(0);
constexpr int kSchedulers = 4, kScoreboards = 6, kNone = 7, kSectorBytes = 32;

struct Instruction {
  int32_t kind;
  int32_t stall;            // cycles until the warp's next one
  int32_t written, read;    // the scoreboards that wait for its result, for its operands to be read; or kNone
  int32_t waits_for;        // scoreboards, as bits
  int32_t number;           // of bytes a lane moves; cycles of a wgmma; groups of copies or products that may be pending
};

struct Release {
  Time at;
  int scoreboard;
};

struct Warp {
  const Step* steps;
  uint64_t count;
  int block, scheduler;
  Time ready;  // when it may go on
  uint64_t next = 0;
  Time before = 0;  // when it issued last
  int pending[kScoreboards] = {};
  std::vector<Release> releases;
  Time copied = 0;  // when all copies are there that it has started
  std::deque<Time> groups;
  Time multiplied = 0;
  bool at_barrier = false, finished = false;
};

// Where global memory is found, and when.
class Memory {
 public:
  Memory(const Constants& c, uint64_t l1_sectors) : c_(c), l1_sectors_(l1_sectors) {}

  double l2_bytes = 0, dram_bytes = 0;

  void put_into_l2(uint64_t first, uint64_t last) {
    for (uint64_t s = first / kSectorBytes; s <= last / kSectorBytes; ++s) in_l2_.insert(uint32_t(s));
  }

  // When what is asked for now has arrived; a copy goes past L1.
  Time read(Time now, const Step& step, bool past_l1) {
    const auto found = in_l1_.find(step.sector);
    if (!past_l1 && found != in_l1_.end()) {
      used_.splice(used_.begin(), used_, found->second);
      return now + Time(c_.l1_latency);
    }
    const bool in_l2 = !in_l2_.insert(step.sector).second;
    if (!past_l1) put_into_l1(step);
    const double bytes = step.sectors * double(kSectorBytes), out_of_l2 = queue(now, bytes, l2_free_, c_.l2_rate);
    l2_bytes += bytes;
    if (in_l2) return Time(out_of_l2 + c_.l2_latency);
    dram_bytes += bytes;
    return Time(std::max(queue(now, bytes, dram_free_, c_.dram_rate), out_of_l2) + c_.dram_latency);
  }

  void write(Time now, const Step& step, double bytes) {
    l2_bytes += step.sectors * double(kSectorBytes), dram_bytes += bytes;
    queue(now, step.sectors * double(kSectorBytes), l2_free_, c_.l2_rate);
    queue(now, bytes, dram_free_, c_.dram_rate);
  }

 private:
  static double queue(Time now, double bytes, double& free, double rate) {
    return free = std::max(double(now), free) + bytes / rate;
  }
  void put_into_l1(const Step& step) {
    used_.push_front({step.sector, step.sectors});
    in_l1_[step.sector] = used_.begin();
    held_ += step.sectors;
    while (held_ > l1_sectors_ && used_.size() > 1) {
      held_ -= used_.back().second;
      in_l1_.erase(used_.back().first);
      used_.pop_back();
    }
  }

  using Used = std::list<std::pair<uint32_t, uint32_t>>;  // sector, how many from there; the latest first
  const Constants& c_;
  const uint64_t l1_sectors_;
  uint64_t held_ = 0;
  Used used_;
  std::unordered_map<uint32_t, Used::iterator> in_l1_;
  std::unordered_set<uint32_t> in_l2_;
  double l2_free_ = 0, dram_free_ = 0;
};

struct Verdict {
  Wait reason;
  Time until;
};

class Multiprocessor {
 public:
  Multiprocessor(const Constants& c, const Instruction* code, std::vector<Warp> warps, int blocks, Memory& memory,
                 Result& result, double* waited)
      : c_(c), code_(code), warps_(std::move(warps)), alive_(blocks), arrived_(blocks), memory_(memory),
        result_(result), waited_(waited) {
    for (size_t i = 0; i < warps_.size(); ++i) {
      of_scheduler_[warps_[i].scheduler].push_back(i);
      ++alive_[warps_[i].block];
      finish_if_done(warps_[i], 0);
    }
  }

  void run() {
    Time now = 0;
    while (left_) {
      Wait idle[kSchedulers];
      Time next = kNever;
      bool issued = false;
      for (int s = 0; s < kSchedulers; ++s) {
        idle[s] = schedule(s, now, next);
        issued |= idle[s] == WAIT_NONE;
      }
      const Time passed = issued ? 1 : next == kNever ? 0 : next - now;
      if (!passed) break;  // a deadlock
      for (Wait reason : idle) result_.waits[reason] += double(passed);
      now += passed;
    }
    result_.cycles = left_ ? 0 : double(now);
    result_.l2_bytes = memory_.l2_bytes, result_.dram_bytes = memory_.dram_bytes;
  }

 private:
  // Issues an instruction of one of the scheduler's warps, or says why none; `next`: when something may change.
  Wait schedule(int s, Time now, Time& next) {
    std::vector<size_t>& mine = of_scheduler_[s];
    Wait reason = WAIT_FOR_NOTHING;
    for (size_t k = 0; k < mine.size(); ++k) {
      const size_t at = (last_[s] + k) % mine.size();
      Warp& warp = warps_[mine[at]];
      if (warp.finished) continue;
      const Verdict verdict = examine(warp, now);
      if (verdict.reason == WAIT_NONE) {
        issue(warp, now);
        last_[s] = at;
        return WAIT_NONE;
      }
      reason = std::max(reason, verdict.reason);
      next = std::min(next, verdict.until);
    }
    return reason;
  }

  Verdict examine(Warp& warp, Time now) {
    settle(warp, now);
    if (warp.at_barrier) return {WAIT_FOR_BARRIER, kNever};
    if (warp.ready > now) return {WAIT_FOR_STALL_COUNT, warp.ready};
    const Step& step = warp.steps[warp.next];
    const Instruction& in = code_[step.place];
    for (int b = 0; b < kScoreboards; ++b) {
      if (in.waits_for >> b & 1 && warp.pending[b]) return {WAIT_FOR_SCOREBOARD, next_release(warp)};
    }
    if (in.kind == WAIT_COPIES) {
      while (int(warp.groups.size()) > in.number && warp.groups.front() <= now) warp.groups.pop_front();
      if (int(warp.groups.size()) > in.number) return {WAIT_FOR_COPIES, warp.groups.front()};
    }
    if (in.kind == WAIT_PRODUCTS && in.number == 0 && warp.multiplied > now) {
      return {WAIT_FOR_PRODUCTS, warp.multiplied};
    }
    if (const Time* pipe = pipe_of(warp, step, in); pipe && *pipe > now) return {wait_for_pipe(in.kind), *pipe};
    const Time queue = Time(c_.queue);
    if ((in.kind == LOAD_SHARED || in.kind == STORE_SHARED) && shared_free_ > now + queue) {
      return {WAIT_FOR_MEMORY_QUEUE, shared_free_ - queue};
    }
    if (is_global(in.kind) && l1_free_ > now + queue) return {WAIT_FOR_MEMORY_QUEUE, l1_free_ - queue};
    return {WAIT_NONE, now};
  }

  void issue(Warp& warp, Time now) {
    const Step& step = warp.steps[warp.next];
    const Instruction& in = code_[step.place];
    if (Time* pipe = pipe_of(warp, step, in)) {
      const double cycles = cycles_of(in);
      *pipe = now + Time(cycles);
      result_.busy[in.kind] += cycles;
    }
    Time done = now + Time(c_.fixed), read = done;
    if (step.lanes) execute(warp, step, in, now, done, read);
    if (in.kind == COMMIT_COPIES) warp.groups.push_back(warp.copied);
    if (in.written != kNone) expect(warp, in.written, done);
    if (in.read != kNone) expect(warp, in.read, read);
    warp.ready = now + Time(std::max(1, in.stall));
    if (step.jumps) warp.ready = now + Time(std::max(5, in.stall)) + Time(c_.branch);
    waited_[step.place] += double(now - warp.before);
    warp.before = now;
    result_.issued += 1;
    if (in.kind == BARRIER && step.lanes) {
      warp.at_barrier = true, ++arrived_[warp.block];
      open_if_complete(warp.block, now);
    }
    ++warp.next;
    finish_if_done(warp, now);
  }

  // When the result is there (`done`), and when operands' registers may be written again (`read`).
  void execute(Warp& warp, const Step& step, const Instruction& in, Time now, Time& done, Time& read) {
    const Time shared = std::max(now + 2, shared_free_), l1 = std::max(now + 2, l1_free_);
    const Time loaded = std::max<Time>({1, step.lines, Time((step.sectors + 3) / 4)});
    switch (in.kind) {
      case LOAD_SHARED:
        read = take_shared(shared, step.wavefronts);
        done = read + Time(c_.shared_latency);
        break;
      case STORE_SHARED:
        read = take_shared(shared, step.wavefronts) + 6;
        done = read + 4;
        break;
      case SHUFFLE:
        take_shared(shared, 1);
        read = shared + 2, done = shared + Time(c_.shuffle_latency);
        break;
      case LOAD_GLOBAL:
        take_l1(l1, loaded);
        shared_free_ = std::max(shared_free_, l1) + loaded;  // both take the same path back
        read = l1_free_ + 6, done = memory_.read(l1_free_, step, false);
        break;
      case LOAD_LOCAL:  // in L1, it is assumed
        take_l1(l1, loaded);
        read = l1_free_ + 6, done = l1_free_ + Time(c_.l1_latency);
        break;
      case STORE_GLOBAL:
        memory_.write(l1, step, double(step.lanes) * in.number);
        [[fallthrough]];
      case STORE_LOCAL:
        take_l1(l1, std::max<Time>(step.lines, (step.sectors + 1) / 2));
        done = l1_free_, read = l1_free_ + 8;
        break;
      case COPY:
        take_l1(l1, loaded);
        shared_free_ = std::max(shared_free_, l1) + step.wavefronts;
        result_.busy[LOAD_SHARED] += step.wavefronts;
        warp.copied = std::max(warp.copied, step.sectors ? memory_.read(l1_free_, step, true) : l1 + 30);
        read = l1_free_ + 6;
        break;
      case SPECIAL_FUNCTION:
        done = now + Time(c_.special_latency), read = now + Time(c_.special);
        break;
      case LOAD_CONSTANT:
        done = now + Time(c_.constant_latency);
        break;
      case SPECIAL_REGISTER:
        done = now + Time(c_.register_latency);
        break;
      case WGMMA: {
        const bool first = warp.multiplied < now;
        warp.multiplied = std::max(now, warp.multiplied) + Time(in.number) + (first ? Time(c_.wgmma_start) : 0);
        break;
      }
    }
  }

  Time take_shared(Time start, uint64_t cycles) {
    result_.busy[LOAD_SHARED] += double(cycles);
    return shared_free_ = start + cycles;
  }
  void take_l1(Time start, Time cycles) {
    result_.busy[LOAD_GLOBAL] += double(cycles);
    l1_free_ = start + cycles;
  }

  static bool is_global(int kind) {
    return kind == LOAD_GLOBAL || kind == STORE_GLOBAL || kind == LOAD_LOCAL || kind == STORE_LOCAL || kind == COPY;
  }
  static Wait wait_for_pipe(int kind) {
    if (kind == MMA || kind == WGMMA) return WAIT_FOR_TENSOR_CORES;
    if (kind == SPECIAL_FUNCTION) return WAIT_FOR_SPECIAL_FUNCTIONS;
    return is_global(kind) || kind == LOAD_SHARED || kind == STORE_SHARED ? WAIT_FOR_MEMORY_QUEUE : WAIT_FOR_PIPE;
  }

  // Null if the instruction takes none; a guard that holds nowhere makes it free.
  Time* pipe_of(const Warp& warp, const Step& step, const Instruction& in) {
    Pipes& pipes = pipes_[warp.scheduler];
    if (!step.lanes) return nullptr;
    switch (in.kind) {
      case ALU:
        return &pipes.alu;
      case INTEGER_PRODUCT:
        return &pipes.heavy;
      case FMA:
        return pipes.light <= pipes.heavy ? &pipes.light : &pipes.heavy;
      case SPECIAL_FUNCTION:
        return &pipes.special;
      case MMA:
      case WGMMA:
        return &pipes.tensor;
      case UNIFORM:
        return &pipes.uniform;
      case LOAD_SHARED:
      case STORE_SHARED:
      case LOAD_GLOBAL:
      case STORE_GLOBAL:
      case LOAD_LOCAL:
      case STORE_LOCAL:
      case COPY:
      case SHUFFLE:
      case SPECIAL_REGISTER:
        return &pipes.memory;
      default:
        return nullptr;
    }
  }
  double cycles_of(const Instruction& in) const {
    switch (in.kind) {
      case MMA:
        return c_.mma;
      case WGMMA:
        return in.number;
      case SPECIAL_FUNCTION:
        return c_.special;
      case UNIFORM:
        return 1;
      default:
        return 2;  // 16 lanes a cycle
    }
  }

  static void settle(Warp& warp, Time now) {
    size_t kept = 0;
    for (const Release& release : warp.releases) {
      if (release.at <= now) {
        --warp.pending[release.scoreboard];
      } else {
        warp.releases[kept++] = release;
      }
    }
    warp.releases.resize(kept);
  }
  static Time next_release(const Warp& warp) {
    Time first = kNever;
    for (const Release& release : warp.releases) first = std::min(first, release.at);
    return first;
  }
  static void expect(Warp& warp, int scoreboard, Time at) {
    ++warp.pending[scoreboard];
    warp.releases.push_back({at, scoreboard});
  }

  void open_if_complete(int block, Time now) {
    if (!alive_[block] || arrived_[block] < alive_[block]) return;
    arrived_[block] = 0;
    for (Warp& warp : warps_) {
      if (warp.block != block || !warp.at_barrier) continue;
      warp.at_barrier = false;
      warp.ready = std::max(warp.ready, now + Time(c_.barrier));
    }
  }
  void finish_if_done(Warp& warp, Time now) {
    if (warp.next < warp.count) {
      return;
    }
    warp.finished = true;
    --left_, --alive_[warp.block];
    open_if_complete(warp.block, now);
  }

  struct Pipes {
    Time alu = 0, heavy = 0, light = 0, special = 0, tensor = 0, uniform = 0, memory = 0;
  };

  const Constants& c_;
  const Instruction* code_;
  std::vector<Warp> warps_;
  std::vector<size_t> of_scheduler_[kSchedulers];
  size_t last_[kSchedulers] = {};
  std::vector<int> alive_, arrived_;  // warps of each block
  size_t left_ = warps_.size();
  Pipes pipes_[kSchedulers];
  Time shared_free_ = 0, l1_free_ = 0;
  Memory& memory_;
  Result& result_;
  double* waited_;
};

}  // namespace

// `steps` and `counts`: of each warp of each block, one after the other. `hot`: pairs of the first and last addresses
// that are in L2 from the start. `waited` gets for each instruction the cycles that warps spent before it.
extern "C" void replay(const Step* const* steps, const uint64_t* counts, int warps_of_block, int blocks,
                       const Instruction* code, const Constants* constants, const uint64_t* hot, int hot_ranges,
                       uint64_t l1_bytes, Result* result, double* waited) {
  Memory memory(*constants, std::max<uint64_t>(64, l1_bytes / kSectorBytes));
  for (int i = 0; i < hot_ranges; ++i) memory.put_into_l2(hot[2 * i], hot[2 * i + 1]);
  std::vector<Warp> warps;
  for (int i = 0; i < blocks * warps_of_block; ++i) {
    const int block = i / warps_of_block;
    warps.push_back({steps[i], counts[i], block, i % kSchedulers, Time(block) * Time(constants->block_start)});
  }
  Multiprocessor(*constants, code, std::move(warps), blocks, memory, *result, waited).run();
}
