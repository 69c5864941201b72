// The plan of a certified top-k and its steps in order.
#include <algorithm>
#include <cmath>
#include <vector>

#include "common.cuh"

namespace asymptop::device {
namespace {

/// The chance that so few keys of a row reach its threshold that it has to be scored in full.
constexpr double chance_short = 1e-5;
/// What is allowed for beside the bound's width.
constexpr double allowance = 1.04;
/// How much survivors may outnumber the keys that the sample promises: by the bound's width, which grows with the norms of rows, where the
/// best `part` of scores lies in a normal distribution. Measured of normal tensors of 64 to 640 columns.
double wider(int d, double part) {
  double const l = -2.0 * std::log(part), deviations = std::sqrt(std::fmax(0.1, l - std::log(std::fmax(l, 1.0)) - 1.84));
  return allowance * std::exp(0.004 * deviations * std::sqrt(d));
}
constexpr int shared_most = 227 * 1024;

/// P(Poisson(mean) >= r).
double poisson_tail(double mean, int r) {
  double below = 0.0;
  for (int i = 0; i < r; ++i) below += std::exp(i * std::log(mean) - mean - std::lgamma(i + 1.0));
  return 1.0 - below;
}

/// Aligned pieces one after another.
class Pieces {
 public:
  explicit Pieces(unsigned char* base) : base_(base) {}
  template <class T>
  T* take(std::int64_t count) {
    auto const at = used_;
    used_ += (count * sizeof(T) + 1023) / 1024 * 1024;
    return base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + at);
  }
  RowCandidates candidates(int rows, int capacity) {
    auto const all = std::int64_t{rows} * capacity;
    return {take<std::uint32_t>(all), take<std::uint32_t>(all), take<int>(rows), capacity};
  }
  std::size_t used() const { return used_; }

 private:
  unsigned char* base_;
  std::size_t used_ = 0;
};

/// Whether a screen pays, and its sizes.
void plan_screen(TopKPlan& plan, int multiprocessors, std::int64_t seen) {
  auto const sample = static_cast<double>(sample_of(plan.keys)), groups = sample / 32.0, n = static_cast<double>(plan.keys);
  double const mean = plan.keep * sample / n;
  double survivors = 0.0, spread = 0.0;
  if (seen > 0) {
    // Of keys that come in no order, those that beat the k-th of all before them. More come where n grows, so that they are good for an
    // overflow now and then.
    survivors = plan.keep * n / static_cast<double>(seen) * wider(plan.d, std::fmin(1.0, plan.keep / static_cast<double>(seen)));
    spread = std::sqrt(survivors) + survivors / 8.0;
    plan.known = true;
  } else {
    if (sample < 2048.0 || mean > groups * 0.75) return;
    int rank = static_cast<int>(mean) + 1;
    while (poisson_tail(mean, rank) > chance_short) rank += 1 + static_cast<int>(std::sqrt(mean)) / 16;
    // Of the groups of 32, so many hold one of the `rank` best.
    plan.sample_rank = static_cast<int>(std::ceil(groups * (1.0 - std::exp(-rank / groups))));
    survivors = rank * n / sample * wider(plan.d, plan.keep / n);
    spread = survivors / std::sqrt(rank);
  }
  double const most = std::ceil(survivors + 5.0 * spread + 64.0);
  if (most > 2.0 * block_sort_most || survivors > allowance * block_sort_most) return;
  plan.row_capacity = static_cast<int>(std::fmin(most, block_sort_most));
  int const query_tiles = padded_rows(plan.rows) / query_tile, query_bytes = chunks_of(plan.d) * query_tile * 128;
  plan.row_groups = query_tiles > 2 ? 4 : query_tiles;
  while (plan.row_groups > 1 && plan.row_groups * query_bytes > shared_most - 4 * tile_chunk_bytes - 2048) plan.row_groups /= 2;
  plan.row_blocks = (query_tiles + plan.row_groups - 1) / plan.row_groups;
  int const tiles = static_cast<int>(tiles_of(plan.keys)), key_groups = 4 / plan.row_groups;
  plan.splits = std::max(1, std::min(multiprocessors / plan.row_blocks, tiles / key_groups));
  plan.lists = plan.splits * key_groups;
  plan.list_capacity = static_cast<int>(std::fmin(64.0 + 3.0 * most / plan.lists, std::ceil(n / plan.lists) + tile_keys));
  // Places in lists are counted in 32 bits, and so are keys past them.
  double const lists = static_cast<double>(plan.rows) * plan.lists;
  if (lists * plan.list_capacity + n > 4e9) return;
  plan.stages = std::min(8, (shared_most - 2048 - plan.row_groups * query_bytes) / (tile_chunk_bytes + 16));
  // So many survivors that most tiles of keys have some of every row; the bits take a gigabyte at most.
  plan.by_tiles = plan.row_groups == 4 && plan.d % 4 == 0 && plan.d <= tile_score_most_columns && survivors * tile_keys >= n &&
                  std::int64_t{padded_rows(plan.rows)} * tiles * 16 <= std::int64_t{1} << 30;
  plan.screened = true;
}

}  // namespace

