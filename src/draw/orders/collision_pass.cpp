#include "draw/orders/collision_pass.hpp"

#include <algorithm>
#include <cmath>

#include "config/errors.hpp"
#include "draw/orders/entries.hpp"

namespace asymptop {

WideFixed::WideFixed(std::int64_t n) : rest(FixedPoint::make(n, 1.0).weight) {}

void WideFixed::add(double x, std::int64_t* to) const {
  double const scaled = x * whole, floor = std::floor(scaled);
  to[0] += to_integer(floor);
  to[1] += to_integer((scaled - floor) * rest);
}

namespace {

/// Keys whose signatures are held at once.
constexpr int piece = 2048;

class CollisionPass {
 public:
  CollisionPass(EntryRows const& rows, MagicpigSelector const& selector, CollisionSums const& sums, std::int64_t n)
      : rows_(rows),
        selector_(selector),
        sums_(sums),
        fixed_(n),
        d_(rows.d),
        words_(selector.tables().width()),
        queries_(rows.queries.rows() * words_),
        keys_(piece * words_),
        found_(rows.queries.rows() * sums.width(), 0) {
    for (std::size_t i = 0; i < rows.queries.rows(); ++i)
      selector.tables().signature(&rows.queries.q[i * d_], rows.key_d, &queries_[i * words_]);
  }

  /// Keys [from, from + count) of a tile whose first key is `first` of the sequence. hashed: these keys as the file has them, from its
  /// at-th on.
  template <class Values>
  void add(KeyTile const& tile, KeyTile const& hashed, int at, Values const& values, GlobalIndex first, int from, int count) {
    using Policy = Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>;
    constexpr int run = 64;
    Kokkos::parallel_for("Asymptop::select::signatures", Policy(0, (count + run - 1) / run), [&](int const r) {
      std::vector<float> key(d_);
      for (int i = r * run; i < std::min(count, (r + 1) * run); ++i) {
        copy_key(hashed, at + i, key.data());
        selector_.centre(key.data());
        selector_.tables().signature(key.data(), rows_.key_d, &keys_[i * words_]);
      }
    });
    Kokkos::DefaultHostExecutionSpace().fence();
    Kokkos::parallel_for("Asymptop::select::collisions", Policy(0, rows_.queries.rows()), [&](int const row) {
      std::vector<float> key(d_), centred(d_);
      auto const seen = rows_.queries.seen(row);
      auto const forced = selector_.forced();
      auto const here = seen.within(first + from, first + from + count);
      for (auto i = here.begin - first - from; i < here.end - first - from; ++i) {
        bool const always = forced.holds(first + from + i, seen);
        if (!always && selector_.tables().collisions(&queries_[row * words_], &keys_[i * words_]) < 2) continue;
        copy_key(tile, from + i, key.data());
        copy_key(hashed, at + i, centred.data());
        selector_.centre(centred.data());
        keep(row, key, always ? nullptr : centred.data(), first + from + i, [&](std::size_t c) { return double{values(from + i, c)}; });
      }
    });
    Kokkos::DefaultHostExecutionSpace().fence();
  }

  std::vector<std::int64_t> take() { return std::move(found_); }

 private:
  /// centred: the key less the mean; null where it is kept in any case.
  template <class Value>
  void keep(std::size_t row, std::vector<float> const& key, float const* centred, GlobalIndex place, Value const& value) {
    float const* const q = &rows_.queries.q[row * d_];
    double const s = double{rows_.score(row, key.data(), place)} - sums_.score_max[row];
    double const weight = centred == nullptr ? 1.0 : selector_.weight(q, centred);
    auto* to = &found_[row * sums_.width()];
    *to++ += 1;
    for (auto const sigma : sums_.sigmas) {
      double const e = std::exp(sigma * s);
      fixed_.add(e, to);
      fixed_.add(weight * e, to + 2);
      to += 4;
      for (std::size_t c = 0; sums_.output && c < d_; ++c, to += 2) fixed_.add(weight * e * value(c), to);
    }
  }

  EntryRows const& rows_;
  MagicpigSelector const& selector_;
  CollisionSums const& sums_;
  WideFixed fixed_;
  std::size_t d_, words_;
  std::vector<std::uint16_t> queries_, keys_;  ///< signatures
  std::vector<std::int64_t> found_;
};

}  // namespace

std::vector<std::int64_t> add_collisions(EntryRows const& rows, MagicpigSelector const& selector, CollisionSums const& sums, std::int64_t n,
                                         ShardTensors<RunSpace>& tensors, PhaseTimes& phases) {
  if constexpr (!is_host_space<RunSpace>) {
    throw RunError("magicpig runs on hosts");
  } else {
    CollisionPass pass(rows, selector, sums, n);
    auto const longest = tensors.resident() ? std::max<GlobalIndex>(1, rows.shard.size()) : largest_step(rows.path, rows.block);
    for (GlobalIndex first = 0; first < rows.shard.size(); first += longest) {
      phases.start();
      int const count = checked_int(std::min(longest, rows.shard.size() - first));
      auto const keys = tensors.key_tile(local_index(first), count, count);
      Matrix<RunSpace, float> values;
      if (sums.output) values = tensors.values(local_index(first), count, count);
      phases.stop(Phase::generate);
      for (int from = 0; from < count; from += piece) {
        phases.between_steps();
        phases.start();
        int const here = std::min(piece, count - from);
        bool const same = tensors.origin().offset.empty();
        KeyTile const hashed = same ? keys : KeyTile{tensors.packed_file_keys(local_index(first + from), here), rows.d, true};
        pass.add(keys, hashed, same ? from : 0, values, rows.shard.begin + first, from, here);
        phases.stop(Phase::select);
      }
    }
    return pass.take();
  }
}

}  // namespace asymptop
