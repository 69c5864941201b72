#include "draw/queries.hpp"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>

#include "draw/draw_input.hpp"
#include "kernels/core/math.hpp"
#include "kernels/input/input_row.hpp"
#include "kernels/input/normal_rows.hpp"
#include "kernels/score/softcap.hpp"

namespace asymptop {
namespace {

Stream stream_of(DrawIdentity const& identity, Tensor tensor) {
  return tensor_stream(identity.config->seed, identity.draw, identity.group->n, identity.group->d, tensor);
}

std::vector<double> normal_matrix(Stream stream, int d) {
  std::vector<float> row(d);
  std::vector<double> matrix;
  for (int i = 0; i < d; ++i) {
    normal_row(stream, i, d, row.data());
    matrix.insert(matrix.end(), row.begin(), row.end());
  }
  return matrix;
}

/// W of the draw (d x d), row-major; empty for the identity.
std::vector<double> draw_weights(DrawIdentity const& identity) {
  int const d = identity.d();
  if (identity.config->weights == Weights::identity) return {};
  auto const first = normal_matrix(stream_of(identity, Tensor::weights_q), d);
  if (identity.config->weights == Weights::gaussian) return first;
  auto const second = normal_matrix(stream_of(identity, Tensor::weights_k), d);
  std::vector<double> product(first.size());
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, d, d, d, 1.0, first.data(), d, second.data(), d, 0.0, product.data(), d);
  return product;
}

/// `count` distinct numbers of [begin, end), in random order: the first of a Fisher-Yates shuffle. `skip` of them come first and
/// are left out, so that consecutive pieces of one shuffle are disjoint.
std::vector<std::int64_t> distinct_positions(Stream stream, GlobalIndex begin, GlobalIndex end, std::int64_t skip, std::int64_t count) {
  std::unordered_map<std::int64_t, std::int64_t> moved;
  auto const at = [&](std::int64_t i) {
    auto const it = moved.find(i);
    return it == moved.end() ? i : it->second;
  };
  std::vector<std::int64_t> chosen;
  std::uint64_t const size = end - begin;
  for (std::int64_t i = 0; i < skip + count; ++i) {
    std::uint32_t w0, w1, w2, w3;
    philox_words(stream, i, 0, w0, w1, w2, w3);
    auto const random = (std::uint64_t{w0} << 32) | w1;
    std::int64_t const j = i + random % (size - i);
    auto const picked = at(j);
    moved[j] = at(i);
    if (i >= skip) chosen.push_back(begin + picked);
  }
  return chosen;
}

/// Rows that queries are made of: as the keys are, but independent of each other, and with nothing planted in them.
InputKind query_kind(InputKind const& keys, bool own_key) {
  return keys.is(Distribution::needle) || (keys.is(Distribution::ar1) && !own_key) ? InputKind{} : keys;
}

/// How queries are made of rows of the input: q = W^T x / ‖W‖_F, or / the deviation of its scores.
class SyntheticLaw {
 public:
  explicit SyntheticLaw(DrawIdentity const& identity)
      : kind_(identity.group->input),
        tables_(draw_tables(kind_, stream_of(identity, Tensor::centres), identity.d())),
        weights_(draw_weights(identity)),
        fixed_(identity.config->row_sigma == RowSigma::fixed),
        q_(identity.d()) {
    for (auto const w : weights_) norm_ += w * w;
    norm_ = weights_.empty() ? std::sqrt(identity.d()) : std::sqrt(norm_);
  }

  InputKind const& kind() const { return kind_; }
  InputTables const& tables() const { return tables_; }
  /// The last query that was made.
  std::vector<double> const& q() const { return q_; }
  /// Makes that of a row; returns the standard deviation of its scores.
  double make(std::vector<float> const& x) {
    std::size_t const d = x.size();
    for (std::size_t c = 0; c < d; ++c) q_[c] = weights_.empty() ? x[c] : 0.0;
    for (std::size_t r = 0; r < d && !weights_.empty(); ++r) {
      for (std::size_t c = 0; c < d; ++c) q_[c] += x[r] * weights_[r * d + c];
    }
    double const deviation = score_deviation(kind_, tables_, q_), divisor = fixed_ ? deviation : norm_;
    for (auto& value : q_) value /= divisor;
    return deviation / divisor;
  }

