// Compiles the file named by GNNLIB_KERNEL for the GPU: one more instruction set (see that of the
// CPU), whose registers are packs of columns.
#define GNNLIB_ISA cuda
#include "../reducer.h"
#include "simd_ops.h"
#include GNNLIB_KERNEL
#undef GNNLIB_ISA
