// What the kernels of every instruction set share. What works on registers is in simd_ops.h, which
// is compiled once per instruction set.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>

#include "../checks.h"
#include "accumulate.h"
#include "backend.h"

namespace gnnlib {

// Edges to look ahead: enough to cover the latency of memory, few enough to stay in the first-level
// cache.
constexpr int64_t kAhead = 16;

enum class Isa { Baseline, Avx2, Avx512 };

inline Isa processor_isa() {
#if defined(GNNLIB_X86)
  const bool fma = __builtin_cpu_supports("fma");
  if (fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return Isa::Avx512;
  }
  return fma && __builtin_cpu_supports("avx2") ? Isa::Avx2 : Isa::Baseline;
#else
  return Isa::Baseline;
#endif
}

// GNNLIB_ISA=baseline, avx2 or avx512 in the environment asks for less than the processor has, so
// that one machine can test every variant.
inline Isa wanted_isa() {
  const char* name = std::getenv("GNNLIB_ISA");
  const std::string isa = name ? name : "avx512";
  if (isa == "baseline") return Isa::Baseline;
  if (isa == "avx2") return Isa::Avx2;
  require(isa == "avx512", "GNNLIB_ISA must be baseline, avx2 or avx512, got ", isa);
  return Isa::Avx512;
}

inline Isa best_isa() {
  static const Isa isa = std::min(processor_isa(), wanted_isa());
  return isa;
}

}  // namespace gnnlib
