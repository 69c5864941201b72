#include <filesystem>

#include "config/errors.hpp"
#include "results/attend_file.hpp"
#include "results/whole_file.hpp"

namespace asymptop {
namespace fs = std::filesystem;

OutputFile::OutputFile(Communicator const& comm, std::string path) : comm_(comm), path_(std::move(path)) {
  part_ = part_name(path_);
  comm.broadcast(part_);
  file_ = h5::create_shared_file(part_, comm.get());
}

OutputFile::~OutputFile() {
  if (static_cast<hid_t>(file_) < 0) return;
  file_.reset();
  std::error_code ignored;
  if (comm_.is_root()) fs::remove(part_, ignored);
}

void OutputFile::write(RingSequence const& sequence, std::int64_t draw, ExactAttention const* exact, TopKAttention const* top_k) {
  auto const& item = sequence.item();
  auto const parent = h5::has_link(file_, item.id) ? h5::open_group(file_, item.id) : h5::create_group(file_, item.id);
  auto const group = h5::create_group(parent, "draw" + std::to_string(draw));
  if (exact != nullptr) write_rows(group, "exact", sequence, exact->output.data(), "exact attention output");
  if (top_k == nullptr) return;
  auto const size = sequence.rows() * static_cast<std::size_t>(item.d);
  for (std::size_t h = 0; h < item.k.size(); ++h) {
    auto const k = std::to_string(item.k[h]);
    write_rows(group, "top_k_" + k, sequence, top_k->output.data() + h * size, "output of attention to the " + k + " largest logits");
    if (exact == nullptr) continue;  // no errors, on any rank
    std::vector<float> error;
    for (std::size_t row = 0; row < sequence.rows(); ++row) error.push_back(static_cast<float>(top_k->error[row * item.k.size() + h]));
    auto const dataset = h5::create_shared_dataset(group, "output_error_relative_" + k, {static_cast<hsize_t>(item.n), 1},
                                                   "2-norm of the difference of outputs over that of the exact one");
    hsize_t at = 0;
    for (auto const& run : sequence.runs(comm_.rank())) {
      h5::write_rows(dataset, static_cast<hsize_t>(run.begin), static_cast<hsize_t>(run.size()), 1, error.data() + at);
      at += static_cast<hsize_t>(run.size());
    }
  }
}

void OutputFile::write_rows(hid_t group, std::string const& name, RingSequence const& sequence, float const* rows,
                            std::string const& long_name) {
  auto const n = static_cast<hsize_t>(sequence.item().n), d = static_cast<hsize_t>(sequence.item().d);
  auto const dataset = h5::create_shared_dataset(group, name, {n, d}, long_name);
  for (auto const& run : sequence.runs(comm_.rank())) {
    h5::write_rows(dataset, static_cast<hsize_t>(run.begin), static_cast<hsize_t>(run.size()), d, rows);
    rows += run.size() * sequence.item().d;
  }
}

void OutputFile::close() {
  file_.close("close " + part_);
  comm_.barrier();
  if (comm_.is_root()) publish_file(part_, path_);
}

}  // namespace asymptop
