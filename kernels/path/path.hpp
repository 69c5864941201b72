// Ways of computing, one line each: what a plan, a command and a results file know of a path. What they compute is behind batch.hpp.
//
// To add a path: its line here, its verbs in a file of its own, and its maker in paths.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "../device/attention.hpp"

namespace asymptop {

/// How a path reads keys: as rows (key, column), or packed in groups (core/types.hpp).
enum class KeyLayout { rows, packed };

/// Sizes of a pass over the keys of a shard.
struct PassSize {
  double rows;     ///< of a batch
  double keep;     ///< candidates wanted of a row
  double shard;    ///< keys
  double threads;  ///< of the rank
  double tile;     ///< keys of a BLAS tile for each thread
};

/// Memory that a path takes for it, as a plan adds it up.
struct PassMemory {
  double step;        ///< keys of a step: made at once where they are not held
  double beyond;      ///< keys of memory beyond those of a shard that is held
  double parts;       ///< threads with heads and bins of their own
  double capacity;    ///< candidates of a row and part, at most
  double copied;      ///< candidates of a row that are there once more when the pass ends
  double listed;      ///< candidates' room in a row's list on its way to its owner
  double row_scores;  ///< scores and weights of a row that are held at once
};

/// What a path offers.
struct PathVerbs {
  bool scores, profile, top_k, second_pass, attention;
  bool top_k_in_pieces, attention_in_pieces;  ///< also of pieces of a sequence in any order, while messages go on
};

struct Path {
  char const* name;  ///< of `--path`, and what results record
  char const* what;  ///< for `--help`
  KeyLayout keys;
  PathVerbs verbs;
  bool scores_apart;          ///< scores are made in a phase of their own, before what takes them
  int batch_rows;             ///< batches begin at multiples of so many rows where they are cut
  int step_keys;              ///< keys of a step, at least; 0: a BLAS tile for each thread
  double quantised_bytes;     ///< a key's column once more
  char const* unavailable{};  ///< why a build or a processor has it not, and what to do
  PassMemory (*memory)(PassSize const&);
  double (*device_memory)(PassSize const&, double d){};  ///< bytes of the memory of a GPU of its own; null where it has none
  int largest_d{};                                       ///< columns that it takes, at most; 0: any
  char const* numbers{};                                 ///< the path whose numbers it makes, to the bit; null: its own
  double output_error{};  ///< relative, of outputs of normal tensors, beyond what fp32 costs; 0 where numbers are fp32's

