// Which of many items beats all others, kept up to date while items come, change and go: a binary
// tree of matches, of which a change replays only those that the item is, or was, in.
#pragma once

#include <bit>
#include <vector>

namespace gnnlib {

constexpr int64_t kNobody = -1;

// `beats(a, b)` tells whether item a, a number from 0 on, beats item b; no two are equal.
template <typename Beats>
class Tournament {
 public:
  explicit Tournament(Beats beats) : beats_(beats), tree_(2, kNobody) {}

  int64_t winner() const { return tree_[1]; }

  // Item `item` came or changed.
  void enter(int64_t item) {
    if (item >= capacity()) grow(item + 1);
    set(item, item);
  }

  void leave(int64_t item) { set(item, kNobody); }

  // Items [0, n) come at once.
  void enter_all(int64_t n) {
    grow(n);
    for (int64_t item = 0; item < n; ++item) tree_[capacity() + item] = item;
    play_all();
  }

 private:
  int64_t capacity() const { return static_cast<int64_t>(tree_.size()) / 2; }

  void grow(int64_t n) {
    const int64_t before = capacity();
    const int64_t after = std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(n, 1)));
    std::vector<int64_t> tree(2 * after, kNobody);
    std::copy_n(tree_.begin() + before, before, tree.begin() + after);
    tree_ = std::move(tree);
    play_all();
  }

  void play_all() {
    for (int64_t match = capacity() - 1; match > 0; --match) tree_[match] = play(match);
  }

  int64_t play(int64_t match) const {
    const int64_t a = tree_[2 * match], b = tree_[2 * match + 1];
    if (a == kNobody || b == kNobody) return a == kNobody ? b : a;
    return beats_(b, a) ? b : a;
  }

  void set(int64_t item, int64_t present) {
    int64_t at = capacity() + item;
    tree_[at] = present;
    while (at > 1) {
      at /= 2;
      const int64_t winner = play(at);
      if (winner == tree_[at] && winner != item) return;  // as before, from here to the root
      tree_[at] = winner;
    }
  }

  Beats beats_;
  std::vector<int64_t> tree_;  // match k is between the winners of 2k and 2k + 1; items come last
};

}  // namespace gnnlib
