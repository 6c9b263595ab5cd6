// A plan's launches in words: what is computed; tiles; how they come to the chip; how the kernel starts; its memory.
#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "cuda/stack.h"

namespace wavenet::cuda {

namespace {

const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "float32";
    case DType::bfloat16:
      return "bfloat16";
    case DType::float16:
      return "float16";
    case DType::float64:
      return "float64";
  }
  return "?";
}

std::string lines(const std::vector<LaunchPlan>& launches, int64_t workspace_bytes) {
  std::string text;
  for (const LaunchPlan& launch : launches) text += describe(launch) + "\n";
  return text + "workspace: " + std::to_string(workspace_bytes) + " bytes";
}

}  // namespace

std::string describe(const LaunchPlan& plan) {
  const TileLaunch& on = plan.on;
  std::ostringstream text;
  text << plan.kernel << " " << plan.first;
  if (plan.count > 1) text << "-" << plan.first + plan.count - 1;
  text << ": " << name_of(on.dtype) << " R=" << on.R << " D=" << on.D << " S=" << on.S << " K=" << on.K;
  text << " | M=" << on.size.M << " (" << on.tiling.own_rows << " own) P=" << on.tiling.P() << " N=" << on.size.N;
  text << " | weights " << (on.ring ? "in a ring" : "stay") << ", inputs in " << on.buffers
       << (on.buffers == 1 ? " buffer" : " buffers");
  text << " | " << on.blocks << " blocks of " << kThreads << " threads, " << on.shared_bytes << " bytes:";
  int at = 0;
  for (const Region& region : plan.regions) {
    text << (at ? ", " : " ") << region.name << " " << region.end - at;
    at = region.end;
  }
  return text.str();
}

std::string StackForward::describe() const { return lines(launches(), workspace_bytes()); }

std::string StackBackward::describe() const {
  const OuterSize outer = kOuterSizes[outer_index(shape_.R, shape_.D)];
  std::string text = lines(launches(), workspace_bytes());
  const auto fused = [](const Layer& layer) { return layer.fused.has_value(); };
  if (std::all_of(layers_.begin(), layers_.end(), fused)) return text;
  return text + "\nweights' gradients of layers of two launches: blocks of " + std::to_string(outer.A) + " x " +
         std::to_string(outer.B) + " channels, rows in " + std::to_string(splits_) + " shares";
}

}  // namespace wavenet::cuda
