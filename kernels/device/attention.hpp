// Exact attention on a GPU (compute capability 9.0) at fp32's accuracy by products of fp16 numbers on tensor cores.
//
// Every number x is two fp16 numbers, x = 2^e (x1 + x2) with x1 = fp16(2^-e x) and x2 = fp16(2^-e x - x1), where 2^e, one for a tile of
// keys or values or for a query row, brings its largest number into [2^14, 2^15). What x1 + x2 misses of 2^-e x is at most 2^-22 of it, or
// 2^-25 where x2 is subnormal, that is 2^-39 of the tile's largest number. Of the four products of two such pairs, x2 y2 is left out: 2^-22
// of the product. A weight e^{sigma s - M}, M no less than sigma s for all keys so far, is 2^-14 (p1 + p2) likewise.
//
// Outputs of normal tensors are right to 2e-6 for d <= 128 and to 4e-6 beyond: scores are sums of 3 d / 16 products of the tensor core, for
// d > 256 those of sums of 36, added in fp32 (test_device_attention.cpp).
//
// The tensor core's own sums lose digits as they grow (a relative 2e-4 was measured over 2^20 keys): sums over the keys of a tile begin
// at zero and are added to the row's in fp32. A unit, a run of tiles at a place that depends on the sequence alone, leaves M, Z = sum of
// weights and O = sum of weight * v for each row; units become nodes of one fixed binary tree over the sequence, by the operations of
// attend/softmax_tree.hpp. So the bits depend on the unit's length and on nothing else: neither on how rows are batched nor on how keys are
// cut into steps and shards.
//
// Beside it, for comparison, the same with numbers rounded to bf16 and one product of two, as inference engines compute attention: a score
// is off by some 2^-7 sum |q_c k_c| at most, weights and values by 2^-8 of themselves; sums are fp32 as above.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "top_k.hpp"

