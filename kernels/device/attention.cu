// Sums of units of keys for blocks of query rows, by pairs of fp16 numbers, or by bf16 numbers, on tensor cores (attention.hpp).
//
// A block holds two query tiles and lets pieces of keys and values pass through shared memory, unit after unit; each of two warpgroups
// takes one query tile, a third fetches. While one makes weights, the tensor cores have the other's products.
// Pairs of more than 256 columns: shared memory does not hold the queries beside pieces in flight, so they pass through it with the keys;
// scores are added in fp32 every few pieces, for the tensor core's own sums lose digits as they grow; a third of the sums of values lies in
// shared memory, to make room for that in registers.
// Weights are powers of two, 2^{14 + c s - R}, with c = sigma log2(e) and R an integer that is no less than c s for all keys so far.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "common.cuh"
#include "split_tiles.cuh"
#include "tensor_core.cuh"

namespace asymptop::device {
namespace {

constexpr int groups = 2, group_threads = 128, block_threads = groups * group_threads, threads = block_threads + group_threads,
              block_rows = groups * query_tile;
constexpr int most_shared = 227 * 1024, most_stages = 6;

struct UnitOperands {
  int rows, chunks, value_pieces, units, unit_tiles, splits, stages;
  std::int64_t keys;
  unsigned char const *query_tiles, *key_tiles, *value_tiles;
  float const *query_scales, *key_scales, *value_scales;
  std::int64_t const *limits, *from;
  float sigma;
  AttentionNodes nodes;
};

/// Tiles [begin, end) of unit u that some row of the block sees.
struct UnitTiles {
  int begin, end;
};
__device__ UnitTiles tiles_of_unit(UnitOperands const& o, int u, std::int64_t first, std::int64_t last) {
  std::int64_t const unit = std::int64_t{u} * o.unit_tiles, next = unit + o.unit_tiles;
  std::int64_t const begin = first / tile_keys, end = (last + tile_keys - 1) / tile_keys;
  return {static_cast<int>(max(unit, begin)), static_cast<int>(min(next, end))};
}

__device__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Whether queries pass through shared memory with the keys.
constexpr bool are_streamed(Numbers numbers, int pieces) { return numbers == Numbers::half_pairs && pieces > 2; }
/// The same for kernels.
template <Numbers numbers, int pieces>
constexpr bool streams = are_streamed(numbers, pieces);
/// Bytes of a block's sums of values of 64 columns.
constexpr int last_sums_bytes = block_rows * chunk_columns * 4;
/// Bytes of shared memory beside what passes: for the queries of a block, or for sums of values.
int staying_bytes(Numbers numbers, int pieces, int chunks) {
  return are_streamed(numbers, pieces) ? last_sums_bytes : chunks * groups * split_query_piece(numbers);
}

template <int pieces, Numbers numbers>
__global__ void __launch_bounds__(threads, 1) attend_kernel(UnitOperands const o) {
  constexpr bool pairs = parts<numbers> == 2, streamed = streams<numbers, pieces>;
  constexpr int held = streamed ? pieces - 1 : pieces, chunks_at_once = 3;
  constexpr int piece_bytes = parts<numbers> * tile_chunk_bytes, query_piece = parts<numbers> * query_tile * 128;
  extern __shared__ unsigned char unaligned[];
  __shared__ long long seen_from, seen_to;
  std::uint32_t const queries = (shared_address(unaligned) + 1023u) & ~1023u;
  static_assert(groups * query_piece == piece_bytes);
  Ring<piece_bytes> ring(queries + (streamed ? last_sums_bytes : groups * o.chunks * query_piece), o.stages);
  std::uint32_t const loaded = ring.end();
  // Under a causal mask later rows have more keys: they go first.
  int const row_block = gridDim.x - 1 - blockIdx.x, first_row = row_block * block_rows;
  int const working = o.rows - first_row > query_tile ? groups : 1;  // warpgroups that have a query tile
  if (threadIdx.x == 0) {
    ring.begin(working * group_threads / 32);
    barrier_init(loaded, 1);
    barriers_ready();
    seen_to = 0;
    seen_from = o.keys;
  }
  __syncthreads();
  int const own = first_row + thread_index();
  if (threadIdx.x < block_rows && own < o.rows) {
    atomicMax(&seen_to, o.limits[own]);
    atomicMin(&seen_from, o.from == nullptr ? 0 : o.from[own]);
  }
  __syncthreads();
  std::int64_t const last = min(std::int64_t{seen_to}, o.keys), first = min(std::int64_t{seen_from}, last);
  int const first_unit = std::int64_t{blockIdx.y} * o.units / o.splits;
  int const end_unit = (std::int64_t{blockIdx.y} + 1) * o.units / o.splits;
  int const first_piece = block_z() * pieces;
  // The same for all of a warp, which the compiler does not know otherwise.
  int const group = __shfl_sync(~0u, thread_index() / group_threads, 0);
  if (group == groups) {
    leave_registers<24>();
    if (threadIdx.x % group_threads != 0) return;
    auto const query_tile_of = [&](int g) { return o.query_tiles + (std::int64_t{row_block} * groups + g) * o.chunks * query_piece; };
    if constexpr (!streamed) {
      barrier_expect(loaded, working * o.chunks * query_piece);
      for (int i = 0; i < working * o.chunks; ++i)
        bulk_copy(queries + i * query_piece, query_tile_of(0) + i * query_piece, query_piece, loaded);
    }
    ring.parity = 1;
    auto const fetch = [&](unsigned char const* from) {
      barrier_wait(ring.is_empty(), ring.parity);
      barrier_expect(ring.is_full(), piece_bytes);
      bulk_copy(ring.piece(), from, piece_bytes, ring.is_full());
      ring.next();
    };
    auto const fetch_queries = [&](int c) {
      barrier_wait(ring.is_empty(), ring.parity);
      barrier_expect(ring.is_full(), working * query_piece);
      for (int g = 0; g < working; ++g)
        bulk_copy(ring.piece() + g * query_piece, query_tile_of(g) + c * query_piece, query_piece, ring.is_full());
      ring.next();
    };
    for (int u = first_unit; u < end_unit; ++u) {
      auto const range = tiles_of_unit(o, u, first, last);
      for (std::int64_t t = range.begin; t < range.end; ++t) {
        for (int c = 0; c < o.chunks; ++c) {
          if constexpr (streamed) fetch_queries(c);
          fetch(o.key_tiles + (t * o.chunks + c) * piece_bytes);
        }
        for (int p = 0; p < pieces; ++p) fetch(o.value_tiles + (t * o.value_pieces + first_piece + p) * piece_bytes);
      }
    }
    return;
  }
  take_registers<240>();
  if (group >= working) return;
  int const lane = thread_index() % 32, warp = thread_index() / 32 % 4, q = lane % 4;
  int const row = first_row + group * query_tile + 16 * warp + lane / 4;
  // Two rows a thread, 8 apart. Rows past the last see no keys.
  int limit[2], from[2];
  float query_scale[2];
  for (int h = 0; h < 2; ++h) {
    bool const here = row + 8 * h < o.rows;
    limit[h] = here ? static_cast<int>(min(o.limits[row + 8 * h], o.keys)) : 0;
    from[h] = here && o.from != nullptr ? static_cast<int>(min(o.from[row + 8 * h], std::int64_t{limit[h]})) : 0;
    query_scale[h] = here ? o.query_scales[row + 8 * h] : 1.0f;
  }
  int const open = max(from[0], from[1]), shut = min(limit[0], limit[1]);
  float const base2 = o.sigma * 1.44269504088896341f;
  std::uint32_t const own_queries = queries + group * o.chunks * query_piece;
  // Of the last piece of values, where `streamed`.
  auto* const last_sums = reinterpret_cast<float4*>(unaligned + (queries - shared_address(unaligned))) + thread_index();
  auto const last_sum = [&](int e) { return reinterpret_cast<float const*>(last_sums + e / 4 * block_threads)[e % 4]; };
  auto const release = [&](std::uint32_t stage_empty) {
    if (lane == 0) barrier_arrive(stage_empty);
  };
  if constexpr (!streamed) barrier_wait(loaded, 0);
  for (int u = first_unit; u < end_unit; ++u) {
    float total[held][32] = {}, top[2] = {-INFINITY, -INFINITY}, weight[2] = {0.0f, 0.0f};
    int seen[2] = {0, 0};
    if constexpr (streamed) {
      for (int i = 0; i < 8; ++i) last_sums[i * block_threads] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    auto const range = tiles_of_unit(o, u, first, last);
    for (int t = range.begin; t < range.end; ++t) {
      float s[64];
      std::uint32_t in_use = 0, queries_in_use = 0;  // places of the products under way
      auto const release_products = [&] {
        release(in_use);
        if constexpr (streamed) release(queries_in_use);
      };
      float before[64] = {};  // sums of pieces that are done, where `streamed`
      float const key_scale = o.key_scales[t], value_scale = o.value_scales[t] * 0x1p-14f;
      for (int c = 0; c < o.chunks; ++c) {
        std::uint32_t query = own_queries + c * query_piece, came_in = 0;
        if constexpr (streamed) {
          barrier_wait(ring.is_full(), ring.parity);
          query = ring.piece() + group * query_piece;
          came_in = ring.is_empty();
          ring.next();
        }
        int const of_sum = streamed ? c % chunks_at_once : c;
        barrier_wait(ring.is_full(), ring.parity);
        std::uint64_t const a1 = swizzled_rows(query), b1 = swizzled_rows(ring.piece());
        products_begin();
        if constexpr (pairs) {
          std::uint64_t const a2 = swizzled_rows(query + query_piece / 2), b2 = swizzled_rows(ring.piece() + tile_chunk_bytes);
#pragma unroll
          for (int step = 0; step < 4; ++step) add_half_products(s, a2 + 2 * step, b1 + 2 * step, of_sum + step);
#pragma unroll
          for (int step = 0; step < 4; ++step) add_half_products(s, a1 + 2 * step, b2 + 2 * step, 1);
#pragma unroll
          for (int step = 0; step < 4; ++step) add_half_products(s, a1 + 2 * step, b1 + 2 * step, 1);
        } else {
#pragma unroll
          for (int step = 0; step < 4; ++step) add_products(s, a1 + 2 * step, b1 + 2 * step, of_sum + step);
        }
        products_commit();
        if (of_sum > 0) {
          products_wait<1>();
          release_products();
        }
        in_use = ring.is_empty();
        queries_in_use = came_in;
        ring.next();
        if constexpr (streamed) {
          if (of_sum + 1 < chunks_at_once || c + 1 == o.chunks) continue;
          products_wait<0>();
          release_products();
#pragma unroll
          for (int e = 0; e < 64; ++e) before[e] += s[e];
        }
      }
      products_wait<0>();
      release_products();
      if constexpr (streamed) {
#pragma unroll
        for (int e = 0; e < 64; ++e) s[e] += before[e];
      }
      int const first_key = t * tile_keys;
      if (first_key < open || first_key + tile_keys > shut) {
#pragma unroll
        for (int e = 0; e < 64; ++e) {
          int const key = first_key + 8 * (e / 4) + 2 * q + e % 2;
          int const h = e / 2 % 2;
          if (key < from[h] || key >= limit[h]) s[e] = -INFINITY;
        }
      }
      float largest[2] = {-INFINITY, -INFINITY}, shrink[2], shift[2], factor[2], sum[2] = {0.0f, 0.0f};
#pragma unroll
      for (int e = 0; e < 64; ++e) largest[e / 2 % 2] = fmaxf(largest[e / 2 % 2], s[e]);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        largest[h] = fmaxf(largest[h], __shfl_xor_sync(~0u, largest[h], 1));
        largest[h] = fmaxf(largest[h], __shfl_xor_sync(~0u, largest[h], 2));
        factor[h] = fmaxf(query_scale[h] * key_scale * base2, 0x1p-126f);  // no 0 times a hidden key's infinite score
        float const higher = fmaxf(top[h], ceilf(largest[h] * factor[h]));
        float const reference = higher == -INFINITY ? 0.0f : higher;
        shrink[h] = power_of_two(top[h] - reference);
        shift[h] = 14.0f - reference;
        top[h] = higher;
        seen[h] += max(min(limit[h], first_key + tile_keys) - max(from[h], first_key), 0);
      }
      // Weights take the scores' place, and their pairs the products'.
      std::uint32_t p1[8][4], p2[8][4];
#pragma unroll
      for (int step = 0; step < 8; ++step) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          int const h = i % 2;
          float const x = power_of_two(fmaf(s[8 * step + 2 * i], factor[h], shift[h]));
          float const y = power_of_two(fmaf(s[8 * step + 2 * i + 1], factor[h], shift[h]));
          sum[h] += x + y;
          split_pair<numbers>(x, y, p1[step][i], p2[step][i]);
        }
      }
#pragma unroll
      for (int h = 0; h < 2; ++h) weight[h] = fmaf(weight[h], shrink[h], sum[h]);
#pragma unroll
      for (int p = 0; p < pieces; ++p) {
        float out[32];
        barrier_wait(ring.is_full(), ring.parity);
        std::uint64_t const v1 = swizzled_rows(ring.piece());
        auto const place = [](int step) { return step / 4 * (split_value_half / 16) + step % 4 * 2; };
        products_begin();
        if constexpr (pairs) {
          std::uint64_t const v2 = swizzled_rows(ring.piece() + tile_chunk_bytes);
#pragma unroll
          for (int step = 0; step < 8; ++step) add_half_products(out, p2[step], v1 + place(step), step);
#pragma unroll
          for (int step = 0; step < 8; ++step) add_half_products(out, p1[step], v2 + place(step), 1);
#pragma unroll
          for (int step = 0; step < 8; ++step) add_half_products(out, p1[step], v1 + place(step), 1);
        } else {
#pragma unroll
          for (int step = 0; step < 8; ++step) add_products(out, p1[step], v1 + place(step), step);
        }
        products_commit();
        products_wait<0>();
        release(ring.is_empty());
        ring.next();
        auto const add = [&](float& sum, int e) { sum = fmaf(out[e], value_scale, sum * shrink[e / 2 % 2]); };
        if (p < held) {
#pragma unroll
          for (int e = 0; e < 32; ++e) add(total[p < held ? p : 0][e], e);
        } else {
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            float4 four = last_sums[i * block_threads];
            add(four.x, 4 * i);
            add(four.y, 4 * i + 1);
            add(four.z, 4 * i + 2);
            add(four.w, 4 * i + 3);
            last_sums[i * block_threads] = four;
          }
        }
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      weight[h] += __shfl_xor_sync(~0u, weight[h], 1);
      weight[h] += __shfl_xor_sync(~0u, weight[h], 2);
      if (row + 8 * h >= o.rows) continue;
      std::int64_t const at = std::int64_t{row + 8 * h} * o.units + u;
      if (q == 0 && blockIdx.z == 0) {
        o.nodes.max[at] = top[h] * 0.693147180559945309f;
        o.nodes.weight[at] = weight[h] * 0x1p-14f;
        o.nodes.seen[at] = seen[h];
      }
      if (weight[h] == 0.0f) continue;
      float* const to = o.nodes.values + at * o.nodes.d;
#pragma unroll
      for (int p = 0; p < pieces; ++p) {
#pragma unroll
        for (int e = 0; e < 32; ++e) {
          int const column = (first_piece + p) * chunk_columns + 8 * (e / 4) + 2 * q + e % 2;
          if (e / 2 % 2 == h && column < o.nodes.d) to[column] = p < held ? total[p < held ? p : 0][e] : last_sum(e);
        }
      }
    }
  }
}

}  // namespace

