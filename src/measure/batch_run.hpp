// One batch of query rows on all ranks: what is sent where between the two passes over the keys.
#pragma once

#include <algorithm>
#include <functional>

#include "comm/merge_profile.hpp"
#include "comm/merge_top_k.hpp"
#include "measure/draw.hpp"
#include "measure/row_batch.hpp"
#include "measure/row_owner.hpp"

namespace asymptop {

/// Most rounds of narrowing before a quantile counts as unsettled.
inline constexpr int most_rounds = 24;
/// Bytes of candidates that one merge may bring to a rank, beyond a single row of each owner.
inline constexpr std::size_t merge_bytes = 32u << 20;

/// Everything of one batch that outlives a step.
class BatchRun {
  using Space = StudySpace;

 public:
  BatchRun(StudySetup const& setup, GroupPlan const& group, std::int64_t draw, Range const& shard, QueryRows queries, std::int64_t first_row,
           ShardTensors<Space>& tensors, PhaseTimes& phases)
      : setup_(setup), comm_(*setup.comm), group_(group), draw_(draw), shard_(shard), queries_(std::move(queries)), first_row_(first_row),
        tensors_(tensors), phases_(phases),
        batch_(space_, queries_, group, shard, tile_sizes(*setup.config)),
        mine_(owned_rows(static_cast<int>(queries_.rows()), comm_.rank(), comm_.size())) {
    for (auto const& item : group.cases) axes_.sigma.push_back(item.sigma);
    axes_.k = group.k;
    axes_.epsilon = setup.config->epsilon;
  }

  static TileSizes tile_sizes(RunConfig const& config) {
    int const blas = tile_keys(config.block);
    return {blas, blas * Space().concurrency()};
  }

  /// The steps of the batch, in order. Returns the rows that this rank owns, finished.
  std::vector<OwnedRow> run(std::vector<CheckResiduals>& checks) {
    profile_and_merge();
    prepare_second_pass();
    for (int round = 0; open_anywhere() && round < most_rounds; ++round) {
      load_probes();
      second_pass(space_, batch_, tensors_, work_, round > 0, phases_);
      phases_.start();
      if (round == 0) take_sums(checks);
      take_answers();
      phases_.stop(Phase::evaluate);
    }
    check_rows(checks);
    return std::move(rows_);
  }

 private:
  std::vector<int> owners(std::vector<int> const& rows) const {
    std::vector<int> result;
    for (int const row : rows) result.push_back(owner_of(row));
    return result;
  }

  int owner_of(int row) const {
    int const rows = static_cast<int>(queries_.rows());
    int owner = 0;
    while (owned_rows(rows, owner, comm_.size()).end <= row) ++owner;
    return owner;
  }

  std::vector<double> thresholds_of(int row) const {
    auto const visible = queries_.visible[static_cast<std::size_t>(row)];
    if (visible == group_.n) return group_.threshold;
    std::vector<double> values;
    for (auto const& law : setup_.config->count_above) values.push_back(law(visible));
    return values;
  }

