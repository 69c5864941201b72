// The verbs of a path: what is done with a batch of query rows, step by step along keys that are at hand.
#pragma once

#include <Kokkos_Core.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <variant>
#include <vector>

#include "../attend/second_pass.hpp"
#include "../attend/softmax_tree.hpp"
#include "../core/candidate.hpp"
#include "../core/key_ranges.hpp"
#include "../device/attention.hpp"
#include "../device/heads.hpp"
#include "../profile/score_bins.hpp"
#include "../score/key_tile.hpp"
#include "../score/panel.hpp"
#include "../score/quantised.hpp"
#include "../score/score_tile.hpp"
#include "../topk/row_heads.hpp"
#include "path.hpp"

namespace asymptop {

class DeviceNodes;

/// Sizes of the tiles that a rank works in.
struct TileSizes {
  int blas;  ///< keys of one BLAS call; a function of the block length alone
  int pass;  ///< keys of one step of a pass: a BLAS tile for each thread
};

template <class Space>
TileSizes tile_sizes(Space const& space, GlobalIndex block) {
  int const blas = tile_keys(block);
  return {blas, blas * tiles_per_step(space)};
}

/// A batch of query rows.
struct PathRows {
  int rows = 0, d = 0;
  float const* queries = nullptr;  ///< (rows, d), on the host; read while a path is made
  KeyRanges ranges{};              ///< (rows): keys of the shard that each row sees
  BinGrid grid{};
  std::vector<int> first_bin;  ///< (rows), as RowProfile's; none where no profile is asked for
  int tile = 0;                ///< rows that are cut into panels together; 0: all
  double softcap = 0.0;        ///< as PackedQueries's
  Alibi alibi{};               ///< of the rows, on fused and blas-tile paths; places are counted from the shard's first key
};

/// Keys [first, first + count) of a shard, and what else the pass wants of them.
template <class Space>
struct KeyStep {
  LocalIndex first;
  int count;
  int padded;                           ///< keys with the zeros after them
  KeyTile keys;                         ///< in the path's layout
  Matrix<Space, float> values;          ///< (padded, d)
  QuantisedKeys quantised = {};         ///< of packed keys
  device::KeysOnDevice on_device = {};  ///< the step's keys in the memory of a GPU, and its values where they are wanted
  /// Makes (first, count) of the step's packed keys, valid until the next call, where they are not at hand on the host.
  std::function<float const*(LocalIndex, int)> make_packed = {};
};

/// Parts of the work on a step that times are told apart by.
enum class PathPart { score, select, refine, audit, attend };

/// Who looks on while a step is worked on.
struct StepWatch {
  std::function<void(PathPart)> done = [](PathPart) {};  ///< after each part, with kernels fenced
  std::function<void()> between;                         ///< from the first thread, now and then; may be empty
};

/// One pass over keys. Steps come in ascending order and start at multiples of key_group, unless said otherwise.
template <class Space>
class KeyPass {
 public:
  virtual ~KeyPass() = default;
  /// Most keys of a step; resident: they lie in memory anyway.
  virtual GlobalIndex step(bool resident) const = 0;
  /// `count` keys with the zeros that the pass wants after them.
  virtual int padded(int count) const { return count; }
  virtual bool wants_values() const { return false; }
  virtual bool wants_quantised() const { return false; }
  virtual bool wants_on_device() const { return false; }
  virtual bool wants_screen() const { return false; }                            ///< of keys on a device
  virtual device::Numbers wants_split() const { return device::Numbers::fp32; }  ///< what it wants keys and values on a device as, too
  virtual void add(Space const& space, KeyStep<Space> const& keys, StepWatch const& watch) = 0;
  /// After the last step.
  virtual void finish(Space const&, StepWatch const&) {}
};

/// Scores that are left where they were made.
template <class Space>
class ScorePass : public KeyPass<Space> {
 public:
  /// (rows, at least the step's keys), until the next step; of a pass that was made to keep them.
  virtual Matrix<Space, float> const& scores() const = 0;
};

/// A row's candidates, best first, at most as many as were wanted. From any thread.
using RowHead = std::function<std::vector<PackedCandidate>(int row)>;

/// Profile and top-k.
template <class Space>
class FirstPass : public KeyPass<Space> {
 public:
  struct Options {
    int keep;      ///< candidates wanted of each row
    bool profile;  ///< fill the bins too
    KeyOrder order = KeyOrder::ascending;
    int slack = 2048;  ///< as RowHeads's, for small `keep`
  };
  /// Keys of a sample that is worth its while where `population` keys will be seen at least; 0: none is. resident: keys lie in memory.
  virtual int sample_of(std::int64_t /*population*/, bool /*resident*/) const { return 0; }
  /// Keys drawn from all over the shard, in the path's layout.
  virtual void take_sample(Space const&, float const*, int, std::int64_t /*shard*/, std::int64_t /*population*/) {}
  /// After `seen` keys, a pass to repeat over the same ones, for rows that a sample has left short; null where there are none.
  virtual KeyPass<Space>* again(std::int64_t /*seen*/) { return nullptr; }
  /// Once all is seen. Heads may outlive the pass.
  virtual RowHead heads(Space const& space) = 0;
  /// Once all is seen, of a pass whose heads rest in the memory of a GPU: there, until the pass is cleared or gone.
  virtual device::HeadsOnDevice heads_on_device() const { return {}; }
  /// Likewise, (rows, bins, 3) of a pass with a profile; null elsewhere.
  virtual std::int64_t const* moments_on_device() const { return nullptr; }
  /// (rows, bins, 3); of a pass with a profile.
  virtual Tensor3<Kokkos::HostSpace, std::int64_t> moments(Space const& space) = 0;
  /// Back to before any key, or false where another pass is made as fast.
  virtual bool clear(Space const&) { return false; }
};

/// Subtrees of the softmax tree of each row over the keys so far, and how many keys went into them.
struct AttentionRuns {
  int columns;
  std::function<SoftmaxRun const&(int row)> run;
  std::function<std::int64_t(int row)> seen;
};
/// Exact sums of each row, (rows, d + 1).
struct AttentionSums {
  FixedPoint factor;
  std::vector<std::int64_t> sums;
};

/// Where exact attention of all rows goes.
struct AttentionOutputs {
  float* output;        ///< (rows, d)
  double* log_sum_exp;  ///< (rows)
  std::int64_t* seen;   ///< (rows): keys that went into the sums
};

/// Exact attention. What it leaves is put together with that of other shards, by what it is.
template <class Space>
class AttentionPass : public KeyPass<Space> {
 public:
  struct Options {
    int leaf;                 ///< keys whose sums are made in floating point at once
    std::int64_t first_leaf;  ///< of the first key
    float sigma = 1.0f;
    GlobalIndex n = 1;            ///< keys of all shards
    double largest_value = 1.0;   ///< bound of |v|
    std::vector<float> bounds{};  ///< of each row's scores, from above
    GlobalIndex block = 0;        ///< shards begin at multiples of so many keys of the sequence, which are whole leaves; 0: not known
  };
  bool wants_values() const override { return true; }
  virtual std::variant<AttentionRuns, AttentionSums> parts() const = 0;
  /// Where all keys of the sequence came to this pass: what the rows end with, and true; nothing more is added then. False where parts()
  /// has to be asked.
  virtual bool outputs(AttentionOutputs const&) { return false; }
  /// What parts() has, where it rests in the memory of a GPU; null elsewhere.
  virtual DeviceNodes* nodes_on_device() { return nullptr; }
  virtual void clear(Space const& space) = 0;
};

/// A batch of query rows on one path.
template <class Space>
class PathBatch {
 public:
  virtual ~PathBatch() = default;
  virtual std::unique_ptr<ScorePass<Space>> score(Space const& space, bool keep) = 0;
  virtual std::shared_ptr<FirstPass<Space>> first_pass(Space const& space, typename FirstPass<Space>::Options const& options) = 0;
  /// On top of what `work` holds; probes_only: without attention and audit.
  virtual std::unique_ptr<KeyPass<Space>> second_pass(Space const& space, SecondPass<Space> const& work, GlobalIndex shard_begin,
                                                      bool probes_only) = 0;
  virtual std::unique_ptr<AttentionPass<Space>> attention(Space const& space, typename AttentionPass<Space>::Options const& options) = 0;
};

/// Exact attention with the rows that it reads.
template <class Space>
struct OwnedAttention {
  std::unique_ptr<PathBatch<Space>> rows;
  std::unique_ptr<AttentionPass<Space>> pass;
};
template <class Space, class Batch>
OwnedAttention<Space> attention_of(Space const& space, PathRows const& rows, TileSizes const& tiles,
                                   typename AttentionPass<Space>::Options const& options) {
  OwnedAttention<Space> owned{std::make_unique<Batch>(space, rows, tiles), {}};
  owned.pass = owned.rows->attention(space, options);
  return owned;
}

}  // namespace asymptop
