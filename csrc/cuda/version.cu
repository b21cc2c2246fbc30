// What this library was built with and for, as text that gnnlib/_cuda.py finds in the file: it must
// know before it loads the library, as loading registers the kernels.
#include <cuda_runtime_api.h>

#define GNNLIB_TEXT(value) #value
#define GNNLIB_VALUE(macro) GNNLIB_TEXT(macro)

extern "C" __attribute__((visibility("default"), used)) const char gnnlib_cuda_version[] =
    "gnnlib CUDA " GNNLIB_VALUE(CUDART_VERSION) " sm_" GNNLIB_VALUE(GNNLIB_CUDA_ARCHITECTURES);
