// The fp32 scores of what passed the screen where most tiles of keys have survivors of every row: tiles of keys pass through shared memory
// once for 256 rows, instead of a key for each survivor.
//
// A warp has eight rows, whose queries stay in shared memory. Survivors of a tile queue up and are scored 32 at a time, a thread each; what
// is left waits for the next tile. Shared memory reads 16 bytes for each of eight threads at once if the keys' numbers differ modulo 8, so
// the 32 are dealt out again: the first of each remainder, the second of each, and so on.
#include "arithmetic.cuh"
#include "common.cuh"
#include "tensor_core.cuh"

namespace asymptop::device {
namespace {

constexpr int warps = 32, threads = 32 * warps, warp_rows = 8, block_rows = warps * warp_rows, warp_keys = tile_keys / warps;
constexpr int ring_tiles = 4;  // in shared memory: one that is being scored, one that survivors wait from, two on their way
constexpr int queue_room = 64;

/// Floats of a row in shared memory: an odd number of 16 bytes, so that eight rows on end lie in all banks.
__host__ __device__ constexpr int padded_columns(int d) { return (d / 4 | 1) * 4; }

struct TileScoreOperands {
  float const *queries, *keys;
  int rows, d, lists, tiles;
  std::int64_t count;  ///< keys
  double softcap;
  std::uint32_t const* bits;
  int const* counts;
  RowCandidates out;
};

constexpr std::size_t shared_bytes(int d) {
  return (block_rows + ring_tiles * tile_keys) * padded_columns(d) * sizeof(float) + warps * (queue_room + 32) * sizeof(std::uint32_t) +
         ring_tiles * 2 * sizeof(std::uint64_t);
}

/// A survivor in a queue: where its score goes in the row's candidates, its row of the warp, the tile's place in the ring, the key there.
struct Waiting {
  std::uint32_t word;
  static constexpr std::uint32_t next_place = 1u << 12;
  __device__ static std::uint32_t of(int to, int row, int place, int key) {
    return static_cast<std::uint32_t>(to) * next_place | static_cast<std::uint32_t>(row << 9 | place << 7 | key);
  }
  __device__ int to() const { return static_cast<int>(word / next_place); }
  __device__ int row() const { return static_cast<int>(word >> 9 & 7u); }
  __device__ int place() const { return static_cast<int>(word >> 7 & 3u); }
  __device__ int key() const { return static_cast<int>(word & 127u); }
};
static_assert(ring_tiles == 4 && tile_keys == 128 && block_sort_most + tile_keys < 1 << 20);

/// Where the thread with a number of three bits goes among those that are `there`: first one of each number, then the second of each.
__device__ int dealt_out(int number, bool there) {
  unsigned const all = __ballot_sync(~0u, there), below = (1u << thread_index() % 32) - 1u;
  unsigned alike = all;
#pragma unroll
  for (int bit = 0; bit < 3; ++bit) {
    unsigned const set = __ballot_sync(~0u, (number >> bit & 1) != 0);
    alike &= (number >> bit & 1) != 0 ? set : ~set;
  }
  // Its turn among those alike, and all turns as bits: four turns of eight in a word.
  int const turn = __popc(alike & below), place = turn % 4 * 8 + number;
  int before = 0;
#pragma unroll 1
  for (int word = 0; word < 8; ++word) {
    unsigned const turns = __reduce_or_sync(~0u, there && turn / 4 == word ? 1u << place : 0u);
    if (turns == 0u) break;
    before += turn / 4 > word ? __popc(turns) : turn / 4 == word ? __popc(turns & ((1u << place) - 1u)) : 0;
  }
  return before;
}

/// Block (row block, list). columns: of keys, where they are known beforehand; 0: they are not.
template <int columns, bool capped>
__global__ void __launch_bounds__(threads, 1) score_by_tiles(TileScoreOperands const o) {
  extern __shared__ float4 shared4[];
  int const d = columns > 0 ? columns : o.d, parts = d / 4, stride = padded_columns(d);
  int const thread = thread_index(), lane = thread % 32, warp = __shfl_sync(~0u, thread / 32, 0);
  auto* const q = reinterpret_cast<float*>(shared4);
  float *const ring = q + block_rows * stride, *const own_queries = q + warp * warp_rows * stride;
  auto* const all_queues = reinterpret_cast<std::uint32_t*>(ring + ring_tiles * tile_keys * stride);
  std::uint32_t *const queue = all_queues + warp * (queue_room + 32), *const dealt = queue + queue_room;
  std::uint32_t const full = shared_address(all_queues + warps * (queue_room + 32)), empty = full + ring_tiles * 8;
  int const list = block_y(), first_row = block_x() * block_rows, own_first = first_row + warp * warp_rows;
  auto const begin_of = [&](int l) { return static_cast<int>(std::int64_t{l} * o.tiles / o.lists); };
  int const begin = begin_of(list), count = begin_of(list + 1) - begin;
  // A warp fetches its part of a tile.
  auto const fetch = [&](int i) {
    int const place = i % ring_tiles, first_key = warp * warp_keys;
    std::int64_t const first = std::int64_t{begin + i} * tile_keys + first_key;
    int const all = static_cast<int>(max(min(std::int64_t{warp_keys}, o.count - first), std::int64_t{0})) * parts;
    float const* const from = o.keys + first * d;
    float* const to = ring + (place * tile_keys + first_key) * stride;
#pragma unroll 2
    for (int p = lane; p < all; p += 32) copy_part<16>(to + p / parts * stride + p % parts * 4, from + p * 4);
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(full + place * 8) : "memory");
  };
  if (thread < ring_tiles) {
    barrier_init(full + thread * 8, threads);
    barrier_init(empty + thread * 8, threads);
  }
  for (int i = thread; i < block_rows * parts; i += threads) {
    int const row = i / parts, part = i % parts;
    float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (first_row + row < o.rows) x = reinterpret_cast<float4 const*>(o.queries + std::int64_t{first_row + row} * d)[part];
    reinterpret_cast<float4*>(q + row * stride)[part] = x;
  }
  __syncthreads();
  for (int i = 0; i < min(ring_tiles, count); ++i) fetch(i);
  // Where this list's survivors of a row begin among all of it: known to the four threads of each row.
  int next = 0;
#pragma unroll 1
  for (int r = 0; r < warp_rows && own_first + r < o.rows; ++r) {
    int const* const counts = o.counts + std::int64_t{own_first + r} * o.lists;
    int before = 0, all = 0;
#pragma unroll 1
    for (int l = lane; l < o.lists; l += 32) {
      all += counts[l];
      if (l < list) before += counts[l];
    }
    all = __reduce_add_sync(~0u, all);
    before = __reduce_add_sync(~0u, before);
    if (lane / 4 == r) next = before;
    if (list == 0 && lane == 0) o.out.count[own_first + r] = all <= o.out.capacity ? all : -1;
  }
  unsigned const below = (1u << lane) - 1u;  // of a warp's threads
  unsigned head = 0, tail = 0;
  int tile = 0, fetched = min(ring_tiles, count);
  auto const reached = [&](std::uint32_t barriers, int i) {
    return __all_sync(~0u, barrier_reached(barriers + i % ring_tiles * 8, i / ring_tiles & 1)) != 0;
  };
  // Its part of the next tile, if all are done with the one in its place.
  auto const fetch_more = [&]() {
    int const gone = fetched - ring_tiles;
    if (fetched >= count || gone >= tile || !reached(empty, gone)) return;
    fetch(fetched++);
  };
  // The next 32 in the queue, or all that are there.
  auto const take = [&]() {
    bool const here = static_cast<int>(tail - head) > lane;
    std::uint32_t const mine = here ? queue[(head + lane) % queue_room] : 0u;
    int const place = dealt_out(static_cast<int>(mine & 7u), here);
    if (here) dealt[place] = mine;
    __syncwarp();
    Waiting const own{here ? dealt[lane] : 0u};
    float const *k = ring + (own.place() * tile_keys + own.key()) * stride, *x = own_queries + own.row() * stride;
    float score = 0.0f;
#pragma unroll(columns > 0 ? columns / 4 : 4)
    for (int c = 0; c < d; c += 4) {
      float4 const a = *reinterpret_cast<float4 const*>(x + c), b = *reinterpret_cast<float4 const*>(k + c);
      score = fmaf(a.x, b.x, score);
      score = fmaf(a.y, b.y, score);
      score = fmaf(a.z, b.z, score);
      score = fmaf(a.w, b.w, score);
    }
    if (here && own.to() < o.out.capacity) {
      std::int64_t const to = std::int64_t{own_first + own.row()} * o.out.capacity + own.to();
      if constexpr (capped) score = softcapped(score, o.softcap);
      o.out.bits[to] = ordered(score);
      o.out.index[to] = static_cast<std::uint32_t>((begin + tile - ((tile - own.place()) & (ring_tiles - 1))) * tile_keys + own.key());
    }
    head = static_cast<int>(tail - head) > 32 ? head + 32 : tail;
    __syncwarp();
  };
  bool const has_rows = own_first < o.rows;
  std::uint32_t const* const own_bits = o.bits + (std::int64_t{own_first / warp_rows} * o.tiles + begin) * 32 + lane;
  std::uint32_t coming = has_rows && count > 0 ? own_bits[0] : 0u;
  for (; tile < count; ++tile) {
    std::uint32_t left = coming;
    coming = has_rows && tile + 1 < count ? own_bits[(tile + 1) * 32] : 0u;
    int const place = tile % ring_tiles;
    // Places in the order of keys, for four threads of a row.
    int const own = __popc(left);
    int up_to = own;
    for (int step = 1; step < 4; step *= 2) {
      int const other = __shfl_up_sync(~0u, up_to, step, 4);
      if (lane % 4 >= step) up_to += other;
    }
    // What a row has no room for is counted alone.
    std::uint32_t waiting = Waiting::of(min(next, o.out.capacity) + up_to - own, lane / 4, place, lane % 4 * 32);
    next += __shfl_sync(~0u, up_to, 3, 4);
    while (!reached(full, tile)) fetch_more();
    unsigned const before = tail;
    while (true) {
      unsigned const wanting = __ballot_sync(~0u, left != 0u);
      if (wanting == 0u) break;
      if (left != 0u) {
        queue[(tail + __popc(wanting & below)) % queue_room] = waiting + static_cast<std::uint32_t>(__ffs(static_cast<int>(left)) - 1);
        left &= left - 1u;
        waiting += Waiting::next_place;
      }
      tail += static_cast<unsigned>(__popc(wanting));
      __syncwarp();
      if (tail - head >= 32u) take();
    }
    // What waited from the tile before must go.
    while (static_cast<int>(before - head) > 0) take();
    if (tile > 0) barrier_arrive(empty + (tile - 1) % ring_tiles * 8);
    fetch_more();
  }
  --tile;
  while (tail != head) take();
}

}  // namespace

void score_survivors_by_tiles(Stream stream, TopKPlan const& plan, TopKArguments const& arguments, Workspace const& work) {
  TileScoreOperands const o{
      arguments.queries, arguments.keys.rows, plan.rows, plan.d,      plan.lists,     static_cast<int>(tiles_of(plan.keys)),
      plan.keys,         arguments.softcap,   work.bits, work.counts, work.candidates};
  static_assert(shared_bytes(tile_score_most_columns) <= 227 * 1024);
  auto* const kernel = o.softcap > 0.0 ? score_by_tiles<0, true> : plan.d == 64 ? score_by_tiles<64, false> : score_by_tiles<0, false>;
  allow_shared(kernel, shared_bytes(plan.d));
  kernel<<<dim3(blocks(plan.rows, block_rows), blocks(plan.lists)), threads, shared_bytes(plan.d), stream>>>(o);
  check_launch("scores of survivors by tiles");
}

}  // namespace asymptop::device
