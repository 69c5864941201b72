// Device memory that goes from GPU to GPU among the ranks of a communicator.
#pragma once

#ifdef ASYMPTOP_DEVICE

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "comm/communicator.hpp"

namespace asymptop {

/// By NCCL where this build has it and every rank has a GPU of its own, else by way of the host's memory through MPI. Calls are
/// collective, in the order of the device's default stream, and return without waiting for it where NCCL is used. Throws RunError when
/// NCCL or MPI reports an error.
class DevicePeers {
 public:
  /// Those of a communicator, made when first asked for and freed with it. Collective.
  static DevicePeers& of(Communicator const& comm);
  ~DevicePeers();
  DevicePeers(DevicePeers const&) = delete;
  DevicePeers& operator=(DevicePeers const&) = delete;

  bool by_nccl() const { return library_ != nullptr; }
  /// "nccl" or "host".
  char const* transport() const;

  /// Device memory of so many 64-bit words.
  struct Out {
    std::uint64_t const* memory;
    std::size_t words;
  };
  struct In {
    std::uint64_t* memory;
    std::size_t words;
  };
  /// out[r] goes to rank r and in[r] comes from there, this rank's own among them; lengths agree on both sides.
  void exchange(std::vector<Out> const& out, std::vector<In> const& in);
  /// Sends to rank `to` and receives from rank `from`, this rank neither of them, beside the default stream's later work: what is sent must
  /// stay as it is, and what arrives must not be read, before end_shift(). Only by NCCL.
  void begin_shift(Out const& out, int to, In const& in, int from);
  /// Waits for it.
  void end_shift();
  /// Sums over ranks of `values` (the sum of all counts); rank r has `counts[r]` of them in `own`. Exact, whatever the order.
  void sum_to_owners(std::int64_t const* values, std::vector<std::size_t> const& counts, std::int64_t* own);

 private:
  class Library;
  explicit DevicePeers(Communicator const& comm);
  void exchange_by_host(std::vector<Out> const& out, std::vector<In> const& in);

  Communicator const& comm_;
  std::unique_ptr<Library> library_;  ///< null: by way of the host
};

}  // namespace asymptop

#endif
