// Compiles the file named by GNNLIB_KERNEL once per instruction set, each time in a namespace of
// its own, GNNLIB_ISA, with registers of GNNLIB_REGISTER bytes. The target is a pragma around the
// code, not an attribute on its entry: GCC splits vector operations that a function's own target
// lacks before it inlines. Other processors and compilers get the baseline alone, and so does who
// compiles for AVX2 in the first place. No include guard: each kernel file wants its own copies.

#define GNNLIB_ISA baseline
#if defined(__AVX2__)
#define GNNLIB_REGISTER 32
#else
#define GNNLIB_REGISTER 16
#endif
#include "../reducer.h"
#include "simd_ops.h"
#include GNNLIB_KERNEL
#undef GNNLIB_ISA
#undef GNNLIB_REGISTER

#if defined(GNNLIB_X86)

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define GNNLIB_ISA avx2
#define GNNLIB_REGISTER 32
#include "../reducer.h"
#include "simd_ops.h"
#include GNNLIB_KERNEL
#undef GNNLIB_ISA
#undef GNNLIB_REGISTER
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#define GNNLIB_ISA avx512
#define GNNLIB_REGISTER 64
#include "../reducer.h"
#include "simd_ops.h"
#include GNNLIB_KERNEL
#undef GNNLIB_ISA
#undef GNNLIB_REGISTER
#pragma GCC pop_options
#endif
