// Query tiles x key tiles on tensor cores: which keys may reach a row's threshold (top_k.hpp), and the maxima of a sample that thresholds
// are guessed from. Scores live in registers alone.
//
// A block holds up to four query tiles and lets a range of key tiles pass through shared memory; each of its four warpgroups takes one
// query tile, or, where there are fewer, a part of the range. A fifth fetches tiles.
#include "common.cuh"
#include "tensor_core.cuh"

namespace asymptop::device {
namespace {

constexpr int groups = 4, group_threads = 128, threads = (groups + 1) * group_threads;
constexpr int query_piece = query_tile * 128;

using TileRing = Ring<tile_chunk_bytes>;

enum class Use { maxima, survivors, bits };

struct ScreenOperands {
  int rows, chunks, row_groups, lists, stages;
  bool all_stages;  ///< warpgroups step through all tiles, also those of others; else they skip them
  int tiles;
  std::int64_t keys, population;  ///< keys screened; those that they stand for
  unsigned char const *query_tiles, *key_tiles;
  QueryBound const* query_bounds;
  TileBound const* key_bounds;
  float const* thresholds;
  std::int64_t const *limits, *from;
  float* maxima;
  std::uint32_t* survivors;
  int* counts;
  std::uint32_t* bits;
  int list_capacity;
  float underflow;  ///< eta
};

/// Where a row's list `l` begins, in tiles.
__device__ int begin_of(ScreenOperands const& o, int l) { return static_cast<int>(std::int64_t{l} * o.tiles / o.lists); }

/// What a product must reach at least.
__device__ float cut(float threshold, QueryBound const& row, TileBound const& tile) {
  float const width = __fmaf_ru(row.size, tile.residual, __fmul_ru(row.residual, tile.norm));
  return row.size * tile.norm < 0x1p125f ? __fsub_rd(threshold, width) : -INFINITY;
}

/// The first `left` of 32 bits.
__device__ std::uint32_t first_bits(int left) { return left >= 32 ? ~0u : left <= 0 ? 0u : (1u << left) - 1u; }

/// One thread fetches the block's query tiles, then key tiles in the order in which they are wanted.
__device__ void fetch(ScreenOperands const& o, TileRing ring, std::uint32_t queries, std::uint32_t loaded, int first_list, int most) {
  int const query_tiles = (o.rows + query_tile - 1) / query_tile, first = block_x() * o.row_groups;
  int const here = min(o.row_groups, query_tiles - first);
  barrier_expect(loaded, here * o.chunks * query_piece);
  for (int i = 0; i < here * o.chunks; ++i)
    bulk_copy(queries + i * query_piece, o.query_tiles + (std::int64_t{first} * o.chunks + i) * query_piece, query_piece, loaded);
  ring.parity = 1;
  for (int i = 0; i < most; ++i) {
    for (int g = 0; g < groups / o.row_groups; ++g) {
      // A list that has one tile less gets one of the next, and ignores it.
      std::int64_t const tile = min(begin_of(o, first_list + g) + i, o.tiles - 1);
      for (int c = 0; c < o.chunks; ++c) {
        barrier_wait(ring.is_empty(), ring.parity);
        barrier_expect(ring.is_full(), tile_chunk_bytes);
        bulk_copy(ring.piece(), o.key_tiles + (tile * o.chunks + c) * tile_chunk_bytes, tile_chunk_bytes, ring.is_full());
        ring.next();
      }
    }
  }
}

template <Use use>
__global__ void __launch_bounds__(threads, 1) screen_kernel(ScreenOperands const o) {
  extern __shared__ unsigned char unaligned[];
  int const key_groups = groups / o.row_groups;
  std::uint32_t const queries = (shared_address(unaligned) + 1023u) & ~1023u;
  TileRing ring(queries + o.row_groups * o.chunks * query_piece, o.stages);
  std::uint32_t const loaded = ring.end();
  int const first_list = block_y() * key_groups;
  int most = 0;
  for (int g = 0; g < key_groups; ++g) most = max(most, begin_of(o, first_list + g + 1) - begin_of(o, first_list + g));
  if (threadIdx.x == 0) {
    ring.begin((o.all_stages ? groups : o.row_groups) * group_threads / 32);
    barrier_init(loaded, 1);
    barriers_ready();
  }
  __syncthreads();
  // The same for all of a warp, which the compiler does not know otherwise.
  int const group = __shfl_sync(~0u, thread_index() / group_threads, 0);
  if (group == groups) {
    leave_registers<24>();
    if (threadIdx.x % group_threads == 0) fetch(o, ring, queries, loaded, first_list, most);
    return;
  }
  take_registers<112>();
  int const row_group = group % o.row_groups, key_group = group / o.row_groups;
  int const lane = thread_index() % 32, warp = thread_index() / 32 % 4, q = lane % 4;
  int const row = (block_x() * o.row_groups + row_group) * query_tile + 16 * warp + lane / 4;
  int const list = first_list + key_group, begin = begin_of(o, list), count = begin_of(o, list + 1) - begin;
  // Two rows a thread. Rows past the last see no keys.
  int limit[2], hidden = 0;  // hidden: keys at the start that some row does not see
  QueryBound bound[2];
  float threshold[2];
  float* maxima[2];
  std::uint32_t place[2], end[2];  // where a row's next survivor goes, and where its list ends; of bits: how many this thread has
  for (int h = 0; h < 2; ++h) {
    std::int64_t const own = row + 8 * h;
    bool const here = own < o.rows;
    std::int64_t const seen = here ? o.limits[own] : 0;
    if (here && o.from != nullptr) hidden = max(hidden, static_cast<int>(o.from[own]));
    if constexpr (use == Use::maxima) {
      limit[h] = static_cast<int>((seen * o.keys + o.population - 1) / o.population);  // of the sample
      maxima[h] = here ? o.maxima + own * (o.tiles * 4) : nullptr;
    } else {
      limit[h] = static_cast<int>(seen);
      bound[h] = here ? o.query_bounds[own] : QueryBound{0.0f, 0.0f};
      threshold[h] = here ? __fsub_rd(o.thresholds[own], o.underflow) : 0.0f;
      place[h] = use == Use::bits ? 0u : static_cast<std::uint32_t>((own * o.lists + list) * o.list_capacity);
      end[h] = use == Use::bits ? 0u : place[h] + static_cast<std::uint32_t>(o.list_capacity);
    }
  }
  int const whole = min(limit[0], limit[1]) / tile_keys;  // tiles that both rows see all of
  // The keys of 32 from `first_key` on that row h sees not yet.
  auto const hidden_bits = [&](int h, int first_key) {
    std::int64_t const own = row + 8 * h;
    if (o.from == nullptr || own >= o.rows) return 0u;
    std::int64_t const of_row = use == Use::maxima ? o.from[own] * o.keys / o.population : o.from[own];
    return first_bits(static_cast<int>(of_row) - first_key);
  };
  std::uint32_t const own_queries = queries + row_group * o.chunks * query_piece;
  auto const release = [&](std::uint32_t stage_empty) {
    if (lane == 0) barrier_arrive(stage_empty);
  };
  auto const pass_by = [&](int stages) {
    for (; stages > 0; --stages) {
      if (o.all_stages) {
        barrier_wait(ring.is_full(), ring.parity);
        release(ring.is_empty());
      }
      ring.next();
    }
  };
  barrier_wait(loaded, 0);
  pass_by(key_group * o.chunks);
  float s[64];
  TileBound of_tile{};
  if constexpr (use != Use::maxima) of_tile = o.key_bounds[min(begin, o.tiles - 1)];
  for (int i = 0; i < most; ++i) {
    int const tile = begin + i;
    float least[2] = {0.0f, 0.0f};
    if constexpr (use != Use::maxima) {
      for (int h = 0; h < 2; ++h) least[h] = cut(threshold[h], bound[h], of_tile);
      of_tile = o.key_bounds[min(tile + 1, o.tiles - 1)];  // in time for the next
    }
    std::uint32_t in_use = 0;
    for (int c = 0; c < o.chunks; ++c) {
      barrier_wait(ring.is_full(), ring.parity);
      std::uint64_t const a = swizzled_rows(own_queries + c * query_piece), b = swizzled_rows(ring.piece());
      products_begin();
#pragma unroll
      for (int step = 0; step < 4; ++step) add_products(s, a + 2 * step, b + 2 * step, c + step);
      products_commit();
      if (c > 0) {
        products_wait<1>();
        release(in_use);
      }
      in_use = ring.is_empty();
      ring.next();
    }
    products_wait<0>();
    release(in_use);
    int const first_key = tile * tile_keys + 32 * q;
    if constexpr (use == Use::maxima) {
      if (i < count) {
        std::uint32_t const seen[2] = {first_bits(limit[0] - first_key) & ~hidden_bits(0, first_key),
                                       first_bits(limit[1] - first_key) & ~hidden_bits(1, first_key)};
        float largest[2] = {-INFINITY, -INFINITY};
#pragma unroll
        for (int e = 0; e < 32; ++e) {
          for (int h = 0; h < 2; ++h) {
            float const x = s[4 * (e / 2) + e % 2 + 2 * h];
            largest[h] = (seen[h] >> e & 1u) != 0u ? fmaxf(largest[h], x) : largest[h];
          }
        }
        for (int h = 0; h < 2; ++h) {
          if (maxima[h] != nullptr) maxima[h][tile * 4 + q] = largest[h];
        }
      }
    } else {
      // The sign of a difference tells; the last bit comes first. Two chains a row, for the sake of latency.
      std::uint32_t below[2][2] = {};
#pragma unroll
      for (int e = 15; e >= 0; --e) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
#pragma unroll
          for (int h = 0; h < 2; ++h)
            below[h][half] = __funnelshift_l(__float_as_uint(s[4 * (8 * half + e / 2) + e % 2 + 2 * h] - least[h]), below[h][half], 1);
        }
      }
      std::uint32_t passed[2];
      for (int h = 0; h < 2; ++h) passed[h] = ~(below[h][1] << 16 | below[h][0]);
      if (tile >= whole || i >= count || tile * tile_keys < hidden) {
        for (int h = 0; h < 2; ++h) passed[h] &= i < count ? first_bits(limit[h] - first_key) & ~hidden_bits(h, first_key) : 0u;
      }
      if constexpr (use == Use::bits) {
        // Eight rows of a tile lie together.
        for (int h = 0; h < 2; ++h) {
          if (i < count && row - lane / 4 + 8 * h < o.rows) o.bits[(std::int64_t{row / 8 + h} * o.tiles + tile) * 32 + lane] = passed[h];
          place[h] += static_cast<std::uint32_t>(__popc(passed[h]));
        }
      } else if (__any_sync(~0u, (passed[0] | passed[1]) != 0u) != 0) {
        // Places in the order of keys: counts of the four threads that hold a row, both rows in one word.
        int const own = __popc(passed[0]) | __popc(passed[1]) << 16;
        int up_to = own;
        for (int step = 1; step < 4; step *= 2) {
          int const before = __shfl_up_sync(~0u, up_to, step, 4);
          if (q >= step) up_to += before;
        }
        int const all = __shfl_sync(~0u, up_to, 3, 4), before = up_to - own;
        for (int h = 0; h < 2; ++h) {
          std::uint32_t at = place[h] + static_cast<std::uint32_t>(h == 0 ? before & 0xffff : before >> 16);
          while (passed[h] != 0u) {
            int const bit = __ffs(static_cast<int>(passed[h])) - 1;
            passed[h] &= passed[h] - 1u;
            if (at < end[h]) o.survivors[at] = static_cast<std::uint32_t>(first_key + bit);
            ++at;
          }
          place[h] += static_cast<std::uint32_t>(h == 0 ? all & 0xffff : all >> 16);
        }
      }
    }
    if (key_groups == 1) continue;
    pass_by((key_groups - 1 - (i + 1 < most ? 0 : key_group)) * o.chunks);
  }
  if constexpr (use == Use::bits) {
    for (int h = 0; h < 2; ++h) {
      for (int step = 1; step < 4; step *= 2) place[h] += __shfl_xor_sync(~0u, place[h], step);
    }
  }
  if constexpr (use != Use::maxima) {
    for (int h = 0; h < 2; ++h) {
      if (q == 0 && row + 8 * h < o.rows)
        o.counts[std::int64_t{row + 8 * h} * o.lists + list] =
            static_cast<int>(place[h] - end[h]) + (use == Use::bits ? 0 : o.list_capacity);
    }
  }
}

