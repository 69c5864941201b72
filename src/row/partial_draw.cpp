#include "row/partial_draw.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "shard/key_walk.hpp"

namespace asymptop {
namespace {

void append_runs(std::vector<std::int64_t>& to, std::vector<Range> const& runs) {
  to.push_back(std::ssize(runs));
  for (auto const& run : runs) to.insert(to.end(), {run.begin, run.end});
}

}  // namespace

CheckResiduals worst_over_ranks(Communicator const& comm, CheckResiduals const& own) {
  std::vector<double> worst(own.worst.begin(), own.worst.end());
  comm.max(worst);
  CheckResiduals all;
  std::copy(worst.begin(), worst.end(), all.worst.begin());
  return all;
}

DrawProgress::DrawProgress(Communicator const& comm, DrawBreaks* breaks, std::int64_t draw, std::size_t laws, PartialDraw earlier)
    : comm_(comm), breaks_(breaks), checks_(laws) {
  bool const known = comm.is_root() && earlier.draw == draw;
  if (known) partial_ = std::move(earlier);
  partial_.draw = draw;
  earlier_seconds_ = partial_.seconds;
  if (!partial_.checks.empty()) checks_ = partial_.checks;
  if (comm.max(std::int64_t{known}) != 0) share();
}

void DrawProgress::share() {
  std::vector<std::int64_t> message;
  if (comm_.is_root()) {
    message.push_back(std::ssize(partial_.finished));
    append_runs(message, partial_.batch.first.seen);
    message.push_back(std::ssize(partial_.batch.rounds));
    for (auto const& round : partial_.batch.rounds) append_runs(message, round.seen);
  }
  message.resize(comm_.max(std::ssize(message)));
  comm_.broadcast(message);
  if (comm_.is_root()) return;
  auto next = message.begin();
  auto const runs = [&next] {
    std::vector<Range> found(*next++);
    for (auto& run : found) {
      run = {next[0], next[1]};
      next += 2;
    }
    return found;
  };
  partial_.finished.resize(*next++);
  partial_.batch.first.seen = runs();
  partial_.batch.rounds.resize(*next++);
  for (auto& round : partial_.batch.rounds) round.seen = runs();
}

void DrawProgress::batch_done(std::vector<std::vector<double>> const& packed) {
  if (breaks()) partial_.finished.push_back(packed);
  partial_.batch = {};
}

bool DrawProgress::go_on() {
  phases_.start();
  answer_ = breaks_->ask();
  phases_.stop(Phase::exposed);
  return answer_ == DrawBreaks::Answer::go_on;
}

void DrawProgress::save() {
  std::vector<CheckResiduals> worst;
  for (auto const& check : checks_) worst.push_back(worst_over_ranks(comm_, check));
  auto const so_far = seconds();
  if (comm_.is_root()) {
    partial_.checks = std::move(worst);
    partial_.seconds = so_far;
    breaks_->save(partial_);
  }
  stopped_ = answer_ == DrawBreaks::Answer::stop;
}

void DrawProgress::add_seen(GlobalIndex shard_begin, std::vector<Range> const& local, std::vector<Range>& seen) const {
  std::vector<std::int64_t> mine;
  for (auto const& run : local) mine.insert(mine.end(), {run.begin + shard_begin, run.end + shard_begin});
  auto const all = comm_.all_gather(mine);
  for (std::size_t i = 0; i < all.size(); i += 2) seen.push_back({all[i], all[i + 1]});
  seen = joined_runs(std::move(seen));
}

std::array<double, phase_names.size()> DrawProgress::seconds() const {
  std::vector<double> seconds(phases_.seconds().begin(), phases_.seconds().end());
  seconds[static_cast<std::size_t>(Phase::total)] = std::chrono::duration<double>(PhaseTimes::Clock::now() - begin_).count();
  comm_.max(seconds);
  auto all = earlier_seconds_;
  for (std::size_t i = 0; i < all.size(); ++i) all[i] += seconds[i];
  return all;
}

}  // namespace asymptop