Workspace::Workspace(TopKPlan const& plan, unsigned char* base) {
  Pieces pieces(base);
  std::int64_t const padded = padded_rows(plan.rows), rows = plan.rows;
  if (plan.screened) {
    query_tiles = pieces.take<unsigned char>(padded * chunks_of(plan.d) * 128);
    query_bounds = pieces.take<QueryBound>(padded);
    thresholds = pieces.take<float>(padded);
    maxima = pieces.take<float>(padded * (sample_of(plan.keys) / 32));
    if (plan.by_tiles) {
      bits = pieces.take<std::uint32_t>(padded * tiles_of(plan.keys) * 4);
    } else {
      survivors = pieces.take<std::uint32_t>(rows * plan.lists * plan.list_capacity);
    }
    counts = pieces.take<int>(rows * plan.lists);
    candidates = pieces.candidates(plan.rows, plan.row_capacity);
  }
  dense_list = pieces.take<int>(plan.rows);
  dense_scores = pieces.take<float>(plan.keys * plan.dense_rows);
  dense_candidates = pieces.candidates(plan.dense_rows, plan.keep);
  if (plan.keep > block_sort_most) sorted = pieces.candidates(plan.dense_rows, plan.keep);
  sort_bytes = sort_bytes_of(plan.dense_rows, plan.keep);
  sort_space = pieces.take<unsigned char>(sort_bytes);
  bytes = pieces.used();
}

TopKPlan plan_top_k(int rows, std::int64_t keys, int d, int keep, int multiprocessors, std::int64_t seen) {
  if (d < 1 || d > most_columns)
    throw std::invalid_argument("top-k on a device takes 1 to " + std::to_string(most_columns) + " columns, not " + std::to_string(d));
  if (keys < 1 || keys >= std::int64_t{1} << 31 || keep < 1 || keep > keys || rows < 1)
    throw std::invalid_argument("top-k on a device takes 1 to 2^31 - 1 keys, at least a row, and 1 to as many candidates as keys");
  TopKPlan plan{};
  plan.rows = rows;
  plan.d = d;
  plan.keep = keep;
  plan.keys = keys;
  plan_screen(plan, multiprocessors, seen);
  plan.known = plan.known && plan.screened;
  // A gigabyte of scores at a time, and as much of candidates; sorts count in 32 bits.
  std::int64_t const most = std::min((std::int64_t{1} << 28) / keys, (std::int64_t{1} << 27) / keep);
  plan.dense_rows = static_cast<int>(std::clamp<std::int64_t>(most, 1, plan.screened ? std::min(rows, 64) : rows));
  plan.bytes = Workspace(plan, nullptr).bytes;
  return plan;
}

void screened_top_k(Stream stream, TopKPlan const& plan, TopKArguments const& arguments) {
  if (!plan.screened) return;
  Workspace const work(plan, arguments.workspace);
  make_query_tiles(stream, plan, arguments.queries, work);
  if (!plan.known) {
    sample_maxima(stream, plan, arguments, work);
    set_thresholds(stream, plan, work);
  }
  screen(stream, plan, arguments, work);
  if (plan.by_tiles) {
    score_survivors_by_tiles(stream, plan, arguments, work);
  } else {
    score_survivors(stream, plan, arguments, work);
  }
  sort_heads(stream, plan, arguments, work, work.candidates, nullptr, plan.rows, plan.known ? nullptr : work.thresholds);
}

int complete_top_k(Stream stream, TopKPlan const& plan, TopKArguments const& arguments) {
  Workspace const work(plan, arguments.workspace);
  std::size_t const rows = plan.rows;
  std::vector<int> counts(rows, -1), list;
  if (plan.screened)
    check(cudaMemcpyAsync(counts.data(), work.candidates.count, rows * sizeof(int), cudaMemcpyDeviceToHost, stream), "counts");
  check(cudaStreamSynchronize(stream), "top-k");
  for (int row = 0; row < plan.rows; ++row) {
    if (counts[row] < 0) list.push_back(row);
  }
  if (list.empty()) return 0;
  check(cudaMemcpyAsync(work.dense_list, list.data(), list.size() * sizeof(int), cudaMemcpyHostToDevice, stream), "rows");
  int const all = static_cast<int>(list.size());
  for (int first = 0; first < all; first += plan.dense_rows) {
    int const here = std::min(plan.dense_rows, all - first);
    score_in_full(stream, plan, arguments, work, work.dense_list + first, here);
    sort_heads(stream, plan, arguments, work, work.dense_candidates, work.dense_list + first, here, nullptr);
  }
  check(cudaStreamSynchronize(stream), "top-k in full");
  return all;
}

int top_k(Stream stream, TopKPlan const& plan, TopKArguments const& arguments) {
  screened_top_k(stream, plan, arguments);
  return complete_top_k(stream, plan, arguments);
}

}  // namespace asymptop::device