AttentionPlan plan_attention(Numbers numbers, int rows, std::int64_t keys, int d, int unit, int multiprocessors) {
  AttentionPlan plan{};
  plan.numbers = numbers;
  plan.rows = rows;
  plan.d = d;
  plan.unit = unit;
  plan.units = (keys + unit - 1) / unit;
  plan.row_blocks = (rows + block_rows - 1) / block_rows;
  int const staying = staying_bytes(numbers, block_pieces(d), chunks_of(d)), piece_bytes = split_piece_bytes(numbers);
  plan.stages =
      std::min(most_stages * split_piece_bytes(Numbers::half_pairs) / piece_bytes, (most_shared - 2048 - staying) / (piece_bytes + 16));
  // Blocks of as equal a length as can be, in as few rounds as are well filled; more of them where rows see different numbers of keys.
  double best = 0.0;
  int const most = std::min(plan.units, 8 * multiprocessors / plan.row_blocks + 1);
  for (int splits = 1; splits <= most; ++splits) {
    double const units = plan.units, whole = units / splits, longest = std::ceil(whole);
    double const share = 1.0 * plan.row_blocks * splits / multiprocessors, rounds = std::max(1.0, share);
    double const filled = rounds / std::ceil(rounds) * (whole / longest) * std::min(1.0, share);
    if (filled > best * 1.01) {
      best = filled;
      plan.splits = splits;
    }
  }
  plan.query_bytes = std::size_t{1} * plan.row_blocks * groups * chunks_of(d) * split_query_piece(numbers);
  plan.scale_bytes = plan.row_blocks * (block_rows * sizeof(float));
  return plan;
}

