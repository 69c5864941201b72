// First thresholds, and the fp32 scores of what passed the screen.
#include "arithmetic.cuh"
#include "common.cuh"
#include "tensor_core.cuh"

namespace asymptop::device {
namespace {

/// T of each row: the rank-th largest of its maxima, its last 12 bits rounded down; +inf where there are not so many. A warp a row.
__global__ void __launch_bounds__(128) set_thresholds_kernel(float const* maxima, int rows, int count, int rank, float* thresholds) {
  constexpr int most = most_sampled / 32 / 32;
  int const lane = thread_index() % 32, row = block_x() * 4 + thread_index() / 32;
  if (row >= rows) return;
  std::uint32_t bits[most];
#pragma unroll
  for (int i = 0; i < most; ++i) {
    int const at = lane + 32 * i;
    bits[i] = at < count ? ordered(maxima[std::int64_t{row} * count + at]) : 0u;
  }
  std::uint32_t found = 0;
  for (int bit = 31; bit >= 12; --bit) {
    std::uint32_t const tried = found | 1u << bit;
    int above = 0;
#pragma unroll
    for (int i = 0; i < most; ++i) above += bits[i] >= tried ? 1 : 0;
    if (__reduce_add_sync(~0u, above) >= rank) found = tried;
  }
  if (lane != 0) return;
  float const threshold = from_ordered(found);
  thresholds[row] = found > ordered(-INFINITY) && threshold < INFINITY ? threshold : INFINITY;
}

constexpr int warps = 4, piece = 64, stride = piece + 4;  // floats of a key in shared memory; the four more spread them over banks
constexpr int most_lists = 128;                           // of a block

struct ScoreOperands {
  float const *queries, *keys;
  int d, lists, list_capacity, lists_per_block;
  double softcap;
  std::uint32_t const* survivors;
  int const* counts;
  RowCandidates out;
};

/// Block (row, part): the survivors of some of a row's lists, 32 to a warp at a time, each scored by one thread.
template <int bytes>
__global__ void __launch_bounds__(32 * warps) score_kernel(ScoreOperands const o) {
  extern __shared__ float4 shared4[];
  __shared__ int begin[most_lists + 1];
  __shared__ int before, total, full;
  auto* const shared = reinterpret_cast<float*>(shared4);
  int const d = o.d, columns = (d + 3) / 4 * 4;
  int const thread = thread_index(), lane = thread % 32, warp = thread / 32;
  std::int64_t const row = blockIdx.x;
  int const first = block_y() * o.lists_per_block, lists = min(o.lists_per_block, o.lists - first);
  if (thread == 0) before = total = full = 0;
  __syncthreads();
  int const* const counts = o.counts + row * o.lists;
  int mine_before = 0, mine = 0;
  for (int l = thread; l < o.lists; l += 32 * warps) {
    int const count = counts[l];
    if (count > o.list_capacity) full = 1;
    mine += count;
    if (l < first) mine_before += count;
  }
  mine = __reduce_add_sync(~0u, mine);
  mine_before = __reduce_add_sync(~0u, mine_before);
  if (lane == 0) {
    atomicAdd(&total, mine);
    atomicAdd(&before, mine_before);
  }
  if (warp == 0) {
    int sum = 0;
    for (int l = 0; l < lists; l += 32) {
      int up_to = l + lane < lists ? counts[first + l + lane] : 0;
      for (int s = 1; s < 32; s *= 2) {
        int const other = __shfl_up_sync(~0u, up_to, s);
        if (lane >= s) up_to += other;
      }
      if (l + lane < lists) begin[l + lane + 1] = sum + up_to;
      sum += __shfl_sync(~0u, up_to, 31);
    }
    if (lane == 0) begin[0] = 0;
  }
  for (int c = thread; c < columns; c += 32 * warps) shared[c] = c < d ? o.queries[row * d + c] : 0.0f;
  __syncthreads();
  bool const fits = full == 0 && total <= o.out.capacity;
  if (blockIdx.y == 0 && thread == 0) o.out.count[row] = fits ? total : -1;
  if (!fits) return;
  float* const own = shared + columns + warp * 32 * stride;
  int const count = begin[lists];
  for (int base = 32 * warp; base < count; base += 32 * warps) {
    int const at = min(base + lane, count - 1);
    int low = 0, high = lists;  // begin[low] <= at < begin[high]
    while (high - low > 1) {
      int const middle = (low + high) / 2;
      (begin[middle] <= at ? low : high) = middle;
    }
    std::uint32_t const key = o.survivors[(row * o.lists + first + low) * o.list_capacity + (at - begin[low])];
    float score = 0.0f;
    for (int done = 0; done < d; done += piece) {
      int const here = min(piece, d - done), parts = here / (bytes / 4);
      __syncwarp();
      for (int i = lane; i < 32 * parts; i += 32) {
        int const from = i / parts, part = i - from * parts;
        std::int64_t const of = __shfl_sync(~0u, key, from);
        copy_part<bytes>(own + from * stride + part * (bytes / 4), o.keys + of * d + done + part * (bytes / 4));
      }
      asm volatile("cp.async.wait_all;" ::: "memory");
      __syncwarp();
      float const *k = own + lane * stride, *q = shared + done;
      int c = 0;
#pragma unroll 4
      for (; c + 4 <= here; c += 4) {
        float4 const x = *reinterpret_cast<float4 const*>(q + c), y = *reinterpret_cast<float4 const*>(k + c);
        score = fmaf(x.x, y.x, score);
        score = fmaf(x.y, y.y, score);
        score = fmaf(x.z, y.z, score);
        score = fmaf(x.w, y.w, score);
      }
      for (; c < here; ++c) score = fmaf(q[c], k[c], score);
    }
    if (base + lane < count) {
      std::int64_t const to = row * o.out.capacity + before + base + lane;
      o.out.bits[to] = ordered(softcapped(score, o.softcap));
      o.out.index[to] = key;
    }
  }
}

}  // namespace

void set_thresholds(Stream stream, TopKPlan const& plan, Workspace const& work) {
  int const groups = sample_of(plan.keys) / 32;
  set_thresholds_kernel<<<blocks(plan.rows, 4), 128, 0, stream>>>(work.maxima, plan.rows, groups, plan.sample_rank, work.thresholds);
  check_launch("thresholds");
}

void score_survivors(Stream stream, TopKPlan const& plan, TopKArguments const& arguments, Workspace const& work) {
  // Some ten warps' worth of survivors a block: enough to share out evenly, few enough for keys to stay in the L2 cache from row to row.
  int const parts = plan.row_capacity > 512 ? plan.row_capacity / 512 : 1;
  int const most = (plan.lists + parts - 1) / parts, per_block = most < most_lists ? most : most_lists;
  ScoreOperands const o{arguments.queries, arguments.keys.rows, plan.d,         plan.lists,  plan.list_capacity,
                        per_block,         arguments.softcap,   work.survivors, work.counts, work.candidates};
  dim3 const grid(blocks(plan.rows), blocks(plan.lists, per_block));
  auto const shared = ((plan.d + 3) / 4 * 4 + warps * 32 * stride) * sizeof(float);
  if (plan.d % 4 == 0) {
    score_kernel<16><<<grid, 32 * warps, shared, stream>>>(o);
  } else {
    score_kernel<4><<<grid, 32 * warps, shared, stream>>>(o);
  }
  check_launch("scores of survivors");
}

}  // namespace asymptop::device
