// Certified top-k on a GPU (compute capability 9.0, tensor cores): which kernels there are, and what they ask for. Heads are those of the
// fused host path, to the bit.
//
// Keys and queries are rounded to bf16, k' and q'; rho = k - k' and phi = q - q' are what rounding left, exactly. Let u = 2^-24, s the fp32
// score, a chain of d fused multiply-adds (score/panel.hpp), and D what the tensor core makes of q' . k'. Then
//
//   q . k = q' . k' + phi . k' + q . rho
//   |s - q . k|   <= gamma_d ||q|| ||k|| + d 2^-149              gamma_d = d u / (1 - d u)      (score/quantised.hpp)
//   |D - q' . k'| <= delta_d ||q'|| ||k'|| + d 2^-125            delta_d = d 2^-21
//
// so that s <= D + F N + A E + eta for every key of a tile of 128, with
//
//   A >= (1 + gamma_d) ||q||,  F >= ||phi|| + delta_d (||q|| + ||phi||) + gamma_d ||q||,  eta = d 2^-124,
//   N and E the largest ||k'|| and ||rho|| of the tile.
//
// delta_d: the PTX ISA promises that a wgmma with an fp32 accumulator multiplies bf16 numbers and adds the products with at least single
// precision, in any order. Whatever the order, each of at most d + d / 4 additions has operands of at most sum |q'_c k'_c| <= ||q'|| ||k'||
// (1 + small); truncated to 24 bits of the largest of them it loses at most 2^-23 of that, twice where the result is aligned and then
// normalised: 2.5 d 2^-23 < d 2^-21. Test DeviceTopK.ProductsKeepTheirBound measures it. Numbers below 2^-126 are made zero when they are
// rounded (rho and phi then hold all of them), and a product or a sum that is flushed to zero loses 2^-126 at most: d 2^-125 in all.
//
// A key with s >= T has D >= T - eta - (F N + A E), computed with directed rounding towards letting more through. Where ||q|| ||k|| could
// reach 2^125 nothing is claimed and all keys of the tile pass. All norms are made in fp64, and rounded up.
//
// T is a guess from a sample of keys. Survivors are scored by the chain itself; if the k-th best of them reaches T, no key that was left
// out can be among the k best, for its s < T. Rows for which it does not, or with more survivors than there is room for, are scored in
// full (dense.cu). Where T is known, as the k-th score of keys that came before, all survivors are wanted, however few. So the result never
// depends on the guess. Survivors lie in the order of keys, by counting, not by atomic appends: the
// bytes of every run are the same.
//
// Under a softcap survivors are capped after they were screened by s. A capped score is that of a function that grows with s, to a relative
// error of 1e-9 where |capped| > 1e-6 cap (score/softcap.hpp), rounded: a key with s < T has at most the fp32 number after that of T. So
// the k-th best capped score has to reach the second after it; where T is smaller than that, nothing is claimed.
#pragma once

#include <cstddef>
#include <cstdint>

struct CUstream_st;

namespace asymptop::device {

using Stream = CUstream_st*;  ///< cudaStream_t, without its header

inline constexpr int tile_keys = 128;     ///< keys of a tile of the bf16 copy
inline constexpr int chunk_columns = 64;  ///< columns that lie together in it: 128 bytes
inline constexpr int tile_chunk_bytes = tile_keys * chunk_columns * 2;
inline constexpr int query_tile = 64;      ///< query rows of a tile
inline constexpr int most_columns = 1024;  ///< largest d
inline constexpr std::int64_t most_sampled = 65536;

/// What certifies a tile of keys; see the top of this file.
struct TileBound {
  float residual;  ///< E
  float norm;      ///< N
};

inline std::int64_t tiles_of(std::int64_t keys) { return (keys + tile_keys - 1) / tile_keys; }
inline int chunks_of(int d) { return (d + chunk_columns - 1) / chunk_columns; }
/// Keys of the sample of n.
inline std::int64_t sample_of(std::int64_t n) { return (n / 16 < most_sampled ? n / 16 : most_sampled) / tile_keys * tile_keys; }

/// Keys in device memory: rows (n, d) in fp32, and what make_screen_keys() makes of them once.
struct ScreenKeys {
  std::int64_t count;
  int d;
  float const* rows;
  unsigned char* tiles;         ///< tiles_bytes(count)
  TileBound* bounds;            ///< (tiles_of(count))
  unsigned char* sample_tiles;  ///< tiles_bytes(sample_of(count))
  TileBound* sample_bounds;     ///< (tiles_of(sample_of(count)))

  std::size_t tiles_bytes(std::int64_t keys) const { return std::int64_t{tiles_of(keys)} * chunks_of(d) * tile_chunk_bytes; }
};

/// Rounds keys into tiles, with their bounds, and a sample of evenly spaced ones.
void make_screen_keys(Stream stream, ScreenKeys const& keys);

/// Sizes of one top-k, all functions of the case and the device alone.
struct TopKPlan {
  int rows, d, keep;
  std::int64_t keys;
  bool screened;      ///< else every row is scored in full
  int row_groups;     ///< query tiles of a block: 1, 2 or 4
  int row_blocks;     ///< blocks along rows
  int splits;         ///< blocks along keys
  int lists;          ///< of each row, by key
  int list_capacity;  ///< survivors of one list
  int row_capacity;   ///< survivors of a row; `keep` where not screened
  int sample_rank;    ///< T is so great a maximum of groups of the sample
  int stages;         ///< tiles in flight
  bool by_tiles;      ///< survivors are bits, and scored tile by tile of keys; else lists, scored row by row
  int dense_rows;     ///< rows that are scored in full at once
  bool known;         ///< T is given
  std::size_t bytes;  ///< of workspace
};
/// seen: keys that came before, whose k-th scores are T; 0: T is guessed. Throws std::invalid_argument for more than most_columns columns
/// or 2^31 keys.
TopKPlan plan_top_k(int rows, std::int64_t keys, int d, int keep, int multiprocessors, std::int64_t seen = 0);

/// Operands of one top-k, in device memory.
struct TopKArguments {
  float const* queries;        ///< (rows, d)
  std::int64_t const* limits;  ///< (rows): keys that a row sees, at most keys.count
  ScreenKeys keys;
  unsigned char* workspace;  ///< plan.bytes, aligned to 1024
  std::uint64_t* heads;  ///< (rows, keep): PackedCandidate, best first; 0 past min(keep, limit - from), or past those that reach a known T
  std::int64_t const* from = nullptr;  ///< (rows): keys at the start that a row does not see; null: none
  double softcap = 0.0;                ///< of the scores; 0: none
  float const* known = nullptr;        ///< (rows): T, where the plan has it known
};

/// Puts the heads of all rows into `heads`. Returns how many rows had to be scored in full. Waits for the stream once or more.
int top_k(Stream stream, TopKPlan const& plan, TopKArguments const& arguments);

/// The first part of it alone, without waiting: thresholds, screen, scores of survivors, selection; for those who time it.
void screened_top_k(Stream stream, TopKPlan const& plan, TopKArguments const& arguments);
/// The second: rows that the first part could not certify. Returns how many there were.
int complete_top_k(Stream stream, TopKPlan const& plan, TopKArguments const& arguments);

}  // namespace asymptop::device