void attend_units(Stream stream, AttentionPlan const& plan, AttentionArguments const& a) {
  int const padded = plan.row_blocks * block_rows;
  split_queries(stream, plan.numbers, a.queries, plan.rows, padded, plan.d, a.query_tiles, a.query_scales);
  UnitOperands const o{plan.rows,
                       chunks_of(plan.d),
                       value_pieces(plan.d),
                       plan.units,
                       plan.unit / tile_keys,
                       plan.splits,
                       plan.stages,
                       a.keys.count,
                       a.query_tiles,
                       a.keys.keys,
                       a.keys.values,
                       a.query_scales,
                       a.keys.key_scales,
                       a.keys.value_scales,
                       a.limits,
                       a.from,
                       a.sigma,
                       a.nodes};
  int const pieces = block_pieces(plan.d);
  int const shared = 1024 + staying_bytes(plan.numbers, pieces, o.chunks) + plan.stages * (split_piece_bytes(plan.numbers) + 16) + 8;
  auto const launch = [&](auto* const kernel) {
    allow_shared(kernel, shared);
    dim3 const grid(blocks(plan.row_blocks), blocks(plan.splits), blocks(o.value_pieces / pieces));
    kernel<<<grid, threads, shared, stream>>>(o);
    check_launch("attention");
  };
  auto const launch_of = [&](auto const of) {
    constexpr Numbers numbers = decltype(of)::value;
    if (pieces == 1) {
      launch(attend_kernel<1, numbers>);
    } else if (pieces == 2) {
      launch(attend_kernel<2, numbers>);
    } else {
      launch(attend_kernel<3, numbers>);
    }
  };
  if (plan.numbers == Numbers::bfloat16) {
    launch_of(std::integral_constant<Numbers, Numbers::bfloat16>());
  } else {
    launch_of(std::integral_constant<Numbers, Numbers::half_pairs>());
  }
}

}  // namespace asymptop::device
