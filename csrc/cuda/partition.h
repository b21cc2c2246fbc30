// Who does what: the arithmetic that shares out rows, columns and edges among warps. It knows no
// memory but `rowptr`, so that it can be tested where there is no GPU.
#pragma once

#include <cstdint>

#include "backend.h"

#define GNNLIB_ANYWHERE __host__ __device__ __forceinline__ constexpr

namespace gnnlib {

constexpr int kWarp = 32;
constexpr int kThreads = 256;  // a block's
constexpr int kWarps = kThreads / kWarp;
// From more edges than this on, all lanes of a warp share a row, however few columns it has.
constexpr int64_t kShort = 16;

GNNLIB_ANYWHERE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A warp's lanes as a table: `columns` of them stand side by side, each with some neighbouring
// columns of the features, and every kWarp / columns lanes share a column's edges or rows.
struct Lanes {
  int columns;    // a power of two
  int64_t tiles;  // how many times `columns` lanes it takes to cover the width

  GNNLIB_ANYWHERE int groups() const { return kWarp / columns; }
};

// For `width` columns, of which a lane holds `each`.
GNNLIB_ANYWHERE Lanes lanes_for(int64_t width, int64_t each) {
  const int64_t wanted = ceil_div(width, each);
  int columns = 1;
  while (columns < kWarp && columns < wanted) columns *= 2;
  return {columns, ceil_div(wanted, columns)};
}

// A part of a row.
struct Range {
  int64_t row, begin, end;
};

GNNLIB_ANYWHERE Range nothing() { return {-1, 0, 0}; }

// The row of edge e, of rows [low, high) that contain it.
GNNLIB_ANYWHERE int64_t row_of(const int64_t* rowptr, int64_t low, int64_t high, int64_t e) {
  while (high - low > 1) {  // rowptr[low] <= e < rowptr[high]
    const int64_t mid = low + (high - low) / 2;
    if (rowptr[mid] <= e) {
      low = mid;
    } else {
      high = mid;
    }
  }
  return low;
}

// The hub that holds edge e, if e is an edge of a hub.
GNNLIB_ANYWHERE Range hub_of(const int64_t* rowptr, int64_t num_rows, int64_t e) {
  if (num_rows == 0 || e < rowptr[0] || e >= rowptr[num_rows]) return nothing();
  const int64_t row = row_of(rowptr, 0, num_rows, e);
  const Range hub{row, rowptr[row], rowptr[row + 1]};
  return hub.end - hub.begin > kPiece ? hub : nothing();
}

// Pieces of hubs have places that follow from where they begin, so that nobody needs to count them.
// Edges fall into buckets of kPiece. As a hub has more edges than that, at most one hub begins in a
// bucket, and at most one other piece of any hub does: places 2 b + 1 and 2 b of bucket b.
GNNLIB_ANYWHERE int64_t num_places(int64_t num_edges) {
  return num_edges > kPiece ? 2 * ceil_div(num_edges, kPiece) : 0;
}

GNNLIB_ANYWHERE int64_t place_of(const Range& hub, int64_t piece) {
  const int64_t begin = hub.begin + piece * kPiece;
  return 2 * (begin / kPiece) + (piece == 0 ? 1 : 0);
}

GNNLIB_ANYWHERE int64_t num_pieces(const Range& hub) {
  return ceil_div(hub.end - hub.begin, kPiece);
}

// The hub that begins in a bucket: it reaches into the next one.
GNNLIB_ANYWHERE Range hub_at(const int64_t* rowptr, int64_t num_rows, int64_t bucket) {
  const int64_t next = (bucket + 1) * kPiece;
  const Range hub = hub_of(rowptr, num_rows, next);
  return hub.row >= 0 && hub.begin >= next - kPiece && hub.begin < next ? hub : nothing();
}

// The piece that has a place, if one has.
GNNLIB_ANYWHERE Range piece_at(const int64_t* rowptr, int64_t num_rows, int64_t place) {
  const int64_t bucket = place / 2, first = bucket * kPiece;
  if (place % 2 == 1) {
    const Range hub = hub_at(rowptr, num_rows, bucket);
    return hub.row < 0 ? nothing() : Range{hub.row, hub.begin, hub.begin + kPiece};
  }
  const Range hub = hub_of(rowptr, num_rows, first);  // one that began before this bucket
  if (hub.row < 0 || hub.begin >= first) return nothing();
  const int64_t begin = hub.begin + ceil_div(first - hub.begin, kPiece) * kPiece;
  if (begin >= hub.end) return nothing();
  return {hub.row, begin, begin + kPiece < hub.end ? begin + kPiece : hub.end};
}

// The share of one of `parts` that follow each other.
GNNLIB_ANYWHERE Range share_of(const Range& all, int part, int parts) {
  const int64_t size = ceil_div(all.end - all.begin, parts);
  const int64_t begin = all.begin + part * size, end = begin + size;
  return {all.row, begin < all.end ? begin : all.end, end < all.end ? end : all.end};
}

}  // namespace gnnlib