int shared_bytes(TopKPlan const& plan) {
  return 1024 + plan.row_groups * chunks_of(plan.d) * query_piece + plan.stages * (tile_chunk_bytes + 16) + 8;
}

template <Use use>
void launch(Stream stream, TopKPlan const& plan, ScreenOperands const& operands, int splits) {
  allow_shared(screen_kernel<use>, shared_bytes(plan));
  dim3 const grid(blocks(plan.row_blocks), blocks(splits));
  screen_kernel<use><<<grid, threads, shared_bytes(plan), stream>>>(operands);
  check_launch("screen");
}

ScreenOperands operands_of(TopKPlan const& plan, TopKArguments const& arguments, Workspace const& work) {
  ScreenOperands o{};
  o.rows = plan.rows;
  o.chunks = chunks_of(plan.d);
  o.row_groups = plan.row_groups;
  o.stages = plan.stages;
  // A barrier knows the last phase alone: who skips may not fall back by more.
  o.all_stages = groups / plan.row_groups * o.chunks > o.stages;
  o.population = plan.keys;
  o.query_tiles = work.query_tiles;
  o.query_bounds = work.query_bounds;
  o.limits = arguments.limits;
  o.from = arguments.from;
  o.underflow = static_cast<float>(plan.d) * 0x1p-124f;
  return o;
}

}  // namespace

