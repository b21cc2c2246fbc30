// As much of CUDA as gnnlib's kernels use, for a machine without a GPU: included in the place of
// the toolkit's header, it makes plain C++ of them. The lanes of a warp are coroutines, which wait
// for each other where they exchange values; warps run one after the other, so nothing may depend
// on their order, and tests see what a kernel computes, not how fast. A lane that leaves while
// others of its warp exchange values is an error here, as it is undefined on a GPU.
#pragma once

#include <setjmp.h>
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
  Warp() {
    for (int lane = 0; lane < kLanes; ++lane) start(lane);
  }

  // Runs body() once for each lane, as thread `first` + lane of its block.
  void run(unsigned first, const std::function<void()>& body) {
    body_ = &body;
    std::fill_n(done_, kLanes, false);
    std::fill_n(round_, kLanes, 0u);
    for (int left = kLanes; left > 0;) {
      for (int lane = 0; lane < kLanes; ++lane) {
        if (done_[lane]) continue;
        threadIdx = dim3(first + lane);
        lane_ = lane;
        change(scheduler_, lanes_[lane]);
      }
      left = static_cast<int>(std::count(done_, done_ + kLanes, false));
      if (left != 0 && left != kLanes) {
        std::fprintf(stderr, "a lane left its warp before the others exchanged values\n");
        std::abort();
      }
    }
  }

  // What the lanes brought to an exchange that all of them take part in.
  template <typename T>
  const uint64_t* exchange(T value) {
    static_assert(sizeof(T) <= sizeof(uint64_t));
    const int lane = lane_, round = round_[lane]++ % 2;  // nobody is further ahead than one
    std::memcpy(&brought_[round][lane], &value, sizeof(T));
    change(lanes_[lane], scheduler_);
    return brought_[round];
  }

  int lane() const { return lane_; }

 private:
  static void change(jmp_buf& from, jmp_buf& to) {
    if (_setjmp(from) == 0) _longjmp(to, 1);
  }

  // A lane has a stack of its own and waits on it for its next body.
  void start(int lane) {
    ucontext_t context, own;
    getcontext(&context);
    stack_[lane].reset(new char[kStack]);
    context.uc_stack.ss_sp = stack_[lane].get();
    context.uc_stack.ss_size = kStack;
    makecontext(&context, reinterpret_cast<void (*)()>(&Warp::work), 2,
                static_cast<unsigned>(reinterpret_cast<uintptr_t>(this)),
                static_cast<unsigned>(reinterpret_cast<uintptr_t>(this) >> 32));
    lane_ = lane;
    if (_setjmp(scheduler_) == 0) swapcontext(&own, &context);
  }

  static void work(unsigned low, unsigned high) {
    auto* const warp = reinterpret_cast<Warp*>(uintptr_t{high} << 32 | low);
    const int lane = warp->lane_;
    for (;;) {
      change(warp->lanes_[lane], warp->scheduler_);
      (*warp->body_)();
      warp->done_[lane] = true;
    }
  }

  const std::function<void()>* body_ = nullptr;
  jmp_buf scheduler_, lanes_[kLanes];
  std::unique_ptr<char[]> stack_[kLanes];
  bool done_[kLanes];
  unsigned round_[kLanes];
  int lane_ = 0;
  uint64_t brought_[2][kLanes];
};

inline Warp& warp() {
  static thread_local Warp one;
  return one;
}

}  // namespace emulator

template <typename T>
T __shfl_down_sync(unsigned, T value, int distance) {
  const int from = emulator::warp().lane() + distance;
  const uint64_t* const brought = emulator::warp().exchange(value);
  if (from < emulator::kLanes) std::memcpy(&value, &brought[from], sizeof(T));
  return value;
}

inline unsigned __ballot_sync(unsigned, int holds) {
  const uint64_t* const brought = emulator::warp().exchange<uint64_t>(holds != 0);
  unsigned all = 0;
  for (int lane = 0; lane < emulator::kLanes; ++lane) all |= unsigned(brought[lane]) << lane;
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