namespace asymptop::device {

/// Largest d, that of DeepSeek's latent attention; errors are measured up to it.
inline constexpr int most_attention_columns = 576;
/// Keys of a unit: a power of two in this range.
inline constexpr std::int64_t least_unit = 1024, most_unit = 8192;

/// What tensors are multiplied as: pairs of fp16 numbers, which have fp32's accuracy, or bf16 numbers. fp32: not on tensor cores.
enum class Numbers { fp32, half_pairs, bfloat16 };
/// 16-bit numbers for one of a tensor.
constexpr int parts_of(Numbers numbers) { return numbers == Numbers::bfloat16 ? 1 : 2; }
/// Bytes of 64 columns of a tile.
constexpr int split_piece_bytes(Numbers numbers) { return parts_of(numbers) * tile_chunk_bytes; }

/// Keys (count, d) and values (count, d) as pairs of fp16 numbers, or as bf16 numbers x1, in the layout that wgmma reads.
struct SplitTensors {
  Numbers numbers;
  std::int64_t count;
  int d;
  unsigned char* keys;    ///< (tiles, key pieces): 128 keys x 64 columns, x1 then x2
  unsigned char* values;  ///< (tiles, value pieces): 64 columns x 128 keys, x1 then x2, each in two halves of 64 keys
  float* key_scales;      ///< (tiles): 2^e; 1 for bf16
  float* value_scales;    ///< (tiles)
};
/// Value pieces of a block, which makes its rows' scores anew: as many as there are registers for.
inline int block_pieces(int d) { return d <= chunk_columns ? 1 : d <= 4 * chunk_columns ? 2 : 3; }
/// Pieces of a tile's values, in whole blocks.
inline int value_pieces(int d) { return (chunks_of(d) + block_pieces(d) - 1) / block_pieces(d) * block_pieces(d); }
/// Columns of a tile's values, with those that no value has.
inline int split_columns(int d) { return value_pieces(d) * chunk_columns; }
inline std::size_t split_key_bytes(Numbers numbers, std::int64_t count, int d) {
  return std::int64_t{tiles_of(count)} * chunks_of(d) * split_piece_bytes(numbers);
}
inline std::size_t split_value_bytes(Numbers numbers, std::int64_t count, int d) {
  return std::int64_t{tiles_of(count)} * value_pieces(d) * split_piece_bytes(numbers);
}

/// Makes to.numbers of keys, in whole packed groups of 32 (core/pack_keys.hpp), and of values (count, d). Without waiting.
void split_tensors(Stream stream, float const* packed_keys, float const* values, SplitTensors const& to);

/// The keys of a step in device memory.
struct KeysOnDevice {
  float const* packed;  ///< whole groups of 32: [group][column][key]
  ScreenKeys screen;    ///< with tiles and rows where they are wanted
  float const* values;  ///< (count, d), or null
  SplitTensors split;   ///< with keys and values where they are wanted
};

/// What units and their ancestors hold of each row.
struct AttentionNodes {
  float* max;     ///< (rows, units): M; -inf where a row sees nothing
  float* weight;  ///< (rows, units): Z
  int* seen;      ///< (rows, units): keys that went in
  float* values;  ///< (rows, units, d): O; as it was where Z = 0
  int rows, units, d;
};

/// Sizes of one call.
struct AttentionPlan {
  Numbers numbers;
  int rows, d, units, unit;
  int row_blocks, splits;                ///< blocks along rows and along units
  int stages;                            ///< pieces in flight
  std::size_t query_bytes, scale_bytes;  ///< of query tiles and of their rows' scales
};
AttentionPlan plan_attention(Numbers numbers, int rows, std::int64_t keys, int d, int unit, int multiprocessors);

/// Operands, in device memory; fewer than 2^31 - 128 keys. Keys are counted from the first one of the step, which begins a unit.
struct AttentionArguments {
  float const* queries;               ///< (rows, d)
  std::int64_t const *limits, *from;  ///< (rows): the keys [from, limit) that a row sees; from null: 0
  float sigma;                        ///< factor of the scores
  SplitTensors keys;
  unsigned char* query_tiles;  ///< plan.query_bytes
  float* query_scales;         ///< plan.scale_bytes
  AttentionNodes nodes;
};
/// Sums of all units. Without waiting.
void attend_units(Stream stream, AttentionPlan const& plan, AttentionArguments const& arguments);

/// Siblings become their parent, in place of the left one, until none are left: unit u of the call has number first_unit + u. open_end: no
/// keys come after these, so a parent whose right half is not all there, or not at all, is made nevertheless. Without waiting.
void join_units(Stream stream, AttentionNodes const& nodes, std::int64_t first_unit, bool open_end);

/// Calls take(unit, level) for the subtrees that join_units() leaves, in order: 2^level units from `unit` of the call on.
template <class Take>
void visit_nodes(std::int64_t first_unit, std::int64_t units, bool open_end, Take const& take) {
  for (std::int64_t u = 0; u < units;) {
    int level = 0;
    for (;; ++level) {
      std::int64_t const twice = std::int64_t{2} << level;
      if ((first_unit + u) % twice != 0 || (u + twice > units && !open_end) || twice / 2 >= units - u) break;
    }
    take(u, level);
    u += std::int64_t{1} << level;
  }
}
/// Copies the node of units [unit, end) to `to`, which has one unit. Keys seen are summed over these. Without waiting.
void take_node(Stream stream, AttentionNodes const& nodes, int unit, int end, AttentionNodes const& to);
/// `left`, of one unit, and its later neighbour become one node in its place. Without waiting.
void join_nodes(Stream stream, AttentionNodes const& left, AttentionNodes const& right);
/// Outputs O / Z of nodes of one unit, (rows, d), the quotient of fp64 numbers rounded to fp32. Without waiting.
void attention_outputs(Stream stream, AttentionNodes const& nodes, float* outputs);

}  // namespace asymptop::device
