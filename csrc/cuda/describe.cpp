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
  const TileLaunch& tiled = plan.tiled;
  std::ostringstream text;
  text << plan.kernel << " " << plan.first;
  if (plan.count > 1) text << "-" << plan.first + plan.count - 1;
  text << ": " << name_of(tiled.dtype) << " R=" << tiled.R << " D=" << tiled.D << " S=" << tiled.S << " K=" << tiled.K;
  text << " | M=" << tiled.size.M << " (" << tiled.tiling.own_rows << " own) P=" << tiled.tiling.P();
  text << " N=" << tiled.size.N;
  text << " | weights ";
  if (tiled.ring) {
    text << "in a ring of " << tiled.stages;
  } else {
    text << "stay";
  }
  text << ", inputs in " << tiled.buffers << (tiled.buffers == 1 ? " buffer" : " buffers");
  text << " | " << tiled.blocks << " blocks of " << threads_of(tiled.size) << " threads, ";
  text << tiled.shared_bytes << " bytes:";
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
  const auto apart = [](const Layer& layer) { return !layer.fused && !layer.weights; };
  const auto layer = std::find_if(layers_.begin(), layers_.end(), apart);
  if (layer == layers_.end()) return text;
  return text + "\nweights' gradients of layers of two launches: blocks of " + std::to_string(outer.A) + " x " +
         std::to_string(outer.B) + " channels, rows in " + std::to_string(layer->splits) + " shares";
}

}  // namespace wavenet::cuda
