// The validated options of a study.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/assumed_machine.hpp"
#include "config/input_list.hpp"
#include "config/law.hpp"
#include "config/measure_options.hpp"
#include "config/merge_strategy.hpp"
#include "config/selector_list.hpp"
#include "kernels/path/path.hpp"

namespace asymptop {

enum class RowSigma { natural, fixed };
enum class Weights { identity, gaussian, product };
enum class SelfKey { exclude, include };
enum class Mask { none, causal };
/// Of which keys the draws from a tensor file are: contexts that end at places of their own; those that texts begin with, a draw for each
/// text; or prefixes whose rows are shared out among draws.
enum class Contexts { places, starts, prefix };
/// Whether queries that share a key head choose keys one by one or together.
enum class ShareSelection { head, group };
enum class KeyStorage { automatic, resident, streamed };
/// Where MPI finds what is summed up on a device: copied to the host first, or there.
enum class MpiMemory { host, device };
enum class GpuUse { own, shared };

char const* name_of(RowSigma value);
char const* name_of(Weights value);
char const* name_of(SelfKey value);
char const* name_of(Mask value);
char const* name_of(Contexts value);
char const* name_of(ShareSelection value);
char const* name_of(KeyStorage value);
/// `auto` for none.
char const* name_of(Path const* value);
char const* name_of(MpiMemory value);
char const* name_of(GpuUse value);

/// Context lengths of simulated rows go up to here.
inline constexpr std::int64_t largest_simulated_n = std::int64_t{1} << 62;

/// Of a study, and of a simulation of one.
struct RunConfig : MeasureOptions {
  bool resume = false;
  double checkpoint_minutes = 5.0;  ///< between checkpoints of the cases in work; 0: after every draw
  bool output_error = true;
  bool case_files_only = false;           ///< others join the case files
  std::optional<AssumedMachine> machine;  ///< that a dry run plans for, instead of the one it is on

  std::vector<std::int64_t> n;
  std::vector<std::int64_t> d;
  std::vector<InputKind> inputs = {InputKind{}};  ///< of synthetic keys and queries
  std::vector<Law> sigma;                         ///< sigma laws; made from R laws when --R is given
  bool sigma_from_R = false;
  std::optional<double> scale;  ///< logit scale; 1/sqrt(d) unless set
  std::vector<Law> k;
  std::vector<SelectorChoice> selectors = {SelectorChoice{}};
  std::int64_t rows = 64;
  std::int64_t draws = 32;                  ///< the least, with a target
  double target_se = 0.0;                   ///< standard error over mean that draws are added for; 0: none
  std::vector<std::string> target_metrics;  ///< whose errors count; empty: all
  double max_seconds = 0.0;                 ///< after which no draws are added; 0: no limit
  RowSigma row_sigma = RowSigma::natural;
  Weights weights = Weights::identity;
  SelfKey self = SelfKey::exclude;
  std::vector<std::int64_t> heads;   ///< heads of the tensor file to study, empty for all
  std::vector<std::int64_t> layers;  ///< its layers, empty for all
  Mask mask = Mask::none;
  bool mask_given = false;                        ///< else a file that says how the model attends has its own
  std::optional<std::int64_t> window;             ///< keys that a query sees, 0 for all; unless given, what the file's layer says
  std::int64_t drop_first = 0;                    ///< first keys that rows of cases of their own do not see
  std::int64_t first_keys = 4, recent_keys = 64;  ///< whose weight is measured
  std::optional<Contexts> contexts;               ///< unless given: as plan/contexts.hpp has it
  std::vector<double> epsilon;
  std::vector<Law> count_above;
  std::int64_t batch_rows = 0;  ///< query rows that pass over the keys together; 0: by the plan
  std::int64_t hold = 0;        ///< largest k whose keys are held; larger ones are counted at thresholds. 0: as memory allows
  KeyStorage keys = KeyStorage::automatic;
  Path const* path = nullptr;  ///< null: the best that there is
  MergeStrategy merge = MergeStrategy::automatic;
  int groups = 0;  ///< teams of ranks among which heads are shared out; 0: as the plan finds fastest
  MpiMemory mpi_memory = MpiMemory::host;
  bool share_gpu = false;  ///< ranks of a node may have the same one
  /// Whether draws may be added after --draws.
  bool has_target() const { return target_se > 0.0; }
  /// What was asked for, where --resume measures more k, epsilons and thresholds than that (study/files/kept_contents.hpp); else null.
  std::shared_ptr<RunConfig const> asked;
};

/// Parses `asymptop study` options. Returns nothing after --help was printed. Throws UsageError.
std::optional<RunConfig> parse_study_options(int argc, char const* const* argv, bool print_help);

/// Parses `asymptop simulate` options, those of a study that mean something without keys. Returns nothing after --help was printed.
/// Throws UsageError.
std::optional<RunConfig> parse_simulate_options(int argc, char const* const* argv, bool print_help);

}  // namespace asymptop
