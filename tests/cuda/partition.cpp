// The work partition of csrc/cuda/partition.h, for test_partition.py to call.
#include "partition.h"

using gnnlib::Range;

extern "C" {

int64_t piece_size() { return gnnlib::kPiece; }
int64_t num_places(int64_t num_edges) { return gnnlib::num_places(num_edges); }

void piece_at(const int64_t* rowptr, int64_t num_rows, int64_t place, int64_t* out) {
  const Range piece = gnnlib::piece_at(rowptr, num_rows, place);
  out[0] = piece.row, out[1] = piece.begin, out[2] = piece.end;
}

void hub_at(const int64_t* rowptr, int64_t num_rows, int64_t bucket, int64_t* out) {
  const Range hub = gnnlib::hub_at(rowptr, num_rows, bucket);
  out[0] = hub.row, out[1] = hub.begin, out[2] = hub.end;
}

int64_t place_of(int64_t begin, int64_t end, int64_t piece) {
  return gnnlib::place_of({0, begin, end}, piece);
}

int64_t num_pieces(int64_t begin, int64_t end) { return gnnlib::num_pieces({0, begin, end}); }

void share_of(int64_t begin, int64_t end, int part, int parts, int64_t* out) {
  const Range share = gnnlib::share_of({0, begin, end}, part, parts);
  out[0] = share.begin, out[1] = share.end;
}

void lanes_for(int64_t width, int64_t each, int64_t* out) {
  const gnnlib::Lanes lanes = gnnlib::lanes_for(width, each);
  out[0] = lanes.columns, out[1] = lanes.tiles, out[2] = lanes.groups();
}

int64_t row_of(const int64_t* rowptr, int64_t num_rows, int64_t e) {
  return gnnlib::row_of(rowptr, 0, num_rows, e);
}

}  // extern "C"