 private:
  InputKind kind_;
  InputTables tables_;
  std::vector<double> weights_;
  bool fixed_;
  std::vector<double> q_;
  double norm_ = 0.0;
};

QueryRows synthetic_queries(DrawIdentity const& identity) {
  auto const& config = *identity.config;
  int const d = identity.d();
  SyntheticLaw law(identity);
  bool const own_key = config.self == SelfKey::include;
  std::vector<std::int64_t> positions(config.rows, -1);
  if (own_key) positions = distinct_positions(stream_of(identity, Tensor::positions), 0, identity.group->n, 0, config.rows);
  InputSource<Kokkos::DefaultHostExecutionSpace> const source(
      query_kind(law.kind(), own_key), stream_of(identity, own_key ? Tensor::keys : Tensor::queries), law.tables(), d);
  QueryRows rows;
  std::vector<float> x(d);
  for (std::int64_t i = 0; i < config.rows; ++i) {
    auto const position = positions[i];
    input_row(source, own_key ? position : i, d, x.data());
    double const unit = law.make(x);
    auto const& q = law.q();
    rows.q.insert(rows.q.end(), q.begin(), q.end());
    ScaledQuery scaled{q, unit, std::nullopt};
    if (own_key) scaled.own_score = std::inner_product(q.begin(), q.end(), x.begin(), 0.0);
    auto const [low, high] = score_bounds(law.kind(), law.tables(), scaled, identity.group->n);
    rows.position.push_back(position);
    rows.visible.push_back(identity.group->n);
    rows.from.push_back(0);
    rows.sigma_unit.push_back(to_fp32(unit));
    rows.add_bounds(low, high);
  }
  return rows;
}

/// Where the rows of a draw lie in the text.
std::vector<std::int64_t> tensor_positions(DrawIdentity const& identity) {
  auto const& group = *identity.group;
  auto const context = identity.context();
  auto const rows = group.counts.rows;
  auto const end = context.begin + group.n, begin = end - group.contexts.tail;
  // One shuffle for all draws of these places; each draw takes its own piece. Heads of a file with layers share theirs, so that they are
  // compared on the same rows.
  std::int64_t const of = group.layer < 0 ? group.head : context.text;
  auto const shuffle = tensor_stream(identity.config->seed, of, end, group.key_d(), Tensor::positions);
  return distinct_positions(shuffle, begin, end, group.contexts.kind == Contexts::prefix ? context.turn * rows : 0, rows);
}

/// A softcap is one of the logits as they are.
std::vector<float> offset_of(GroupPlan const& group, TensorScan const& scan) {
  return group.form.softcap == 0.0 ? scan.offset() : std::vector<float>();
}

/// What a query at a place of the context sees of it.
KeyRun seen_from(GroupPlan const& group, std::int64_t place) {
  std::int64_t const end = group.mask == Mask::causal ? place + 1 : group.n,
                     windowed = group.window > 0 ? std::max<std::int64_t>(0, end - group.window) : 0;
  return {std::min(end, std::max(windowed, group.drop_first)), end};
}

/// A query as it is scored, its numbers rounded to fp32 after they are scaled.
void add_scaled(double scale, std::vector<float> const& query, std::vector<float>& to) {
  for (double const x : query) to.push_back(to_fp32(scale * x));
}

/// QueryRows::raised of such a query.
void add_raised(double scale, std::vector<float> const& query, std::vector<float> const& offset, std::vector<double>& to) {
  double sum = 0.0;
  for (std::size_t c = 0; c < offset.size(); ++c) sum += double{query[c]} * double{offset[c]};
  if (!offset.empty()) to.push_back(scale * sum);
}

QueryRows tensor_queries(DrawIdentity const& identity, TensorLayer const& file, TensorScan const& scan) {
  auto const& group = *identity.group;
  auto const first = identity.context().begin;
  auto const offset = offset_of(group, scan);
  std::size_t const d = group.d;
  QueryRows rows;
  rows.position = tensor_positions(identity);
  std::vector<float> q(d);
  for (auto const position : rows.position) {
    file.read_queries(group.head, position, 1, q.data());
    auto const heads = group.choose_together;
    for (auto head = group.head / heads * heads; heads > 1 && head < (group.head / heads + 1) * heads; ++head) {
      std::vector<float> other(d);
      file.read_queries(head, position, 1, other.data());
      add_scaled(group.scale, other, rows.of_group);
    }
    double length = 0.0, middle = 0.0;
    add_scaled(group.scale, q, rows.q);
    add_raised(group.scale, q, offset, rows.raised);
    float const* const scaled = &rows.q[rows.q.size() - d];
    for (std::size_t c = 0; c < d; ++c) {
      double const x = scaled[c];
      length += x * x;
      if (offset.empty()) middle += x * scan.centre[c];
    }
    // Cauchy-Schwarz about a point near the keys' middle.
    double const bound = std::sqrt(length) * scan.key_radius * (1.0 + 1e-5) + 1e-5 * std::fabs(middle);
    double low = middle - bound, high = middle + bound;
    if (double const cap = group.form.softcap; cap > 0.0) {
      low = softcapped(low, cap) - 1e-6 * cap;
      high = softcapped(high, cap) + 1e-6 * cap;
    }
    auto const seen = seen_from(group, position - first);
    if (group.has_slopes()) {
      double const slope = group.slope();
      auto const place = position - first;
      double const of_first = slope * exact_double(seen.begin - place), of_last = slope * exact_double(seen.end - 1 - place);
      low += std::min(of_first, of_last);
      high += std::max(of_first, of_last);
      rows.place.push_back(place);
    }
    rows.add_bounds(low, high);
    rows.from.push_back(seen.begin);
    rows.visible.push_back(seen.size());
    rows.sigma_unit.push_back(0.0f);
  }
  return rows;
}

}  // namespace

