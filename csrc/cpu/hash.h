// Random bits that depend on what they are for, not on when they are drawn: gnnlib/_hash.py in C++.
#pragma once

#include <cstdint>

namespace gnnlib {

// The finalizer of splitmix64 (Steele, Lea and Flood, 2014).
inline uint64_t mixed(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// A number in [0, 1) of 53 such bits.
inline double unit(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

}  // namespace gnnlib
