// What a kernel asks of where it runs, for the GPU: cpu/backend.h has the same for the CPU.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

// Without a GPU, tests/emulator lends these kernels the threads of a CPU, and they serve it.
#if !defined(GNNLIB_DISPATCH_KEY)
#define GNNLIB_DISPATCH_KEY CUDA
#endif
#define GNNLIB_INLINE __device__ __forceinline__
#define GNNLIB_LAMBDA
#define GNNLIB_BEST(function) cuda::function
#define GNNLIB_PLAIN(function) cuda::function

namespace gnnlib {

// Where a tensor's data must begin, in bytes: a thread loads as many at once.
constexpr uintptr_t kAlignment = 16;

// A row with more edges than this is folded piece by piece, by as many warps. The pieces start at
// the row's own first edge: a row's bits depend on that row alone, whatever batch it stands in.
constexpr int64_t kPiece = 512;

}  // namespace gnnlib
