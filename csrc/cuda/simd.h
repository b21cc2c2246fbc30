// What all kernels share. What works on packs of columns is in simd_ops.h.
#pragma once

#include "../checks.h"
#include "accumulate.h"
#include "backend.h"
