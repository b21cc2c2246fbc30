// The loop that all row kernels share: fold the edges of every CSR row into `width` columns. What
// an `Op` is, cpu/fold.h says; partition.h shares the rows out.
#pragma once

#include "warp.h"

namespace gnnlib::GNNLIB_ISA {

// Edges whose messages are under way at the same time.
constexpr int kInFlight = 4;

// Where pieces of hubs leave their partial folds, by place and part, each `width` wide.
template <typename T>
struct Partial {
  T* acc;
  int64_t* present;
};

// Takes edges [e, e + kInFlight), if all are there.
template <typename Op, typename U>
GNNLIB_INLINE bool take_several(const Op& op, U (&acc)[Op::kParts], int64_t row, int64_t e,
                                int64_t f) {
  typename Op::Edge edges[kInFlight];
  bool all = true;
#pragma unroll
  for (int k = 0; k < kInFlight; ++k) all &= op.edge(row, e + k, edges[k]);
  if (!all) return false;
#pragma unroll
  for (int k = 0; k < kInFlight; ++k) op.template step<U>(acc, row, edges[k], f);
  return true;
}

// Folds a range of edges in their order; returns how many are there.
template <typename Op, typename U>
GNNLIB_INLINE int64_t fold_range(const Op& op, U (&acc)[Op::kParts], const Range& range,
                                 int64_t f) {
  int64_t present = 0;
  for (int64_t e = range.begin; e < range.end;) {
    const int64_t stop = e + kInFlight;
    if (stop <= range.end && take_several<Op, U>(op, acc, range.row, e, f)) {
      present += kInFlight;
      e = stop;
      continue;
    }
#pragma unroll 1
    for (; e < range.end && e < stop; ++e) {
      typename Op::Edge edge;
      if (!op.edge(range.row, e, edge)) continue;
      ++present;
      op.template step<U>(acc, range.row, edge, f);
    }
  }
  return present;
}

// One lane's view of its warp.
struct Place {
  Lanes lanes;
  int group;   // which of the lanes that hold the same columns
  bool first;  // of the lanes of its group
  int64_t f;   // the first of its columns
  bool idle;   // whether it has none