TensorOrigin tensor_origin(DrawIdentity const& identity, TensorLayer const* file, TensorScan const* scan) {
  auto const& group = *identity.group;
  return {stream_of(identity, Tensor::keys),
          stream_of(identity, Tensor::values),
          file,
          group.head,
          file == nullptr ? 0 : identity.context().begin,
          scan == nullptr ? std::vector<float>() : offset_of(group, *scan),
          group.input,
          draw_tables(group.input, stream_of(identity, Tensor::centres), identity.d()),
          scan == nullptr ? ValueForm{{}, 1.0, largest_normal} : scan->values()};
}

void plant_needles(Communicator const& comm, DrawIdentity const& identity, QueryRows const& queries, TensorOrigin& origin) {
  if (!origin.input.is(Distribution::needle)) return;
  auto const rows = identity.config->rows;
  auto const positions = distinct_positions(stream_of(identity, Tensor::needles), 0, identity.group->n, 0, rows);
  if (comm.is_root()) {
    plant_keys(origin.input, origin.keys, positions, queries, identity.group->n, origin.tables);
  } else {
    origin.tables.planted = positions;
    origin.tables.planted_rows.resize(rows * identity.group->d);
  }
  comm.broadcast(origin.tables.planted_rows);
}

void bound_scores(Communicator const& comm, TensorOrigin const& origin, double key_norm, QueryRows& queries) {
  if (!origin.input.is(Distribution::student)) return;
  double const largest = comm.max(key_norm) * (1.0 + 1e-6);
  auto const d = queries.rows() == 0 ? 0 : queries.q.size() / queries.rows();
  queries.low.clear();
  queries.high.clear();
  for (std::size_t i = 0; i < queries.rows(); ++i) {
    auto const* q = &queries.q[i * d];
    double const norm = std::sqrt(std::inner_product(q, q + d, q, 0.0));
    queries.add_bounds(-norm * largest, norm * largest);
  }
}

double bins_of_draw(QueryRows const& queries, double planned) {
  constexpr double affordable = 1000.0, exact_range = 2e6, most_bins = 1e6 - 8.0;
  double span = 0.0, largest = 0.0;
  for (std::size_t i = 0; i < queries.rows(); ++i) {
    double const low = queries.low[i], high = queries.high[i];
    span = std::max(span, high - low);
    largest = std::max({largest, std::fabs(low), std::fabs(high)});
  }
  double const finest = std::min(affordable / std::max(span, 1e-6), exact_range / std::max(largest, 1e-6));
  double bins = std::max(planned, std::exp2(std::floor(std::log2(finest))));
  while (span * bins > most_bins && bins * coarsest_bins > planned) bins *= 0.5;
  return bins;
}

QueryRows make_queries(DrawIdentity const& identity, TensorLayer const* file, TensorScan const* scan) {
  return file == nullptr ? synthetic_queries(identity) : tensor_queries(identity, *file, *scan);
}

