// As much of CUDA as gnnlib's kernels use, for a machine without a GPU: included in the place of
// the toolkit's header, it makes plain C++ of them. The lanes of a warp are coroutines, which wait
// for each other where they exchange values; warps run one after the other, so nothing may depend
// on their order, and tests see what a kernel computes, not how fast. A lane that leaves while
// others of its warp exchange values is an error here, as it is undefined on a GPU.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#define __host__
#define __device__
#define __global__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

struct uint2 {
  unsigned x, y;
};
struct uint4 {
  unsigned x, y, z, w;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {

constexpr int kLanes = 32;
constexpr size_t kStack = 1 << 16;

class Warp {
 public:
  // Runs body() once for each lane, as thread `first` + lane of its block.
  void run(unsigned first, const std::function<void()>& body) {
    body_ = &body;
    for (int lane = 0; lane < kLanes; ++lane) start(lane);
    for (bool any = true; any;) {
      any = false;
      int left = 0;
      for (int lane = 0; lane < kLanes; ++lane) {
        if (!done_[lane]) {
          lane_ = lane;
          threadIdx = dim3(first + lane);
          swapcontext(&scheduler_, &context_[lane]);
        }
        left += !done_[lane];
        any |= !done_[lane];
      }
      if (left != 0 && left != kLanes) {
        std::fprintf(stderr, "a lane left its warp before the others exchanged values\n");
        std::abort();
      }
    }
  }

  // What all lanes brought to the exchange that this one takes part in.
  template <typename T>
  const T& exchange(T value, int from) {
    static_assert(sizeof(T) <= sizeof(uint64_t));
    const int round = round_[lane_]++ % 2;  // nobody is more than one exchange ahead
    std::memcpy(&brought_[round][lane_], &value, sizeof(T));
    const int lane = lane_;
    const dim3 thread = threadIdx;
    swapcontext(&context_[lane], &scheduler_);
    lane_ = lane;
    threadIdx = thread;
    return reinterpret_cast<const T&>(brought_[round][from < kLanes ? from : lane]);
  }

  int lane() const { return lane_; }

 private:
  void start(int lane) {
    if (!stack_[lane]) stack_[lane].reset(new char[kStack]);
    done_[lane] = false;
    round_[lane] = 0;
    getcontext(&context_[lane]);
    context_[lane].uc_stack.ss_sp = stack_[lane].get();
    context_[lane].uc_stack.ss_size = kStack;
    context_[lane].uc_link = &scheduler_;
    makecontext(&context_[lane], reinterpret_cast<void (*)()>(&Warp::enter), 0);
  }

  static void enter();

  const std::function<void()>* body_ = nullptr;
  ucontext_t scheduler_, context_[kLanes];
  std::unique_ptr<char[]> stack_[kLanes];
  bool done_[kLanes];
  unsigned round_[kLanes];
  int lane_ = 0;
  alignas(8) uint64_t brought_[2][kLanes];
};

inline Warp& warp() {
  static thread_local Warp one;
  return one;
}

inline void Warp::enter() {
  Warp& own = warp();
  (*own.body_)();
  own.done_[own.lane_] = true;
}

}  // namespace emulator

template <typename T>
T __shfl_down_sync(unsigned, T value, int distance) {
  return emulator::warp().exchange(value, emulator::warp().lane() + distance);
}

inline unsigned __ballot_sync(unsigned, int holds) {
  unsigned all = 0;
  const unsigned* brought = &emulator::warp().exchange<unsigned>(holds != 0, 0);
  for (int lane = 0; lane < emulator::kLanes; ++lane) {
    all |= brought[lane * (sizeof(uint64_t) / sizeof(unsigned))] << lane;
  }
  return all;
}

inline int __ffs(int bits) { return __builtin_ffs(bits); }

// A load of several words must be as aligned as it has to be on a GPU.
template <typename T>
T __ldg(const T* p) {
  if (reinterpret_cast<uintptr_t>(p) % sizeof(T) != 0) {
    std::fprintf(stderr, "a load of %zu bytes is not aligned\n", sizeof(T));
    std::abort();
  }
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

using cudaStream_t = struct Stream*;
enum cudaError_t { cudaSuccess };
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

template <typename... Params, typename... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Params...),
                               Args&&... args) {
  gridDim = config->gridDim;
  blockDim = config->blockDim;
  const std::function<void()> body = [&] { kernel(args...); };
  for (unsigned y = 0; y < gridDim.y; ++y) {
    for (unsigned x = 0; x < gridDim.x; ++x) {
      blockIdx = dim3(x, y);
      for (unsigned first = 0; first < blockDim.x; first += emulator::kLanes) {
        emulator::warp().run(first, body);
      }
    }
  }
  return cudaSuccess;
}