void sample_maxima(Stream stream, TopKPlan const& plan, TopKArguments const& arguments, Workspace const& work) {
  auto o = operands_of(plan, arguments, work);
  o.keys = sample_of(plan.keys);
  o.tiles = tiles_of(o.keys);
  o.key_tiles = arguments.keys.sample_tiles;
  o.maxima = work.maxima;
  int const most = o.tiles * plan.row_groups / groups;
  int const splits = plan.splits < most ? plan.splits : most > 0 ? most : 1;
  o.lists = splits * groups / plan.row_groups;
  launch<Use::maxima>(stream, plan, o, splits);
}

void screen(Stream stream, TopKPlan const& plan, TopKArguments const& arguments, Workspace const& work) {
  auto o = operands_of(plan, arguments, work);
  o.keys = plan.keys;
  o.tiles = tiles_of(o.keys);
  o.key_tiles = arguments.keys.tiles;
  o.key_bounds = arguments.keys.bounds;
  o.thresholds = plan.known ? arguments.known : work.thresholds;
  o.lists = plan.lists;
  o.survivors = work.survivors;
  o.counts = work.counts;
  o.list_capacity = plan.list_capacity;
  o.bits = work.bits;
  if (plan.by_tiles) {
    launch<Use::bits>(stream, plan, o, plan.splits);
  } else {
    launch<Use::survivors>(stream, plan, o, plan.splits);
  }
}

}  // namespace asymptop::device