std::vector<float> calibration_queries(DrawIdentity const& identity, TensorLayer const* file, GlobalIndex most) {
  auto const& group = *identity.group;
  int const d = identity.d();
  std::vector<float> queries;
  if (file == nullptr) {
    SyntheticLaw law(identity);
    InputSource<Kokkos::DefaultHostExecutionSpace> const source(query_kind(law.kind(), false), stream_of(identity, Tensor::calibration),
                                                                law.tables(), d);
    std::vector<float> x(d);
    for (GlobalIndex i = 0; i < most; ++i) {
      input_row(source, i, d, x.data());
      law.make(x);
      queries.insert(queries.end(), law.q().begin(), law.q().end());
    }
    return queries;
  }
  auto measured = tensor_positions(identity);
  std::sort(measured.begin(), measured.end());
  std::vector<float> q(d);
  auto const context = identity.context();
  auto const begin = std::max(context.begin, file->first_query());
  for (auto const place : evenly_spaced(context.begin + group.n - begin, most)) {
    auto const position = begin + place;
    if (std::binary_search(measured.begin(), measured.end(), position)) continue;
    file->read_queries(group.head, position, 1, q.data());
    add_scaled(group.scale, q, queries);
  }
  return queries;
}

QueryRows observing_queries(DrawIdentity const& identity, TensorLayer const* file, Observers const& wanted,
                            std::vector<float> const& offset) {
  auto const& group = *identity.group;
  QueryRows rows;
  auto const add = [&](std::int64_t place, KeyRun const& seen) {
    rows.position.push_back(place);
    rows.from.push_back(seen.begin);
    rows.visible.push_back(seen.size());
  };
  if (file == nullptr) {
    auto const count = std::min(wanted.count, group.n);
    rows.q = calibration_queries(identity, file, count);
    for (auto place = group.n - count; place < group.n; ++place) add(place, {0, group.n});
    return rows;
  }
  auto measured = tensor_positions(identity);
  std::sort(measured.begin(), measured.end());
  auto const begin = identity.context().begin, first = std::max<GlobalIndex>(0, file->first_query() - begin);
  std::vector<std::int64_t> places;
  if (wanted.where == Observers::Where::spaced) {
    for (auto const place : evenly_spaced(group.n - first, wanted.count)) places.push_back(first + place);
  } else {
    for (auto place = group.n; place-- > first && std::ssize(places) < wanted.count + std::ssize(measured);) places.push_back(place);
    std::reverse(places.begin(), places.end());
  }
  if (wanted.run == 1)
    std::erase_if(places, [&](auto place) { return std::binary_search(measured.begin(), measured.end(), begin + place); });
  // The last ones of them.
  auto const left_out = std::max<std::ptrdiff_t>(0, std::ssize(places) - wanted.count);
  std::vector<float> q(group.d);
  for (auto place = places.begin() + left_out; place != places.end(); ++place) {
    file->read_queries(group.head, begin + *place, 1, q.data());
    add_scaled(group.scale, q, rows.q);
    add_raised(group.scale, q, offset, rows.raised);
    add(*place, seen_from(group, *place));
  }
  return rows;
}

std::vector<std::int64_t> ends_of_rows(DrawIdentity const& identity, TensorLayer const* file) {
  auto const& group = *identity.group;
  if (file == nullptr) return {group.n};
  std::vector<std::int64_t> ends;
  for (auto const position : tensor_positions(identity)) ends.push_back(seen_from(group, position - identity.context().begin).end);
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  return ends;
}

std::vector<GlobalIndex> evenly_spaced(GlobalIndex n, GlobalIndex most) {
  auto const count = std::min(most, n);
  std::vector<GlobalIndex> places;
  for (GlobalIndex i = 0; i < count; ++i) places.push_back(n / count * i + n % count * i / count);
  return places;
}

KeyRanges QueryRows::ranges_in(Range const& shard) const {
  auto const within = [&](std::int64_t place) { return std::clamp<std::int64_t>(place - shard.begin, 0, shard.size()); };
  KeyRanges ranges;
  bool const all_from_0 = std::all_of(from.begin(), from.end(), [](auto first) { return first == 0; });
  for (std::size_t i = 0; i < rows(); ++i) {
    ranges.limit.push_back(within(from[i] + visible[i]));
    if (!all_from_0) ranges.from.push_back(within(from[i]));
  }
  return ranges;
}

QueryRows slice(QueryRows const& all, int d, std::size_t begin, std::size_t end) {
  auto const part = [&](auto const& values, std::size_t width) {
    return std::decay_t<decltype(values)>(values.begin() + (begin * width), values.begin() + (end * width));
  };
  auto const of_group = all.rows() == 0 ? 0 : all.of_group.size() / all.rows();
  return {part(all.q, d),
          part(all.position, 1),
          part(all.visible, 1),
          part(all.from, 1),
          part(all.sigma_unit, 1),
          part(all.low, 1),
          part(all.high, 1),
          part(all.of_group, of_group),
          part(all.place, all.place.empty() ? 0 : 1),
          part(all.raised, all.raised.empty() ? 0 : 1)};
}

}  // namespace asymptop
