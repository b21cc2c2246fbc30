// Starts kernels, on the device and in the stream of the tensors that they work on.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>

#include <stdexcept>

#include "../checks.h"
#include "partition.h"

namespace gnnlib {

inline void require_success(cudaError_t status) {
  if (status != cudaSuccess) {
    throw std::runtime_error(message("CUDA: ", cudaGetErrorString(status),
                                     " (an earlier kernel may have failed: CUDA_LAUNCH_BLOCKING=1 "
                                     "names it, GNNLIB_CHECK=1 finds bad indices)"));
  }
}

inline cudaStream_t current_stream(int32_t device) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  return static_cast<cudaStream_t>(stream);
}

// Blocks of kThreads, `y` of them beside each other; none at all is fine.
template <typename... Params, typename... Args>
void launch(void (*kernel)(Params...), int64_t x, int64_t y, int32_t device, Args&&... args) {
  if (x <= 0 || y <= 0) return;
  require(x <= INT32_MAX && y <= 65535, "a GPU takes at most 2^31 x 2^16 blocks of work, got ", x,
          " x ", y, " (split the graph, or the columns)");
  const torch::stable::accelerator::DeviceGuard guard(device);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(x), static_cast<unsigned>(y));
  config.blockDim = dim3(kThreads);
  config.stream = current_stream(device);
  require_success(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...));
}

// Room for `count` values on a device.
template <typename T>
class Scratch {
 public:
  Scratch(int64_t count, int32_t device)
      : bytes_(torch::stable::empty({count * static_cast<int64_t>(sizeof(T))}, ScalarType::Byte,
                                    std::nullopt, torch::stable::Device(kDeviceType, device))) {}

  T* get() { return static_cast<T*>(bytes_.mutable_data_ptr()); }

 private:
  static constexpr auto kDeviceType = torch::headeronly::DeviceType::GNNLIB_DISPATCH_KEY;
  Tensor bytes_;
};

// Warps of work, as blocks.
inline int64_t blocks_of(int64_t warps) { return ceil_div(warps, kWarps); }

__device__ __forceinline__ int64_t warp_index() {
  return static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
}
__device__ __forceinline__ int lane_index() { return threadIdx.x % kWarp; }

}  // namespace gnnlib
