// A study: every group of cases measured draw by draw, written case by case, shown and recorded, whatever its rows come from.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/errors.hpp"
#include "launch/measurement.hpp"
#include "launch/progress.hpp"
#include "launch/stop.hpp"
#include "study/draw_source.hpp"
#include "study/files/draw_target.hpp"
#include "study/files/study_case.hpp"

namespace asymptop {

class Study : public Measurement {
 public:
  Study(Communicator const& comm, RunConfig const& config, Machine machine, StudyPlan plan);

  /// With --resume it says what each case's file is worth.
  nlohmann::ordered_json plan_record() const final;
  std::string refusal() const final { return plan_.refusal; }
  void check_output() const override;
  /// With --resume, the options with which it is to be planned anew, so that no case loses what it holds; nothing where it stays as it is.
  std::optional<RunConfig> with_kept() const;
  /// Measures every group of this rank's team that is not finished yet.
  int run() final;

 protected:
  /// What a case calls its input.
  virtual std::string input_name(GroupPlan const& group) const = 0;
  /// Made on a team of ranks when the run starts, before anything is written. Throws UsageError for input that cannot be measured.
  virtual std::unique_ptr<DrawSource> make_source(Communicator const& team) = 0;

  RunConfig const& config() const { return config_; }
  Machine const& machine() const { return machine_; }
  StudyPlan const& plan() const { return plan_; }

 private:
  /// A group of the plan and a case of it.
  using CasePlace = std::pair<std::size_t, std::size_t>;

  /// What is shown of a finished case.
  struct CaseReport {
    std::string table;
    std::vector<std::string> records;
    std::string missed;                                        ///< a target
    double pass_flops = 0.0, pass_seconds = 0.0, sgemm = 0.0;  ///< of passes over all keys, and GFLOP/s of sgemm at their shape
  };

  /// The cases of a group that are to be measured.
  struct Rest {
    std::size_t index;  ///< of the group
    GroupPlan group;
    std::vector<StudyCase> cases;
    std::vector<std::size_t> laws;  ///< where each stands in the whole group
    std::int64_t fewest_draws = 0;  ///< those of the finished ones: a group's cases share their draws
  };

  StudyCase start_case(GroupPlan const& group, std::size_t law) const;
  int run_group(std::size_t index, Progress& progress, double done);
  int measure(Rest& rest, std::int64_t first, Progress& progress, double done);
  int finish_cases(Rest& rest, double sgemm, double seconds);
  int stopped_after(std::int64_t draws, std::int64_t wanted);
  void start_target(std::size_t index);
  void report(CasePlace const& place, StudyCase const& item, double sgemm);
  void collect_reports();
  int finish_stopped() const;
  int finish_all(int exit_code);
  std::vector<FigureOfMerit> figures() const;

  RunConfig const& config_;
  Machine machine_;
  StudyPlan plan_;
  std::size_t team_index_;
  Communicator team_;
  TeamStop stop_;
  std::unique_ptr<DrawSource> source_;
  Provenance provenance_;
  std::map<CasePlace, CaseReport> reports_;
  std::int64_t draws_in_work_ = 0, draws_wanted_ = 0;  ///< of a group that was left unfinished
  DrawTarget target_;
};

/// drive() for a study: `Made` is the Study for the options that `parse` reads.
template <class Made, auto parse>
int drive_study(Communicator const& comm, int argc, char const* const* argv) {
  auto const config = read_options<parse>(comm, argc, argv);
  if (!config) return 0;
  auto study = std::make_unique<Made>(comm, *config);
  auto const wide = study->with_kept();
  if (wide) {
    study.reset();
    try {
      study = std::make_unique<Made>(comm, *wide);
    } catch (UsageError const& error) {
      throw UsageError(error.what() +
                       std::string("; this is with what finished cases hold that are measured again: run other cases apart"));
    }
  }
  return carry_out(*study);
}

}  // namespace asymptop
