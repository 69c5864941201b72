#include "study/files/draw_file.hpp"

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "config/errors.hpp"
#include "h5/h5.hpp"
#include "kernels/core/math.hpp"
#include "results/seal.hpp"
#include "results/whole_file.hpp"
#include "row/packed_rows.hpp"
#include "study/files/by_blas.hpp"
#include "study/files/case_file.hpp"
#include "study/files/origin.hpp"

namespace asymptop {
namespace fs = std::filesystem;
namespace {

constexpr char const* kind = "draw";

/// What a draw's sums are of: every law has sums of its own.
std::string all_ids(GroupPlan const& group) {
  std::string ids;
  for (auto const& item : group.cases) ids += (ids.empty() ? "" : " ") + item.id;
  return ids;
}

/// A list of numbers as a dataset of its own; none when it is empty.
template <class T>
void put(hid_t group, char const* name, std::vector<T> const& values, char const* long_name) {
  if (!values.empty()) h5::write_scale(group, name, values, "1", long_name);
}

void put_seen(hid_t group, std::vector<Range> const& seen) {
  std::vector<std::int64_t> ends;
  for (auto const& run : seen) ends.insert(ends.end(), {run.begin, run.end});
  put(group, "seen", ends, "first key and end of each run of keys that the pass has seen");
}

void put_heads(hid_t file, PartialHeads const& first) {
  auto const group = h5::create_group(file, "first_pass");
  std::vector<std::int64_t> lengths, indices;
  std::vector<double> scores;
  for (auto const& head : first.heads) {
    lengths.push_back(std::ssize(head));
    for (auto const& candidate : head) {
      indices.push_back(candidate.index);
      scores.push_back(candidate.score);
    }
  }
  put_seen(group, first.seen);
  put(group, "lengths", lengths, "candidates of each row");
  put(group, "scores", scores, "scores of the candidates, best first, row after row");
  put(group, "indices", indices, "keys of the candidates");
  put(group, "moments", first.moments, "moments of each row's bins");
}

void put_answers(hid_t file, std::string const& name, PartialAnswers const& round) {
  auto const group = h5::create_group(file, name);
  put_seen(group, round.seen);
  put(group, "sums", round.sums, "attention, audit, edges and counts above probes");
  put(group, "inside", round.inside, "scores in the windows of probes");
  put(group, "lengths", round.lengths, "how many of them were collected");
  put(group, "collected", std::vector<double>(round.collected.begin(), round.collected.end()), "those scores");
  put(group, "audit_worst", round.audit_worst, "largest score error of audited rows");
}

std::vector<std::int64_t> integers(hid_t group, char const* name) {
  return h5::has_link(group, name) ? h5::read_dataset(group, name).integers : std::vector<std::int64_t>();
}

std::vector<double> numbers(hid_t group, char const* name) {
  return h5::has_link(group, name) ? h5::read_dataset(group, name).numbers : std::vector<double>();
}

std::vector<Range> seen_of(hid_t group) {
  auto const ends = integers(group, "seen");
  std::vector<Range> seen;
  for (std::size_t i = 0; i + 1 < ends.size(); i += 2) seen.push_back({ends[i], ends[i + 1]});
  return seen;
}

PartialHeads heads_of(hid_t file) {
  auto const group = h5::open_group(file, "first_pass");
  PartialHeads first;
  first.seen = seen_of(group);
  first.moments = integers(group, "moments");
  auto const lengths = integers(group, "lengths"), indices = integers(group, "indices");
  auto const scores = numbers(group, "scores");
  std::size_t next = 0;
  for (auto const length : lengths) {
    auto const end = next + length;
    if (length < 0 || end > indices.size() || end > scores.size()) throw RunError("its candidates are fewer than it says");
    auto& head = first.heads.emplace_back();
    for (; next < end; ++next) head.push_back({to_fp32(scores[next]), indices[next]});
  }
  return first;
}

PartialAnswers answers_of(hid_t file, std::string const& name) {
  auto const group = h5::open_group(file, name);
  PartialAnswers round;
  round.seen = seen_of(group);
  round.sums = integers(group, "sums");
  round.inside = integers(group, "inside");
  round.lengths = integers(group, "lengths");
  std::int64_t collected = 0;
  for (auto const length : round.lengths) collected += length;
  auto const collected_scores = numbers(group, "collected");
  round.collected.assign(collected_scores.begin(), collected_scores.end());
  if (collected != std::ssize(round.collected)) throw RunError("its collected scores are not as many as it says");
  round.audit_worst = numbers(group, "audit_worst");
  return round;
}

std::string name_of_round(std::size_t round) { return "second_pass_" + std::to_string(round); }
std::string name_of_rows(std::size_t batch, std::size_t law) { return "rows_" + std::to_string(batch) + "_" + std::to_string(law); }

PartialDraw load(hid_t file, StudyCase const& any) {
  PartialDraw partial;
  partial.draw = h5::read_int_attribute(file, "draw");
  auto const laws = any.group->cases.size();
  std::int64_t const batches = h5::read_int_attribute(file, "batches"), rows = any.group->counts.rows, of_batch = any.group->rows_per_batch;
  if (batches < 0 || (batches - 1) * of_batch >= rows) throw RunError("it has another number of batches");
  for (std::int64_t batch = 0; batch < batches; ++batch) {
    auto& laws_of_batch = partial.finished.emplace_back();
    std::size_t const of_this = std::min(of_batch, rows - batch * of_batch);
    for (std::size_t law = 0; law < laws; ++law) {
      laws_of_batch.push_back(numbers(file, name_of_rows(batch, law).c_str()));
      if (laws_of_batch.back().size() != of_this * numbers_per_row(field_axes(*any.group, *any.config, any.group->cases[law])))
        throw RunError("its rows are of another size");
    }
  }
  partial.batch.first = heads_of(file);
  for (std::size_t round = 0; h5::has_link(file, name_of_round(round)); ++round)
    partial.batch.rounds.push_back(answers_of(file, name_of_round(round)));
  auto const residuals = numbers(file, "check_residual"), seconds = numbers(file, "phase_seconds");
  if (residuals.size() != laws * check_names.size() || seconds.size() != phase_names.size())
    throw RunError("its residuals or seconds are of another size");
  for (std::size_t law = 0; law < laws; ++law)
    std::copy_n(residuals.begin() + (law * check_names.size()), check_names.size(), partial.checks.emplace_back().worst.begin());
  std::copy(seconds.begin(), seconds.end(), partial.seconds.begin());
  return partial;
}

}  // namespace

std::string draw_path(std::string const& output, StudyCase const& any) {
  return output + ".cases/" + any.group->cases.front().id + ".draw";
}

void write_draw(std::string const& output, Provenance const& provenance, StudyCase const& any, PartialDraw const& partial,
                double seconds_total) {
  write_whole(draw_path(output, any), [&](hid_t file) {
    write_provenance(file, of_kind(provenance, kind));
    h5::write_attribute(file, "id", all_ids(*any.group));
    if (auto const contexts = any.group->contexts.kind; contexts != Contexts::prefix)
      h5::write_attribute(file, "contexts", std::string(name_of(contexts)));
    h5::write_attribute(file, "path", std::string(any.path()));
    h5::write_attribute(file, "k_held", any.group->held);
    h5::write_attribute(file, "rows_per_batch", std::int64_t{any.group->rows_per_batch});
    h5::write_attribute(file, "draw", partial.draw);
    h5::write_attribute(file, "batches", std::ssize(partial.finished));
    h5::write_attribute(file, "seconds_total", seconds_total);
    for (std::size_t batch = 0; batch < partial.finished.size(); ++batch) {
      for (std::size_t law = 0; law < partial.finished[batch].size(); ++law)
        put(file, name_of_rows(batch, law).c_str(), partial.finished[batch][law], "rows of a batch that is done, under one law");
    }
    put_heads(file, partial.batch.first);
    for (std::size_t round = 0; round < partial.batch.rounds.size(); ++round)
      put_answers(file, name_of_round(round), partial.batch.rounds[round]);
    std::vector<double> residuals;
    for (auto const& check : partial.checks) residuals.insert(residuals.end(), check.worst.begin(), check.worst.end());
    put(file, "check_residual", residuals, "worst residuals so far, law after law");
    put(file, "phase_seconds", std::vector<double>(partial.seconds.begin(), partial.seconds.end()), "wall time of the slowest rank so far");
  });
}

FoundDraw find_draw(std::string const& output, Provenance const& provenance, StudyCase const& any, std::int64_t draw) {
  auto const path = draw_path(output, any);
  std::error_code error;
  if (!fs::exists(path, error)) return {};
  try {
    if (check_seal(path) != Seal::whole) throw RunError("its checksum is not that of its bytes");
    auto const file = h5::open_file(path);
    check_same_run(file, kind, origin_of(*any.config, *any.group), Agreement::contents);
    check_same_build(file, provenance);
    check_same_blas_kernel(file, provenance, *any.config, *any.group);
    if (h5::read_text_attribute(file, "id") != all_ids(*any.group)) throw RunError("it is of other cases");
    if (h5::read_int_attribute(file, "k_held") != any.group->held) throw RunError("it holds another k_held");
    if (h5::read_text_attribute(file, "path") != any.path()) throw RunError("it was made on another kernel path");
    if (h5::read_int_attribute(file, "rows_per_batch") != any.group->rows_per_batch)
      throw RunError("it was made with " + std::to_string(h5::read_int_attribute(file, "rows_per_batch")) + " rows at a time, not " +
                     std::to_string(any.group->rows_per_batch));
    auto const of = h5::read_int_attribute(file, "draw");
    if (of < draw) {
      remove_draw(output, any);
      return {};
    }
    if (of > draw) throw RunError("draws before it are missing");
    return {load(file, any), h5::read_double_attribute(file, "seconds_total"), ""};
  } catch (RunError const& refused) {
    return {{}, 0.0, path + " is not taken over: " + refused.what()};
  }
}

void remove_draw(std::string const& output, StudyCase const& any) {
  std::error_code none_there;
  fs::remove(draw_path(output, any), none_there);
}

}  // namespace asymptop
