#include "app/input.hpp"

#include "config/errors.hpp"
#include "shard/partition.hpp"

namespace asymptop {

Input open_input(std::string const& path) {
  Input input;
  if (path.empty()) return input;
  input.file = std::make_unique<TensorFile>(path);
  input.shape = {input.file->n(), input.file->d(), input.file->heads(), input.file->scale().value_or(0.0), input.file->name()};
  return input;
}

TensorScan scan_together(Communicator const& comm, TensorFile const& file, std::int64_t head, std::int64_t n, std::int64_t block) {
  auto const shard = key_shard(n, block, comm.rank(), comm.size());
  TensorScan scan;
  std::string bad;
  try {
    scan = scan_head(file, head, shard.begin, shard.end);
  } catch (UsageError const& error) {
    bad = error.what();
  }
  // The lowest rank that found something holds the first bad row.
  auto const first = comm.min(bad.empty() ? static_cast<std::int64_t>(comm.size()) : static_cast<std::int64_t>(comm.rank()));
  if (first < comm.size()) {
    comm.broadcast(bad, static_cast<int>(first));
    throw UsageError(bad);
  }
  scan.key_radius = comm.max(scan.key_radius);
  scan.query_norm = comm.max(scan.query_norm);
  scan.largest_value = comm.max(scan.largest_value);
  return scan;
}

}  // namespace asymptop
