// asymptop precision: options -> plan -> the rows of every case in every set of formats -> results file, table and records.
#include "precision/command.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "comm/timing.hpp"
#include "launch/input.hpp"
#include "launch/measurement.hpp"
#include "launch/progress.hpp"
#include "launch/stop.hpp"
#include "precision/file.hpp"

namespace asymptop {
namespace {

class PrecisionStudy final : public Measurement {
 public:
  PrecisionStudy(Communicator const& comm, PrecisionConfig const& config)
      : Measurement(comm, config),
        config_(config),
        machine_(describe_machine(comm)),
        input_(open_input(comm, config.input)),
        plan_(plan_precision(config, input_.shape, machine_)) {}

  std::string describe() const override { return input_line(input_.shape) + asymptop::describe(plan_, config_, machine_); }

  std::string refusal() const override { return plan_.refusal; }

  nlohmann::ordered_json plan_record() const override {
    auto json = plan_head("precision", machine_, plan_.skips);
    json["lowered"] = plan_.lowered;
    json["cases"] = plan_records(plan_);
    return json;
  }

  int run() override {
    scan_heads();
    provenance_ = provenance("precision", machine_.threads);
    double total = 0.0, done = 0.0;
    for (auto const& item : plan_.cases) total += item.seconds;
    Progress progress(comm_.is_root(), total);
    print(precision_table_heading());
    for (auto const& item : plan_.cases) {
      if (!measure(item, progress, done)) {
        progress.clear();
        print(stopped_line(cases_.size(), plan_.cases.size(), cases_.empty() ? "" : ", in " + config_.output));
        return exit_stopped;
      }
      done += item.seconds;
    }
    Ending ending;
    bool valid = true;
    double rows = 0.0, seconds = 0.0;
    for (auto const& c : cases_) {
      for (auto& record : precision_records(c)) ending.records.push_back(std::move(record));
      valid = valid && c.verdict_reason().empty();
      rows += exact_double(c.item.draws * c.item.rows);
      seconds += c.seconds_total;
    }
    ending.figures = {{"rows-per-second", rows / seconds, "1/s"}};
    return finish(ending, valid);
  }

 private:
  using Clock = PhaseTimes::Clock;

  /// Values that are no numbers are found before anything is written.
  void scan_heads() {
    std::set<std::pair<std::int64_t, std::int64_t>> seen;
    for (auto const& item : plan_.cases) {
      if (!item.captured || !seen.emplace(item.captured->layer.layer, item.captured->head).second) continue;
      for (std::int64_t text = 0; text < input_.file->texts(); ++text)
        scan_together(comm_, input_.file->layer(text, item.captured->layer.layer), item.captured->head, item.captured->layer.n,
                      config_.block);
    }
  }

  /// False when asked to stop before the case was complete.
  bool measure(PrecisionCase const& item, Progress& progress, double done) {
    auto const start = Clock::now();
    MeasuredPrecision measured{&config_, item, {}, {}, 0.0, input_.shape.name};
    auto const step = std::max<std::int64_t>(1, rows_between_gathers(item, std::int64_t{comm_.size()} * machine_.threads) / item.rows);
    for (std::int64_t first = 0; first < item.draws; first += step) {
      if (stop_wanted(comm_)) return false;
      progress.update(done + item.seconds * exact_double(first) / exact_double(item.draws),
                      "n = " + std::to_string(item.n) + ", draw " + std::to_string(first + 1) + " of " + std::to_string(item.draws));
      measure_precision(comm_, config_, item, input_.file.get(), first, std::min(item.draws, first + step), measured.data, measured.checks);
    }
    measured.seconds_total = comm_.max(std::chrono::duration<double>(Clock::now() - start).count());
    if (!comm_.is_root()) return true;
    measured.settle_sigma();
    progress.clear();
    print(precision_table_rows(measured));
    cases_.push_back(std::move(measured));
    // After every case: a run that is ended loses the case in flight only.
    write_precision_file(config_.output, provenance_, cases_);
    return true;
  }

  PrecisionConfig const& config_;
  Machine machine_;
  Input input_;
  PrecisionPlan plan_;
  Provenance provenance_;
  std::vector<MeasuredPrecision> cases_;  ///< on rank 0
};

}  // namespace

Command precision_command() {
  return {"precision", "what bf16, fp16 and fp8 do to softmax, stage by stage: sum p, tail mass, effective entries; writes HDF5",
          drive<PrecisionStudy, parse_precision_options>, threads_of<parse_precision_options>, true};
}

}  // namespace asymptop
