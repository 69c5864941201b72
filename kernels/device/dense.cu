// Rows that are scored in full: all fp32 scores, the k-th of them by digits, and the candidates in the order of keys. Right for any input.
#include <cub/block/block_scan.cuh>

#include "arithmetic.cuh"
#include "common.cuh"
#include "score_block.cuh"

namespace asymptop::device {
namespace {

/// Block (key tile, row tile): scores of rows list[0 .. rows) as (rows, n).
__global__ void __launch_bounds__(score_threads)
    dense_scores(float const* queries, int const* list, int rows, float const* keys, std::int64_t n, int d, double softcap, float* scores) {
  score_block(queries, list, rows, keys, n, d,
              [&](int r, std::int64_t key, float score) { scores[std::int64_t{r} * n + key] = softcapped(score, softcap); });
}

constexpr int select_threads = 1024, select_items = 8;

/// Block r: the best min(keep, limit) of row r's scores, in the order of keys.
__global__ void __launch_bounds__(select_threads)
    select_in_full(float const* scores, std::int64_t n, int const* list, std::int64_t const* limits, std::int64_t const* from, int keep,
                   RowCandidates out) {
  using Scan = cub::BlockScan<int, select_threads>;
  using Places = cub::BlockScan<unsigned long long, select_threads>;
  __shared__ union {
    typename Scan::TempStorage scan;
    typename Places::TempStorage places;
  } space;
  __shared__ int histogram[2048];
  __shared__ std::uint32_t chosen;
  __shared__ int left;
  std::int64_t const r = blockIdx.x;
  int const thread = thread_index();
  float const* const row = scores + r * n;
  std::int64_t const limit = limits[list[r]], hidden = from == nullptr ? 0 : from[list[r]];
  int const wanted = static_cast<int>(max(min(limit - hidden, std::int64_t{keep}), std::int64_t{0}));
  if (thread == 0) {
    out.count[r] = wanted;
    left = wanted;
  }
  if (wanted == 0) return;
  // Digit by digit from the top: the bin that holds the wanted-th largest.
  std::uint32_t prefix = 0, mask = 0;
  for (int const shift : {21, 10, 0}) {
    int const bins = shift == 0 ? 1024 : 2048;
    for (int b = thread; b < 2048; b += select_threads) histogram[b] = 0;
    __syncthreads();
    for (std::int64_t i = hidden + thread; i < limit; i += select_threads) {
      std::uint32_t const bits = ordered(row[i]);
      if ((bits & mask) == prefix) atomicAdd(&histogram[(bits >> shift) & static_cast<std::uint32_t>(bins - 1)], 1);
    }
    __syncthreads();
    // Two bins a thread, the largest first.
    int const high = histogram[2047 - 2 * thread], low = histogram[2046 - 2 * thread];
    int above = 0;
    Scan(space.scan).ExclusiveSum(high + low, above);
    int const want = left;
    __syncthreads();
    if (above < want && want <= above + high + low) {
      bool const in_high = want <= above + high;
      chosen = static_cast<std::uint32_t>(in_high ? 2047 - 2 * thread : 2046 - 2 * thread);
      left = want - above - (in_high ? 0 : high);
    }
    __syncthreads();
    prefix |= chosen << shift;
    mask |= static_cast<std::uint32_t>(bins - 1) << shift;
  }
  // All above the bound, and of its equals the `left` first.
  auto const ties = static_cast<unsigned long long>(left);
  unsigned long long before = 0;  // above in the upper half, equal in the lower
  for (std::int64_t base = hidden; base < limit; base += select_threads * select_items) {
    std::uint32_t bits[select_items];
    std::int64_t const first = base + std::int64_t{thread} * select_items;
    unsigned long long own = 0;
    for (int i = 0; i < select_items; ++i) {
      bits[i] = first + i < limit ? ordered(row[first + i]) : 0u;
      own += first + i >= limit ? 0ull : bits[i] > prefix ? 1ull << 32 : bits[i] == prefix ? 1ull : 0ull;
    }
    unsigned long long place = 0, all = 0;
    Places(space.places).ExclusiveSum(own, place, all);
    place += before;
    before += all;
    for (int i = 0; i < select_items; ++i) {
      bool const over = first + i < limit && bits[i] > prefix, equal = first + i < limit && bits[i] == prefix;
      unsigned long long const equals = place & 0xffffffffu;
      if (over || (equal && equals < ties)) {
        std::int64_t const to = r * out.capacity + static_cast<std::int64_t>((place >> 32) + (equals < ties ? equals : ties));
        out.bits[to] = bits[i];
        out.index[to] = static_cast<std::uint32_t>(first + i);
      }
      place += over ? 1ull << 32 : equal ? 1ull : 0ull;
    }
    __syncthreads();
  }
}

}  // namespace

void score_in_full(Stream stream, TopKPlan const& plan, TopKArguments const& arguments, Workspace const& work, int const* list, int rows) {
  std::size_t const shared = score_block_bytes(plan.d);
  allow_shared(dense_scores, shared);
  dim3 const grid = score_grid(plan.keys, rows);
  dense_scores<<<grid, score_threads, shared, stream>>>(arguments.queries, list, rows, arguments.keys.rows, plan.keys, plan.d,
                                                        arguments.softcap, work.dense_scores);
  check_launch("scores in full");
  select_in_full<<<blocks(rows), select_threads, 0, stream>>>(work.dense_scores, plan.keys, list, arguments.limits, arguments.from,
                                                              plan.keep, work.dense_candidates);
  check_launch("selection in full");
}

}  // namespace asymptop::device
