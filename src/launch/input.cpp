#include "launch/input.hpp"

#include "launch/together.hpp"
#include "shard/partition.hpp"

namespace asymptop {

Input open_input(Communicator const& comm, std::string const& path) {
  Input input;
  if (path.empty()) return input;
  check_on_root(comm, [&] { try_tensor_file(path); });
  input.file = together(comm, [&] { return std::make_unique<TensorFile>(path); });
  input.shape = input.file->shape();
  return input;
}

TensorScan scan_together(Communicator const& comm, TensorLayer const& layer, std::int64_t head, std::int64_t n, std::int64_t block) {
  auto const shard = key_shard(n, block, comm.rank(), comm.size());
  auto scan = together(comm, [&] { return scan_head(layer, head, shard.begin, shard.end); });
  scan.key_radius = comm.max(scan.key_radius);
  scan.query_norm = comm.max(scan.query_norm);
  scan.key_norm = comm.max(scan.key_norm);
  scan.largest_value = comm.max(scan.largest_value);
  scan.value_spread = comm.max(scan.value_spread);
  std::vector<std::int64_t> rows{scan.rows, scan.near_rows};
  comm.sum(rows);
  scan.rows = rows[0];
  scan.near_rows = rows[1];
  for (auto const& [name, largest] : {std::pair{"Q", scan.query_norm}, {"K", scan.key_norm}, {"V", scan.largest_value}}) {
    if (largest == 0.0)
      throw UsageError("--input", layer.path(),
                       "has a " + layer.in_file(name) + " of nothing but zeros in the first " + std::to_string(n) + " rows of head " +
                           std::to_string(head) + "; --heads leaves a head out");
  }
  return scan;
}

void scan_index_together(Communicator const& comm, IndexTensors const& index, std::int64_t head, std::int64_t n, std::int64_t block) {
  auto const shard = key_shard(n, block, comm.rank(), comm.size());
  together(comm, [&] {
    index.scan(head, shard.begin, shard.end);
    return true;
  });
}

}  // namespace asymptop