  /// All that a study asks for.
  bool whole() const { return verbs.profile && verbs.second_pass; }
  /// What results record: paths that make the same numbers are one there.
  char const* recorded() const { return numbers != nullptr ? numbers : name; }
};

/// Keys that passes over packed keys take at a time when they are made or read anew: whole strips and leaves, few enough to stay in the
/// cache.
inline constexpr int packed_step = 31 * 512;
/// Keys that go to a GPU at a time when they are made or read anew: whole steps of the fused path, whose strips are its own.
inline constexpr int device_step = 16 * packed_step;

inline PassMemory fused_memory(PassSize const& size) {
  // Few rows share the keys of a step out among threads. Memory is touched as rows fill.
  double const panels = std::ceil(size.rows / 12.0), parts = std::max(1.0, std::floor(size.threads / panels));
  double const capacity = std::min(std::min(size.keep, size.shard) + std::max(size.keep / 2.0, 2048.0) + 528.0, size.shard);
  return {std::min<double>(size.shard, packed_step), 0.0, parts, capacity, 0.0, capacity, 0.0};
}

inline PassMemory tiled_memory(PassSize const& size) {
  double const local = std::min(size.keep, size.shard);
  double const capacity = std::min(local + std::max(size.keep / 4.0, 1024.0) + 2.0 * size.tile, size.shard);
  return {size.tile, size.tile, 1.0, capacity, local, local, 2.0 * size.tile};
}

/// Scores live in the cache between the register tile that makes them and what takes them. Hosts.
inline constexpr Path fused_path{"fused",
                                 "host kernels that keep scores in cache",
                                 KeyLayout::packed,
                                 {true, true, true, true, true, true, true},
                                 false,
                                 1,
                                 packed_step,
                                 0.0,
                                 "is not part of this build or needs AVX2 and FMA; use auto or blas-tile",
                                 fused_memory};

/// Top-k alone: 8-bit products decide which keys are scored in fp32. Hosts.
inline constexpr Path screened_path{"screened",
                                    "8-bit products first",
                                    KeyLayout::packed,
                                    {false, false, true, false, false, false, false},
                                    false,
                                    1,
                                    packed_step,
                                    1.0,
                                    "is not part of this build or needs AVX2 and FMA; use auto or blas-tile",
                                    fused_memory};

/// Tiles of scores in memory, by BLAS, and portable kernels over them. Any space.
/// OpenBLAS' kernels for AVX2 round a row of a product by its place among twelve: batches begin at multiples of 24, so that a row's place
/// does not depend on them.
inline constexpr Path tiles_path{"blas-tile", "portable", KeyLayout::rows, {true, true, true, true, true, false, false}, true, 24, 0,
                                 0.0,         "",         tiled_memory};

/// Heads alone are held on the host.
inline PassMemory device_pass_memory(PassSize const& size) {
  double const local = std::min(size.keep, size.shard), step = std::min<double>(size.shard, device_step);
  return {step, 0.0, 1.0, local, local, local, 0.0};
}

/// Keys in fp32, packed and as rows, and values; keys in bf16 and a sample of them; a gigabyte of scores; survivors of every row, five for
/// a candidate wanted and some; scores of a large chunk, or scores and weights of a small one.
inline double device_bytes(PassSize const& size, double d) {
  double const columns = std::ceil(d / 64.0) * 64.0, keep = std::min(size.keep, size.shard);
  return size.shard * (12.0 * d + 2.2 * columns) + std::max(1.1e9, 4.0 * size.shard) + size.rows * (56.0 * keep + 1e5) + 12.0 * 1.4e8 +
         1.1e9;
}

#ifdef ASYMPTOP_DEVICE
inline constexpr char const* no_device = "finds no GPU of compute capability 9.0 here; use auto, fused or blas-tile";
#else
inline constexpr char const* no_device =
    "is not part of this program, which was built without -DASYMPTOP_DEVICE=ON; use auto, fused or blas-tile";
#endif

/// The fused path's numbers on a GPU. Products of bf16 numbers on tensor cores, with proven bounds, decide which keys are scored in fp32
/// for top-k; profiles and the second pass score all.
inline constexpr Path device_path{"device",
                                  "the numbers of fused, to the bit, on a GPU",
                                  KeyLayout::packed,
                                  {false, true, true, true, true, false, true},
                                  false,
                                  1,
                                  device_step,
                                  0.0,
                                  no_device,
                                  device_pass_memory,
                                  device_bytes,
                                  1024,
                                  fused_path.name};

/// Attention as inference engines compute it, to compare its speed and error with. Rounding to 8 bits leaves errors that are independent of
/// one another where tensors are: outputs are off by some 2^-8.
inline constexpr Path bfloat_path = [] {
  auto path = device_path;
  path.name = "device-bf16";
  path.what = "tensors and weights rounded to bf16 on a GPU";
  path.verbs = {false, false, false, false, true, false, false};
  path.largest_d = device::most_attention_columns;
  path.numbers = nullptr;
  path.output_error = 0x1p-6;
  return path;
}();

/// All paths, in the order in which options name them.
inline constexpr std::array<Path const*, 5> all_paths{&fused_path, &screened_path, &tiles_path, &device_path, &bfloat_path};

/// Null for a name that none has.
inline Path const* find_path(std::string_view name) {
  auto const at = std::find_if(all_paths.begin(), all_paths.end(), [&](Path const* path) { return name == path->name; });
  return at == all_paths.end() ? nullptr : *at;
}

}  // namespace asymptop
