// What a kernel asks of where it runs, for the CPU: cuda/backend.h has the same for the GPU. The
// sources in ops/ are compiled once for each, with its folder on the include path.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>

#define GNNLIB_DISPATCH_KEY CPU
#define GNNLIB_INLINE inline __attribute__((always_inline))
#define GNNLIB_LAMBDA __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__AVX2__)
#define GNNLIB_X86
#endif

// The function as compiled for the best instruction set that there is, and for the baseline.
#if defined(GNNLIB_X86)
#define GNNLIB_BEST(function)                   \
  (best_isa() == Isa::Avx512 ? avx512::function \
   : best_isa() == Isa::Avx2 ? avx2::function   \
                             : baseline::function)
#else
#define GNNLIB_BEST(function) baseline::function
#endif
#define GNNLIB_PLAIN(function) baseline::function

namespace gnnlib {

// Where a tensor's data must begin, in bytes.
constexpr uintptr_t kAlignment = 1;

// A row with more edges than this is folded piece by piece. The pieces start at the row's own first
// edge: a row's bits depend on that row alone, whatever batch it stands in.
constexpr int64_t kPiece = 2048;

}  // namespace gnnlib
