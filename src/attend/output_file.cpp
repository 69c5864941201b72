#include <filesystem>

#include "attend/file.hpp"
#include "config/errors.hpp"
#include "kernels/core/math.hpp"
#include "results/whole_file.hpp"

namespace asymptop {
namespace fs = std::filesystem;

namespace {

/// Writes a rank's rows of a dataset, `columns` numbers each.
void write_own(hid_t dataset, RingSequence const& sequence, std::int64_t columns, float const* rows) {
  for (auto const& run : sequence.runs(sequence.comm().rank())) {
    h5::write_rows(dataset, run.begin, run.size(), columns, rows);
    rows += run.size() * columns;
  }
}

/// Errors of this rank's rows at the h-th k.
std::vector<float> errors_at(TopKAttention const& top_k, std::size_t h, std::size_t width) {
  std::vector<float> errors;
  for (std::size_t i = h; i < top_k.error.size(); i += width) errors.push_back(to_fp32(top_k.error[i]));
  return errors;
}

}  // namespace

OutputFile::OutputFile(Communicator const& comm, std::string path, bool exact) : comm_(comm), path_(std::move(path)), exact_(exact) {
  part_ = part_name(path_);
  comm.broadcast(part_);
  file_ = h5::create_shared_file(part_, comm.get());
}

OutputFile::~OutputFile() {
  if (file_ < 0) return;
  file_.reset();
  if (comm_.is_root()) remove_part();
}

void OutputFile::remove_part() const {
  std::error_code ignored;
  fs::remove(part_, ignored);
}

void OutputFile::write(std::vector<AttendUnit> const& units, std::size_t own, RingSequence const& sequence, ExactAttention const* exact,
                       TopKAttention const* top_k) {
  try {
    for (std::size_t i = 0; i < units.size(); ++i) write_unit(units[i], i == own ? &sequence : nullptr, exact, top_k);
  } catch (RunError const& error) {
    throw RunError(path_ + ": " + error.what());
  }
}

void OutputFile::write(std::vector<AttendUnit> const& units) {
  for (auto const& unit : units) write_unit(unit, nullptr, nullptr, nullptr);
}

void OutputFile::write_unit(AttendUnit const& unit, RingSequence const* sequence, ExactAttention const* exact, TopKAttention const* top_k) {
  auto const& item = *unit.item;
  hsize_t const n = item.n, d = item.d;
  // All ranks make every group and dataset; only the unit's team has rows for them.
  auto const parent = h5::has_link(file_, item.id) ? h5::open_group(file_, item.id) : h5::create_group(file_, item.id);
  auto const group = h5::create_group(parent, "draw" + std::to_string(unit.draw));
  if (exact_) {
    auto dataset = h5::create_shared_dataset(group, "exact", {n, d}, "exact attention output");
    if (sequence != nullptr) write_own(dataset, *sequence, item.d, exact->output.data());
    dataset.close("write exact outputs");
  }
  for (std::size_t h = 0; h < item.k.size(); ++h) {
    auto const k = std::to_string(item.k[h]);
    auto dataset = h5::create_shared_dataset(group, "top_k_" + k, {n, d}, "output of attention to the " + k + " largest logits");
    auto const size = sequence == nullptr ? 0 : sequence->rows() * item.d;
    if (sequence != nullptr) write_own(dataset, *sequence, item.d, top_k->output.data() + h * size);
    dataset.close("write outputs at k = " + k);
    if (!exact_) continue;
    auto errors = h5::create_shared_dataset(group, "output_error_relative_" + k, {n, 1},
                                            "2-norm of the difference of outputs over that of the exact one");
    if (sequence != nullptr) write_own(errors, *sequence, 1, errors_at(*top_k, h, item.k.size()).data());
    errors.close("write errors at k = " + k);
  }
}

void OutputFile::close() {
  file_.close("close " + part_);
  comm_.barrier();
  if (comm_.is_root()) publish_file(part_, path_);
}

}  // namespace asymptop
