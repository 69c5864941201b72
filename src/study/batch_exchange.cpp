// What rank owners and the second pass tell each other: segments and probes out, sums and answers back. Device data are staged here,
// through to_host and to_device, so that MPI need not know of devices; with --mpi-memory device it reads sums where they are. What the
// host makes, sorted lists and packed probes, it sends itself in any case.
#include <algorithm>
#include <numeric>

#include "comm/collectives.hpp"
#include "comm/merge/merge_profile.hpp"
#include "comm/merge/sorted_rows.hpp"
#include "study/batch_run.hpp"

namespace asymptop {

template <class View>
Task<std::vector<std::int64_t>> BatchRun::add_up(View const& sums, std::size_t width) {
  auto counts = items_of_owners(comm_, all_owners(), width);
  if (setup_.config->mpi_memory == MpiMemory::device) {
    using Memory = typename View::memory_space;
    auto const rank = counts.begin() + comm_.rank();
    std::vector<std::int64_t> own(*rank);
    Kokkos::View<std::int64_t const*, Memory, Kokkos::MemoryTraits<Kokkos::Unmanaged>> const part(
        sums.data() + std::accumulate(counts.begin(), rank, std::size_t{0}), own.size());
    // Blocking, and after all kernels: what MPI reads is complete.
    Kokkos::fence();
    Kokkos::deep_copy(Kokkos::View<std::int64_t*, Kokkos::HostSpace, Kokkos::MemoryTraits<Kokkos::Unmanaged>>(own.data(), own.size()),
                      part);
    phases_.stop(Phase::evaluate);
    auto adding = reduce_scatter(comm_, {sums.data(), sums.size()}, std::move(own), std::move(counts));
    co_return co_await adding;
  }
  auto const host = to_host(sums);
  phases_.stop(Phase::evaluate);
  auto adding = reduce_scatter(comm_, {host.data(), host.data() + host.size()}, std::move(counts));
  co_return co_await adding;
}

Task<void> BatchRun::gather_from_owners(std::vector<std::int64_t>& integers, std::vector<float>& floats) {
  phases_.stop(Phase::evaluate);
  auto gathering_integers = all_gather(comm_, std::move(integers));
  integers = co_await gathering_integers;
  auto gathering_floats = all_gather(comm_, std::move(floats));
  floats = co_await gathering_floats;
}

Task<void> BatchRun::prepare_second_pass() {
  auto const rows = queries_.rows(), segments = axes_.k.size();
  std::vector<float> floats;
  std::vector<std::int64_t> integers;
  for (auto const& row : rows_) {
    auto const used = row.boundaries.size();
    integers.push_back(used);
    for (std::size_t g = 0; g < segments; ++g) {
      auto const& boundary = row.boundaries[std::min(g, used - 1)];
      integers.push_back(boundary.index);
      floats.push_back(boundary.score);
    }
    for (std::size_t g = 0; g <= segments; ++g) floats.push_back(row.references[std::min(g, used)]);
  }
  co_await gather_from_owners(integers, floats);
  std::vector<float> score, reference, edge;
  std::vector<GlobalIndex> index;
  std::vector<int> used;
  for (std::size_t i = 0; i < rows; ++i) {
    auto const* own_integers = &integers[i * (segments + 1)];
    auto const* own_floats = &floats[i * (2 * segments + 1)];
    used.push_back(checked_int(own_integers[0]));
    index.insert(index.end(), own_integers + 1, own_integers + 1 + segments);
    score.insert(score.end(), own_floats, own_floats + segments);
    reference.insert(reference.end(), own_floats + segments, own_floats + 2 * segments + 1);
    edge.push_back(own_floats[used.back() - 1]);
  }
  work_.segments = {to_device(space_, "Asymptop::measure::boundary_score", score, rows),
                    to_device(space_, "Asymptop::measure::boundary_index", index, rows),
                    to_device(space_, "Asymptop::measure::reference", reference, rows), to_device(space_, "Asymptop::measure::used", used)};
  work_.probes.edge_score = to_device(space_, "Asymptop::measure::edge_score", edge);
  work_.probes.edge = Tensor3<Space, std::int64_t>("Asymptop::measure::edge", rows, 1, 2);
  work_.factor = FixedPoint::make(group_.n, tensors_.origin().form.largest);
  work_.sigmas = axes_.sigma;
  work_.softcap = group_.form.softcap;
  work_.slope = group_.slope();
  std::size_t const d = group_.d;
  if (setup_.config->output_error) {
    for (std::size_t law = 0; law < axes_.sigma.size(); ++law)
      work_.sums.emplace_back("Asymptop::measure::sums", rows, segments + 1, d + 1);
  }
  prepare_audit(rows, segments, d);
  phases_.stop(Phase::evaluate);
}

void BatchRun::prepare_audit(std::int64_t rows, std::size_t segments, std::size_t d) {
  for (std::int64_t i = 0; i < std::min<std::int64_t>(2, group_.counts.rows); ++i) {
    auto const row = (2 * draw_ + i) % group_.counts.rows - first_row_;
    if (row >= 0 && row < rows) audited_.push_back(checked_int(row));
  }
  std::vector<double> q;
  for (int const row : audited_) {
    for (std::size_t c = 0; c < d; ++c) q.push_back(queries_.q[row * d + c]);
  }
  work_.audit_rows = to_device(space_, "Asymptop::measure::audit_rows", audited_);
  work_.audit_queries = Matrix<Space, double>("Asymptop::measure::audit_queries", audited_.size(), d);
  if (!audited_.empty()) work_.audit_queries = to_device(space_, "Asymptop::measure::audit_queries", q, audited_.size());
  std::vector<std::int64_t> places;
  auto const alibi = queries_.alibi_in(shard_, group_.slope());
  for (int const row : audited_) {
    if (!alibi.places.empty()) places.push_back(alibi.places[row]);
  }
  work_.audit_places = to_device(space_, "Asymptop::measure::audit_places", places);
  work_.audit_sigmas = to_device(space_, "Asymptop::measure::audit_sigmas", axes_.sigma);
  work_.audit_sums = decltype(work_.audit_sums)("Asymptop::measure::audit_sums", audited_.size(), axes_.sigma.size(), segments + 1, 4);
  work_.audit_worst = Vector<Space, double>("Asymptop::measure::audit_worst", audited_.size());
}

Task<void> BatchRun::load_probes() {
  auto const rows = queries_.rows(), probes = probes_per_row_;
  std::vector<std::int64_t> integers;
  std::vector<float> floats;
  for (auto& row : rows_) {
    std::stable_sort(row.evaluation.open.begin(), row.evaluation.open.end(), [](Probe const& a, Probe const& b) { return a.bin < b.bin; });
    for (std::size_t q = 0; q < probes; ++q) {
      bool const real = q < row.evaluation.open.size();
      integers.push_back(real ? row.evaluation.open[q].bin : -1);
      integers.push_back(real ? std::min<std::int64_t>(row.evaluation.open[q].capacity, queries_.visible[row.row]) : 0);
      floats.push_back(real ? row.evaluation.open[q].low : 0.0f);
      floats.push_back(real ? row.evaluation.open[q].high : 0.0f);
    }
  }
  co_await gather_from_owners(integers, floats);
  auto& p = work_.probes;
  p.grid = batch_.grid();
  p.first_bin = to_device(space_, "Asymptop::measure::first_bin", batch_.first_bins());
  std::vector<int> bin, capacity;
  std::vector<float> low, high;
  std::vector<std::int64_t> begin;
  std::vector<std::uint16_t> of_bin(rows * p.grid.count, 0);
  std::int64_t places = 0;
  for (std::size_t i = 0; i < rows * probes; ++i) {
    bin.push_back(checked_int(integers[2 * i]));
    capacity.push_back(checked_int(std::min<std::int64_t>(integers[2 * i + 1], shard_.size())));
    low.push_back(floats[2 * i]);
    high.push_back(floats[2 * i + 1]);
    begin.push_back(places);
    places += capacity.back();
    if (bin.back() < 0) continue;
    auto& slot = of_bin[i / probes * p.grid.count + bin.back()];
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
  earlier_inside_ = {};
  p.collected = Vector<Space, float>(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::measure::collected"), places);
  phases_.stop(Phase::evaluate);
}

Task<void> BatchRun::take_sums() {
  auto& checks = checks_;
  std::size_t const d = group_.d, segments = axes_.k.size() + 1;
  auto const& form = tensors_.origin().form;
  double const of_values = work_.factor.value * form.scale;
  ValueSums const values{&form.offset, form.largest > 0.0 ? 1.0 / of_values : 0.0, setup_.scan != nullptr};
  for (std::size_t law = 0; law < work_.sums.size(); ++law) {
    auto const width = segments * (d + 1);
    auto summing = add_up(work_.sums[law], width);
    auto const merged = co_await summing;
    std::vector<CheckResiduals> of_row(rows_.size());
    for_each_row(rows_.size(), [&](std::size_t i) {
      std::vector<double> sums;
      for (std::size_t j = 0; j < width; ++j) {
        sums.push_back(from_fixed(merged[i * width + j], j % (d + 1) == d ? work_.factor.weight : of_values));
      }
      output_errors(rows_[i], law, axes_.sigma[law], sums, d, axes_.k, of_row[i], values);
    });
    for (auto const& own : of_row) checks[law].note(own);
  }
  auto const audit = to_host(work_.audit_sums);
  std::vector<std::int64_t> sums(audit.data(), audit.data() + audit.size());
  auto const worst = to_host(work_.audit_worst);
  phases_.stop(Phase::evaluate);
  auto adding = all_reduce(comm_, std::move(sums), MPI_SUM);
  sums = co_await adding;
  auto comparing = all_reduce(comm_, std::vector<double>(worst.data(), worst.data() + worst.size()), MPI_MAX);
  auto const score_errors = co_await comparing;
  for (std::size_t a = 0; a < audited_.size(); ++a) {
    double const score_error = score_errors[a];
    for (auto const& row : rows_) {
      if (row.row != audited_[a]) continue;
      for (std::size_t law = 0; law < axes_.sigma.size(); ++law) {
        std::vector<double> values;
        for (std::size_t j = 0; j < segments * 4; ++j) {
          auto const sum = sums[(a * axes_.sigma.size() + law) * segments * 4 + j];
          values.push_back(from_fixed(sum, j % 4 == 3 ? 1.0 : work_.factor.weight));
        }
        // Segments that a short row does not use are empty; its tail comes after the last one used.
        audit_row(row, law, axes_.sigma[law], values, axes_.k, checks[law]);
        checks[law].note(Check::audit_scores, score_error);
      }
    }
  }
  auto summing = add_up(work_.probes.edge, 2);
  edges_ = co_await summing;
}

Task<void> BatchRun::take_answers() {
  auto const rows = queries_.rows(), probes = probes_per_row_;
  auto const above = to_host(work_.probes.above);
  auto const inside = inside_here();
  auto const owners = all_owners();
  // Per probe: count, first, second above; inside; how many of those are sent along by this rank.
  std::vector<std::int64_t> counts;
  std::size_t const ranks = comm_.size();
  std::vector<std::vector<std::int64_t>> lengths(ranks);
  std::vector<std::vector<float>> scores(ranks);
  auto next_score = inside.scores.begin();
  for (std::size_t i = 0; i < rows; ++i) {
    std::size_t const owner = owners[i];
    for (std::size_t q = 0; q < probes; ++q) {
      for (int c = 0; c < 3; ++c) counts.push_back(above(i, q, c));
      counts.push_back(inside.counts[i * probes + q]);
      auto const length = inside.lengths[i * probes + q];
      lengths[owner].push_back(length);
      auto const end = next_score + length;
      scores[owner].insert(scores[owner].end(), next_score, end);
      next_score = end;
    }
  }
  phases_.stop(Phase::evaluate);
  auto summing = merge_profile(comm_, std::move(counts), owners, probes * 4);
  auto const merged = co_await summing;
  auto sending_lengths = all_to_all(comm_, std::move(lengths));
  auto const all_lengths = co_await sending_lengths;
  auto sending_scores = all_to_all(comm_, std::move(scores));
  auto const all_scores = co_await sending_scores;
  std::vector<ProbeAnswer> answers(rows_.size() * probes);
  for (std::size_t r = 0; r < ranks; ++r) {
    auto next = all_scores[r].begin();
    for (std::size_t i = 0; i < answers.size(); ++i) {
      auto const end = next + all_lengths[r][i];
      answers[i].collected.insert(answers[i].collected.end(), next, end);
      next = end;
    }
  }
  for_each_row(rows_.size(), [&](std::size_t i) {
    auto& row = rows_[i];
    std::vector<Probe> still_open;
    for (std::size_t q = 0; q < row.evaluation.open.size(); ++q) {
      auto& probe = row.evaluation.open[q];
      auto& answer = answers[i * probes + q];
      auto const* numbers = &merged[(i * probes + q) * 4];
      answer.above = {numbers[0], numbers[1], numbers[2]};
      answer.inside = numbers[3];
      std::size_t const law = probe.law;
      if (probe.kind == Probe::Kind::rank) {
        settle_rank(probe, answer, row.grid_only, row.evaluation.laws, axes_, row.score_max);
      } else if (!settle(probe, answer, row.grid_only, row.evaluation.laws[law], axes_.sigma[law], row.score_max)) {
        still_open.push_back(probe);
      }
    }
    row.evaluation.open = std::move(still_open);
  });
  phases_.stop(Phase::evaluate);
}

}  // namespace asymptop
