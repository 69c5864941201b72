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
void score_survivors(Stream stream, TopKPlan const& plan, TopKArguments const& arguments, Workspace const& work);
/// Sorts candidates of `rows` rows and writes heads; row r's go to row `list[r]` of the heads (r itself where list is null). thresholds:
/// counts of rows whose last head does not reach theirs become negative; null: none are asked for.
void sort_heads(Stream stream, TopKPlan const& plan, TopKArguments const& arguments, Workspace const& work, RowCandidates const& candidates,
                int const* list, int rows, float const* thresholds);
/// Candidates of rows list[0 .. rows) out of all of their keys.
void score_in_full(Stream stream, TopKPlan const& plan, TopKArguments const& arguments, Workspace const& work, int const* list, int rows);
/// Bytes that a sort of heads in global memory needs beside its operands; 0 where blocks sort.
std::size_t sort_bytes_of(int rows, int keep);
/// Longest list that one block sorts.
inline constexpr int block_sort_most = 24576;

}  // namespace asymptop::device
