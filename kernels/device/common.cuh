// What the device kernels share: places in the workspace, error checks, ordered bits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "top_k.hpp"

namespace asymptop::device {

inline void check(cudaError_t error, char const* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(error));
}
inline void check_launch(char const* what) { check(cudaGetLastError(), what); }

/// Blocks of a grid for `count` things, `each` in a block. Throws std::length_error for more than a grid has.
inline unsigned blocks(std::int64_t count, std::int64_t each = 1) {
  std::int64_t const wanted = (count + each - 1) / each;
  if (wanted > 0x7fffffff) throw std::length_error("CUDA: a grid of " + std::to_string(wanted) + " blocks");
  return static_cast<unsigned>(wanted);
}

// A thread's place in its block and its block's in the grid, as numbers to compute with: CUDA's own are unsigned.
__device__ inline int thread_index() { return static_cast<int>(threadIdx.x); }
__device__ inline int block_x() { return static_cast<int>(blockIdx.x); }
__device__ inline int block_y() { return static_cast<int>(blockIdx.y); }
__device__ inline int block_z() { return static_cast<int>(blockIdx.z); }

/// Adds to an integer that others add to as well.
__device__ inline void add_integer(std::int64_t* to, std::int64_t value) {
  atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
}

/// Lets a kernel have so many bytes of shared memory.
template <class Kernel>
void allow_shared(Kernel* kernel, std::size_t bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)), "shared memory");
}

/// Query tiles and what certifies their rows.
struct QueryBound {
  float size;      ///< A
  float residual;  ///< F
};

/// Survivors of a row, in the order of keys, or the candidates that a row scored in full has.
struct RowCandidates {
  std::uint32_t* bits;   ///< (rows, capacity): ordered bits of scores
  std::uint32_t* index;  ///< (rows, capacity)
  int* count;            ///< (rows); negative: not certified
  int capacity;
};

/// The workspace, cut up.
struct Workspace {
  unsigned char* query_tiles;
  QueryBound* query_bounds;  ///< (padded rows)
  float* thresholds;         ///< (padded rows): T
  float* maxima;             ///< (padded rows, sample / 32)
  std::uint32_t* survivors;  ///< (rows, lists, list_capacity)
  int* counts;               ///< (rows, lists)
  std::uint32_t* bits;       ///< (padded rows / 8, tiles, 8, 4): survivors of 32 keys each, where they are scored by tiles
  RowCandidates candidates;
  int* dense_list;                 ///< (rows) rows to score in full
  float* dense_scores;             ///< (dense_rows, keys)
  RowCandidates dense_candidates;  ///< of dense_rows rows
  RowCandidates sorted;            ///< of dense_rows rows, where a head is too long for one block
  unsigned char* sort_space;
  std::size_t sort_bytes;
  std::size_t bytes;

  Workspace(TopKPlan const& plan, unsigned char* base);
};

/// Bits of an fp32 number, ordered as numbers are, -0 as +0; as core/candidate.hpp.
__device__ inline std::uint32_t ordered(float x) {
  std::uint32_t const bits = __float_as_uint(x + 0.0f);
  return (bits & 0x80000000u) != 0u ? ~bits : bits | 0x80000000u;
}
__device__ inline float from_ordered(std::uint32_t bits) {
  return __uint_as_float((bits & 0x80000000u) != 0u ? bits & 0x7fffffffu : ~bits);
}

inline int padded_rows(int rows) { return (rows + query_tile - 1) / query_tile * query_tile; }

// Launchers of the steps, one file each.
void make_query_tiles(Stream stream, TopKPlan const& plan, float const* queries, Workspace const& work);
void sample_maxima(Stream stream, TopKPlan const& plan, TopKArguments const& arguments, Workspace const& work);
void set_thresholds(Stream stream, TopKPlan const& plan, Workspace const& work);
void screen(Stream stream, TopKPlan const& plan, TopKArguments const& arguments, Workspace const& work);
void score_survivors_by_tiles(Stream stream, TopKPlan const& plan, TopKArguments const& arguments, Workspace const& work);
void score_survivors(Stream stream, TopKPlan const& plan, TopKArguments const& arguments, Workspace const& work);
/// Sorts candidates of `rows` rows and writes heads; row r's go to row `list[r]` of the heads (r itself where list is null). thresholds:
/// counts of rows whose last head does not reach theirs become negative; null: none are asked for.
void sort_heads(Stream stream, TopKPlan const& plan, TopKArguments const& arguments, Workspace const& work, RowCandidates const& candidates,
                int const* list, int rows, float const* thresholds);
/// Candidates of rows list[0 .. rows) out of all of their keys.
void score_in_full(Stream stream, TopKPlan const& plan, TopKArguments const& arguments, Workspace const& work, int const* list, int rows);
/// Bytes that a sort of heads in global memory needs beside its operands; 0 where blocks sort.
std::size_t sort_bytes_of(int rows, int keep);
/// Most columns that survivors are scored of by tiles of keys.
inline constexpr int tile_score_most_columns = 68;
/// Longest list that one block sorts.
inline constexpr int block_sort_most = 24576;

}  // namespace asymptop::device