  /// First pass over the shard, then the global selection and profile of a few rows at a time, each evaluated at its owner.
  void profile_and_merge() {
    auto const wanted = static_cast<GlobalIndex>(group_.k.back()) + 1;
    auto const keep = static_cast<std::size_t>(std::min(wanted, group_.n));
    int const local_keep = static_cast<int>(std::clamp<GlobalIndex>(shard_.size(), 1, static_cast<GlobalIndex>(keep)));
    comm_.barrier();
    auto const begin = PhaseTimes::Clock::now();
    auto const state = first_pass(space_, batch_, tensors_, local_keep, phases_);
    phases_.start();
    auto const moments = to_host(state.moments);
    auto const entries = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), state.candidates.entries);
    auto const fill = to_host(state.candidates.fill);
    std::vector<GlobalIndex> shard_begin;
    for (int r = 0; r < comm_.size(); ++r) shard_begin.push_back(key_shard(group_.n, setup_.config->block, r, comm_.size()).begin);
    double evaluation = 0.0;
    for (auto const& rows : merge_groups(keep)) {
      auto const owner = owners(rows);
      std::vector<std::vector<PackedCandidate>> lists(rows.size());
      std::vector<std::int64_t> profile;
      auto const bins = static_cast<std::size_t>(batch_.grid().count) * 3;
      for (std::size_t i = 0; i < rows.size(); ++i) {
        auto* first = &entries(rows[i], 0);
        std::sort(first, first + fill(rows[i]), std::greater<>());
        lists[i].assign(first, first + fill(rows[i]));
        auto const* row_moments = &moments(rows[i], 0, 0);
        profile.insert(profile.end(), row_moments, row_moments + bins);
      }
      auto const heads = merge_top_k(comm_, lists, owner, shard_begin, keep);
      auto const merged = merge_profile(comm_, profile, owner, bins);
      phases_.stop(Phase::merge);
      auto const evaluate_begin = PhaseTimes::Clock::now();
      std::size_t mine = 0;
      for (std::size_t i = 0; i < rows.size(); ++i) {
        if (owner[i] != comm_.rank()) continue;
        rows_.push_back(evaluate(rows[i], heads[mine], &merged[mine * bins]));
        ++mine;
      }
      phases_.stop(Phase::evaluate);
      evaluation += std::chrono::duration<double>(PhaseTimes::Clock::now() - evaluate_begin).count();
    }
    std::sort(rows_.begin(), rows_.end(), [](OwnedRow const& a, OwnedRow const& b) { return a.row < b.row; });
    phases_.add(Phase::first_pass, std::chrono::duration<double>(PhaseTimes::Clock::now() - begin).count() - evaluation);
  }

  /// Rows merged together: the same number from every owner, so that all ranks have work, within a bound on memory.
  std::vector<std::vector<int>> merge_groups(std::size_t keep) const {
    auto const ranks = static_cast<std::size_t>(comm_.size()), rows = queries_.rows();
    auto const per_owner = std::max<std::size_t>(1, merge_bytes / (8 * keep * ranks + 48 * static_cast<std::size_t>(batch_.grid().count) * ranks));
    std::vector<std::vector<int>> groups;
    for (std::size_t step = 0;; step += per_owner) {
      std::vector<int> group;
      for (int r = 0; r < comm_.size(); ++r) {
        auto const own = owned_rows(static_cast<int>(rows), r, comm_.size());
        for (auto row = own.begin + static_cast<GlobalIndex>(step); row < std::min(own.end, own.begin + static_cast<GlobalIndex>(step + per_owner)); ++row) {
          group.push_back(static_cast<int>(row));
        }
      }
      if (group.empty()) return groups;
      groups.push_back(group);
    }
  }

  OwnedRow evaluate(int row, std::vector<Candidate> const& head, std::int64_t const* moments) const {
    RowBins bins{batch_.grid(), batch_.first_bins()[static_cast<std::size_t>(row)], {}};
    for (int b = 0; b < batch_.grid().count; ++b) bins.bins.push_back({moments[3 * b], moments[3 * b + 1], moments[3 * b + 2]});
    return own_row(row, head, std::move(bins), axes_, thresholds_of(row), queries_.visible[static_cast<std::size_t>(row)]);
  }

  bool open_anywhere() {
    std::int64_t most = first_round_ ? 1 : 0;
    for (auto const& row : rows_) most = std::max(most, static_cast<std::int64_t>(row.evaluation.open.size()));
    first_round_ = false;
    probes_per_row_ = static_cast<std::size_t>(comm_.max(most));
    return probes_per_row_ > 0;
  }

  /// Owners tell all ranks the segments of their rows; sums are made.
  void prepare_second_pass() {
    phases_.start();
    auto const rows = queries_.rows(), segments = axes_.k.size();
    std::vector<float> floats;
    std::vector<std::int64_t> integers;
    for (auto const& row : rows_) {
      auto const used = row.boundaries.size();
      integers.push_back(static_cast<std::int64_t>(used));
      for (std::size_t g = 0; g < segments; ++g) {
        auto const& boundary = row.boundaries[std::min(g, used - 1)];
        integers.push_back(boundary.index);
        floats.push_back(boundary.score);
      }
      for (std::size_t g = 0; g <= segments; ++g) floats.push_back(row.references[std::min(g, used)]);
    }
    integers = comm_.all_gather(integers);
    floats = comm_.all_gather(floats);
    std::vector<float> score, reference, edge;
    std::vector<GlobalIndex> index;
    std::vector<int> used;
    for (std::size_t i = 0; i < rows; ++i) {
      auto const* own_integers = &integers[i * (segments + 1)];
      auto const* own_floats = &floats[i * (2 * segments + 1)];
      used.push_back(static_cast<int>(own_integers[0]));
      index.insert(index.end(), own_integers + 1, own_integers + 1 + segments);
      score.insert(score.end(), own_floats, own_floats + segments);
      reference.insert(reference.end(), own_floats + segments, own_floats + 2 * segments + 1);
      edge.push_back(own_floats[used.back() - 1]);
    }
    work_.segments = {to_device(space_, "Asymptop::measure::boundary_score", score, rows), to_device(space_, "Asymptop::measure::boundary_index", index, rows),
                      to_device(space_, "Asymptop::measure::reference", reference, rows), to_device(space_, "Asymptop::measure::used", used)};
    work_.probes.edge_score = to_device(space_, "Asymptop::measure::edge_score", edge);
    work_.probes.edge = Tensor3<Space, std::int64_t>("Asymptop::measure::edge", rows, 1, 2);
    double const largest = setup_.scan != nullptr ? setup_.scan->largest_value : 6.8;
    work_.factor = FixedPoint::make(group_.n, largest);
    work_.sigmas = axes_.sigma;
    auto const d = static_cast<std::size_t>(group_.d);
    if (setup_.config->output_error) {
      for (std::size_t law = 0; law < axes_.sigma.size(); ++law) work_.sums.emplace_back("Asymptop::measure::sums", rows, segments + 1, d + 1);
    }
    prepare_audit(rows, segments, d);
    phases_.stop(Phase::evaluate);
  }

  /// Two rows of each draw, another two in the next.
  void prepare_audit(std::size_t rows, std::size_t segments, std::size_t d) {
    for (std::int64_t i = 0; i < std::min<std::int64_t>(2, setup_.config->rows); ++i) {
      auto const row = (2 * draw_ + i) % setup_.config->rows - first_row_;
      if (row >= 0 && row < static_cast<std::int64_t>(rows)) audited_.push_back(static_cast<int>(row));
    }
    std::vector<double> q;
    for (int const row : audited_) {
      for (std::size_t c = 0; c < d; ++c) q.push_back(static_cast<double>(queries_.q[static_cast<std::size_t>(row) * d + c]));
    }
    work_.audit_rows = to_device(space_, "Asymptop::measure::audit_rows", audited_);
    work_.audit_queries = Matrix<Space, double>("Asymptop::measure::audit_queries", audited_.size(), d);
    if (!audited_.empty()) work_.audit_queries = to_device(space_, "Asymptop::measure::audit_queries", q, audited_.size());
    work_.audit_sigmas = to_device(space_, "Asymptop::measure::audit_sigmas", axes_.sigma);
    work_.audit_sums = decltype(work_.audit_sums)("Asymptop::measure::audit_sums", audited_.size(), axes_.sigma.size(), segments + 1, 4);
    work_.audit_worst = Vector<Space, double>("Asymptop::measure::audit_worst", audited_.size());
  }

  /// Owners tell all ranks the open probes of their rows.
  void load_probes() {
    phases_.start();
    auto const rows = queries_.rows(), probes = probes_per_row_;
    std::vector<std::int64_t> integers;
    std::vector<float> floats;
    for (auto& row : rows_) {
      std::stable_sort(row.evaluation.open.begin(), row.evaluation.open.end(), [](Probe const& a, Probe const& b) { return a.bin < b.bin; });
      for (std::size_t q = 0; q < probes; ++q) {
        bool const real = q < row.evaluation.open.size();
        integers.push_back(real ? row.evaluation.open[q].bin : -1);
        integers.push_back(real ? std::min<std::int64_t>(row.evaluation.open[q].capacity, queries_.visible[static_cast<std::size_t>(row.row)]) : 0);
        floats.push_back(real ? row.evaluation.open[q].low : 0.0f);
        floats.push_back(real ? row.evaluation.open[q].high : 0.0f);
      }
    }
    integers = comm_.all_gather(integers);
    floats = comm_.all_gather(floats);
    auto& p = work_.probes;
    p.grid = batch_.grid();
    p.first_bin = batch_.first_bin();
    std::vector<int> bin, capacity;
    std::vector<float> low, high;
    std::vector<std::int64_t> begin;
    std::vector<std::uint16_t> of_bin(rows * static_cast<std::size_t>(p.grid.count), 0);
    std::int64_t places = 0;
    for (std::size_t i = 0; i < rows * probes; ++i) {
      bin.push_back(static_cast<int>(integers[2 * i]));
      capacity.push_back(static_cast<int>(std::min<std::int64_t>(integers[2 * i + 1], shard_.size())));
      low.push_back(floats[2 * i]);
      high.push_back(floats[2 * i + 1]);
      begin.push_back(places);
      places += capacity.back();
      if (bin.back() < 0) continue;
      auto& slot = of_bin[i / probes * static_cast<std::size_t>(p.grid.count) + static_cast<std::size_t>(bin.back())];
      if (slot == 0) slot = static_cast<std::uint16_t>(i % probes + 1);
    }
    p.of_bin = to_device(space_, "Asymptop::measure::of_bin", of_bin, rows);
    p.bin = to_device(space_, "Asymptop::measure::probe_bin", bin, rows);
    p.capacity = to_device(space_, "Asymptop::measure::probe_capacity", capacity, rows);
    p.low = to_device(space_, "Asymptop::measure::probe_low", low, rows);
    p.high = to_device(space_, "Asymptop::measure::probe_high", high, rows);
    p.begin = to_device(space_, "Asymptop::measure::probe_begin", begin, rows);
    p.above = Tensor3<Space, std::int64_t>("Asymptop::measure::probe_above", rows, probes, 3);
    p.fill = Matrix<Space, int>("Asymptop::measure::probe_fill", rows, probes);
    p.collected = Vector<Space, float>(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::measure::collected"), static_cast<std::size_t>(places));
    phases_.stop(Phase::evaluate);
  }

  /// Sums of attention and audit come home: exact integers, added up at the row's owner.
  void take_sums(std::vector<CheckResiduals>& checks) {
    auto const d = static_cast<std::size_t>(group_.d), segments = axes_.k.size() + 1, rows = queries_.rows();
    std::vector<int> all(rows);
    for (std::size_t i = 0; i < rows; ++i) all[i] = static_cast<int>(i);
    auto const owner = owners(all);
    for (std::size_t law = 0; law < work_.sums.size(); ++law) {
      auto const host = to_host(work_.sums[law]);
      auto const width = segments * (d + 1);
      auto const merged = merge_profile(comm_, {host.data(), host.data() + host.size()}, owner, width);
      for (std::size_t i = 0; i < rows_.size(); ++i) {
        std::vector<double> sums;
        for (std::size_t j = 0; j < width; ++j) {
          sums.push_back(static_cast<double>(merged[i * width + j]) / (j % (d + 1) == d ? work_.factor.weight : work_.factor.value));
        }
        output_errors(rows_[i], law, axes_.sigma[law], sums, d, axes_.k, checks[law]);
      }
    }
    auto const audit = to_host(work_.audit_sums);
    std::vector<std::int64_t> sums(audit.data(), audit.data() + audit.size());
    if (!sums.empty()) comm_.sum(sums);
    auto const worst = to_host(work_.audit_worst);
    for (std::size_t a = 0; a < audited_.size(); ++a) {
      double const score_error = comm_.max(worst(a));
      for (auto const& row : rows_) {
        if (row.row != audited_[a]) continue;
        for (std::size_t law = 0; law < axes_.sigma.size(); ++law) {
          std::vector<double> values;
          for (std::size_t j = 0; j < segments * 4; ++j) {
            auto const sum = static_cast<double>(sums[(a * axes_.sigma.size() + law) * segments * 4 + j]);
            values.push_back(j % 4 == 3 ? sum : sum / work_.factor.weight);
          }
          // Segments that a short row does not use are empty; its tail comes after the last one used.
          audit_row(row, law, axes_.sigma[law], values, axes_.k, checks[law]);
          checks[law].note(Check::audit_scores, score_error);
        }
      }
    }
    edges_ = merge_profile(comm_, edges_host(), owner, 2);
  }

  std::vector<std::int64_t> edges_host() const {
    auto const host = to_host(work_.probes.edge);
    return {host.data(), host.data() + host.size()};
  }

  /// Answers of the probes come home; settled ones leave the list of open ones.
  void take_answers() {
    auto const rows = queries_.rows(), probes = probes_per_row_;
    auto const above = to_host(work_.probes.above);
    auto const fill = to_host(work_.probes.fill);
    auto const capacity = to_host(work_.probes.capacity);
    auto const begin = to_host(work_.probes.begin);
    auto const collected = to_host(work_.probes.collected);
    // Per probe: count, first, second above; inside; how many of those are sent along by this rank.
    std::vector<std::int64_t> counts;
    std::vector<std::uint64_t> lengths;
    std::vector<float> scores;
    std::vector<std::size_t> length_counts(static_cast<std::size_t>(comm_.size()), 0), score_counts(static_cast<std::size_t>(comm_.size()), 0);
    for (std::size_t i = 0; i < rows; ++i) {
      auto const owner = static_cast<std::size_t>(owner_of(static_cast<int>(i)));
      for (std::size_t q = 0; q < probes; ++q) {
        for (int c = 0; c < 3; ++c) counts.push_back(above(i, q, c));
        counts.push_back(fill(i, q));
        auto const length = static_cast<std::size_t>(std::min(fill(i, q), capacity(i, q)));
        lengths.push_back(length);
        auto const* first = collected.data() + begin(i, q);
        scores.insert(scores.end(), first, first + length);
        ++length_counts[owner];
        score_counts[owner] += length;
      }
    }
    std::vector<int> all(rows);
    for (std::size_t i = 0; i < rows; ++i) all[i] = static_cast<int>(i);
    auto const merged = merge_profile(comm_, counts, owners(all), probes * 4);
    std::vector<std::size_t> received_lengths, received_scores;
    auto const all_lengths = comm_.all_to_all(lengths, length_counts, received_lengths);
    auto const all_scores = comm_.all_to_all(scores, score_counts, received_scores);
    std::vector<ProbeAnswer> answers(rows_.size() * probes);
    std::size_t at = 0;
    for (std::size_t i = 0; i < all_lengths.size(); ++i) {
      auto& answer = answers[i % answers.size()];
      answer.collected.insert(answer.collected.end(), all_scores.begin() + static_cast<std::ptrdiff_t>(at),
                              all_scores.begin() + static_cast<std::ptrdiff_t>(at + all_lengths[i]));
      at += all_lengths[i];
    }
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      auto& row = rows_[i];
      std::vector<Probe> still_open;
      for (std::size_t q = 0; q < row.evaluation.open.size(); ++q) {
        auto& probe = row.evaluation.open[q];
        auto& answer = answers[i * probes + q];
        auto const* numbers = &merged[(i * probes + q) * 4];
        answer.above = {numbers[0], numbers[1], numbers[2]};
        answer.inside = numbers[3];
        auto const law = static_cast<std::size_t>(probe.law);
        if (!settle(probe, answer, row.grid_only, row.evaluation.laws[law], axes_.sigma[law], static_cast<double>(row.score_max))) still_open.push_back(probe);
      }
      row.evaluation.open = std::move(still_open);
    }
  }

  void check_rows(std::vector<CheckResiduals>& checks) const {
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      auto const& row = rows_[i];
      double const above = static_cast<double>(edges_[2 * i] - row.above_edge), equal = static_cast<double>(row.equal_edge - edges_[2 * i + 1]);
      for (auto& check : checks) {
        check.note(Check::keys_seen, std::fabs(static_cast<double>(row.evaluation.keys_seen - row.visible)));
        check.note(Check::score_range, row.evaluation.in_range ? 0.0 : 1.0);
        check.note(Check::top_k_count, std::max(std::fabs(above), equal));
        check.note(Check::quantiles_settled, static_cast<double>(row.evaluation.open.size()));
        check.note(Check::sum_p, row.evaluation.worst_sum_p);
        check.note(Check::identity_kl, row.evaluation.worst_identity_kl);
      }
    }
  }

  StudySetup const& setup_;
  Communicator const& comm_;
  GroupPlan const& group_;
  std::int64_t draw_;
  Range shard_;
  QueryRows queries_;
  std::int64_t first_row_;
  ShardTensors<Space>& tensors_;
  PhaseTimes& phases_;
  Space space_;
  RowBatch<Space> batch_;
  Range mine_;
  MetricAxes axes_;
  std::vector<OwnedRow> rows_;
  SecondPass<Space> work_;
  std::vector<int> audited_;
  std::vector<std::int64_t> edges_;
  std::size_t probes_per_row_ = 0;
  bool first_round_ = true;
};

}  // namespace asymptop