  GNNLIB_INLINE Place(const Lanes& lanes_, int64_t width, int each) : lanes(lanes_) {
    const int lane = lane_index();
    group = lane / lanes.columns;
    first = lane % lanes.columns == 0;
    f = (static_cast<int64_t>(blockIdx.y) * lanes.columns + lane % lanes.columns) * each;
    idle = f >= width;
  }
};

// All lanes fold a range; the first group ends up with the whole. The groups' shares follow each
// other and are combined in order, so that the first of equals still wins.
template <typename Op, typename U>
GNNLIB_INLINE int64_t fold_together(const Op& op, U (&acc)[Op::kParts], const Range& range,
                                    const Place& place) {
  const int groups = place.lanes.groups();
  int64_t present = 0;
  if (!place.idle) {
    op.template init<U>(acc, range.row, place.f);
    present = fold_range<Op, U>(op, acc, share_of(range, place.group, groups), place.f);
  }
  for (int distance = 1; distance < groups; distance *= 2) {
    combine_next<Op, U>(op, acc, distance * place.lanes.columns);
    present += from_next(present, distance * place.lanes.columns);
  }
  return present;
}

template <typename Op, typename U>
GNNLIB_INLINE void fold_piece(const Op& op, int64_t place_index, const Place& place,
                              const Partial<typename Op::acc_t>& partial) {
  const Range piece = piece_at(op.graph.rowptr, op.graph.num_rows, place_index);
  if (piece.row < 0) return;
  U acc[Op::kParts]{};
  const int64_t present = fold_together<Op, U>(op, acc, piece, place);
  if (place.group > 0 || place.idle) return;
#pragma unroll
  for (int p = 0; p < Op::kParts; ++p) {
    store_as(partial.acc + (place_index * Op::kParts + p) * op.width + place.f, acc[p]);
  }
  if (place.f == 0) partial.present[place_index] = present;
}

// The rows of a warp: its groups fold a short one each, all at once, and then the longer ones
// together, one after the other.
template <typename Op, typename U>
GNNLIB_INLINE void fold_own_rows(const Op& op, int64_t first, const Place& place) {
  const int groups = place.lanes.groups();
  Range own{first + place.group, 0, 0};
  if (own.row < op.graph.num_rows) {
    own.begin = op.graph.rowptr[own.row];
    own.end = op.graph.rowptr[own.row + 1];
  } else {
    own.row = -1;
  }
  const int64_t length = own.end - own.begin;
  if (groups > 1 && length <= kShort && own.row >= 0 && !place.idle) {
    U acc[Op::kParts]{};
    op.template init<U>(acc, own.row, place.f);
    const int64_t present = fold_range<Op, U>(op, acc, own, place.f);
    op.template finish<U>(own.row, place.f, acc, present);
  }
  const bool shared = own.row >= 0 && length <= kPiece && (groups == 1 || length > kShort);
  // One lane speaks for each group.
  for (unsigned left = __ballot_sync(kAllLanes, shared && place.first); left; left &= left - 1) {
    const int64_t row = first + (__ffs(static_cast<int>(left)) - 1) / place.lanes.columns;
    const Range range{row, op.graph.rowptr[row], op.graph.rowptr[row + 1]};
    U acc[Op::kParts]{};
    const int64_t present = fold_together<Op, U>(op, acc, range, place);
    if (place.group == 0 && !place.idle) op.template finish<U>(row, place.f, acc, present);
  }
}

template <typename Op, typename U>
__global__ void __launch_bounds__(kThreads)
    fold_kernel(Op op, Lanes lanes_of, Partial<typename Op::acc_t> partial) {
  const Place place(lanes_of, op.width, lanes<U, typename Op::acc_t>);
  const int64_t warp = warp_index(), places = num_places(op.graph.num_edges);
  if (warp < places) {  // the longest work first
    fold_piece<Op, U>(op, warp, place, partial);
  } else {
    const int64_t first = (warp - places) * place.lanes.groups();
    if (first < op.graph.num_rows) fold_own_rows<Op, U>(op, first, place);
  }
}

// A column of a piece; returns how many of its edges are there.
template <typename Op>
GNNLIB_INLINE int64_t take_piece(const Op& op, const Partial<typename Op::acc_t>& partial,
                                 int64_t at, int64_t f, typename Op::acc_t (&to)[Op::kParts]) {
#pragma unroll
  for (int p = 0; p < Op::kParts; ++p) to[p] = partial.acc[(at * Op::kParts + p) * op.width + f];
  return partial.present[at];
}

// A warp for each bucket in which a hub may begin: its pieces into one, in order, by columns.
template <typename Op>
__global__ void __launch_bounds__(kThreads)
    finish_kernel(Op op, Lanes lanes_of, Partial<typename Op::acc_t> partial) {
  using T = typename Op::acc_t;
  const Place place(lanes_of, op.width, 1);
  const int64_t bucket = warp_index();
  if (bucket >= num_places(op.graph.num_edges) / 2 || place.group > 0 || place.idle) return;
  const Range hub = hub_at(op.graph.rowptr, op.graph.num_rows, bucket);
  if (hub.row < 0) return;
  T acc[Op::kParts];
  int64_t present = take_piece(op, partial, place_of(hub, 0), place.f, acc);
  for (int64_t k = 1; k < num_pieces(hub); ++k) {
    T piece[Op::kParts];
    present += take_piece(op, partial, place_of(hub, k), place.f, piece);
    op.combine(acc, piece);
  }
  op.template finish<T>(hub.row, place.f, acc, present);
}

template <typename Op>
void fold_rows(const Op& op) {
  using T = typename Op::acc_t;
  if (op.width == 0 || op.graph.num_rows == 0) return;
  const int32_t device = op.graph.device;
  const int64_t places = num_places(op.graph.num_edges);
  Scratch<T> acc(places * Op::kParts * op.width, device);
  Scratch<int64_t> present(places, device);
  const Partial<T> partial{acc.get(), present.get()};
  with_columns<Op>(op.width, [&](auto tag) {
    using U = typename decltype(tag)::type;
    const Lanes lanes_of = lanes_for(op.width, lanes<U, T>);
    const int64_t warps = places + ceil_div(op.graph.num_rows, lanes_of.groups());
    launch(&fold_kernel<Op, U>, blocks_of(warps), lanes_of.tiles, device, op, lanes_of, partial);
  });
  const Lanes lanes_of = lanes_for(op.width, 1);
  launch(&finish_kernel<Op>, blocks_of(places / 2), lanes_of.tiles, device, op, lanes_of, partial);
}

}  // namespace gnnlib::GNNLIB_ISA
