// Sums of powers whose largest exponent is not known beforehand. Included inside foreach_isa.h, so
// without a guard.
#include "choose.h"
#include "exp.h"

namespace gnnlib::GNNLIB_ISA {

// Takes `next` into `acc`, each the largest exponent so far and sums of powers relative to it,
// where `ahead` is how much larger that of `next` is. One side keeps its scale, the other shrinks:
// a single power serves all sums.
template <typename U, int Parts>
GNNLIB_INLINE void merge_powers(U (&acc)[Parts], const U (&next)[Parts], U ahead) {
  const U one = U{} + 1;
  const U power = exp_of(choose<Above>(ahead, static_cast<U>(-ahead), ahead));
  const U kept = choose<Above>(ahead, power, one), taken = choose<Above>(ahead, one, power);
  acc[0] = choose<Above>(ahead, next[0], acc[0]);
  for (int p = 1; p < Parts; ++p) acc[p] = acc[p] * kept + next[p] * taken;
}

}  // namespace gnnlib::GNNLIB_ISA
