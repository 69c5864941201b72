#include "comm/device_peers.hpp"

#ifdef ASYMPTOP_DEVICE

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>

#include "comm/collectives.hpp"
#include "comm/exchange.hpp"
#include "config/errors.hpp"
#include "kernels/core/counts.hpp"
#include "kernels/device/memory.hpp"

#ifdef ASYMPTOP_NCCL
#include <nccl.h>
#endif

namespace asymptop {

#ifdef ASYMPTOP_NCCL
namespace {

void check_nccl(ncclResult_t result, char const* call) {
  if (result != ncclSuccess) throw RunError(std::string("NCCL: ") + call + ": " + ncclGetErrorString(result));
}

}  // namespace

class DevicePeers::Library {
 public:
  /// Null where NCCL cannot be set up on all ranks.
  static std::unique_ptr<Library> make(Communicator const& comm) {
    // NCCL refuses two ranks on one GPU.
    auto ids = comm.all_gather(std::vector<std::int64_t>{static_cast<std::int64_t>(device::gpu().id)});
    std::sort(ids.begin(), ids.end());
    if (!device::gpu().usable || std::adjacent_find(ids.begin(), ids.end()) != ids.end()) return nullptr;
    ncclUniqueId id{};
    bool good = !comm.is_root() || ncclGetUniqueId(&id) == ncclSuccess;
    std::string text(id.internal, id.internal + sizeof id.internal);
    comm.broadcast(text);
    std::memcpy(id.internal, text.data(), sizeof id.internal);
    if (comm.min(good ? 1 : 0) == 0) return nullptr;
    auto made = std::unique_ptr<Library>(new Library);
    good = ncclCommInitRank(&made->comm_, comm.size(), id, comm.rank()) == ncclSuccess;
    return comm.min(good ? 1 : 0) == 1 ? std::move(made) : nullptr;
  }
  ~Library() {
    if (comm_ != nullptr) ncclCommDestroy(comm_);
  }
  Library(Library const&) = delete;
  Library& operator=(Library const&) = delete;

  void exchange(std::vector<Out> const& out, std::vector<In> const& in) {
    check_nccl(ncclGroupStart(), "ncclGroupStart");
    for (std::size_t r = 0; r < out.size(); ++r) {
      if (out[r].words > 0) check_nccl(ncclSend(out[r].memory, out[r].words, ncclUint64, checked_int(r), comm_, nullptr), "ncclSend");
      if (in[r].words > 0) check_nccl(ncclRecv(in[r].memory, in[r].words, ncclUint64, checked_int(r), comm_, nullptr), "ncclRecv");
    }
    check_nccl(ncclGroupEnd(), "ncclGroupEnd");
  }
  void begin_shift(Out const& out, int to, In const& in, int from) {
    side_.follow();
    check_nccl(ncclGroupStart(), "ncclGroupStart");
    if (out.words > 0) check_nccl(ncclSend(out.memory, out.words, ncclUint64, to, comm_, side_.get()), "ncclSend");
    if (in.words > 0) check_nccl(ncclRecv(in.memory, in.words, ncclUint64, from, comm_, side_.get()), "ncclRecv");
    check_nccl(ncclGroupEnd(), "ncclGroupEnd");
  }
  void end_shift() {
    side_.lead();
    device::wait(side_.get());
  }
  void sum_to_owners(std::int64_t const* values, std::vector<std::size_t> const& counts, std::int64_t* own) {
    if (std::adjacent_find(counts.begin(), counts.end(), std::not_equal_to<>()) == counts.end()) {
      check_nccl(ncclReduceScatter(values, own, counts[0], ncclInt64, ncclSum, comm_, nullptr), "ncclReduceScatter");
      return;
    }
    check_nccl(ncclGroupStart(), "ncclGroupStart");
    for (std::size_t r = 0; r < counts.size(); ++r) {
      if (counts[r] > 0) check_nccl(ncclReduce(values, own, counts[r], ncclInt64, ncclSum, checked_int(r), comm_, nullptr), "ncclReduce");
      values += counts[r];
    }
    check_nccl(ncclGroupEnd(), "ncclGroupEnd");
  }

 private:
  Library() = default;
  ncclComm_t comm_ = nullptr;
  device::SideStream side_;
};
#else
class DevicePeers::Library {
 public:
  static std::unique_ptr<Library> make(Communicator const&) { return nullptr; }
  void exchange(std::vector<Out> const&, std::vector<In> const&) {}
  void begin_shift(Out const&, int, In const&, int) {}
  void end_shift() {}
  void sum_to_owners(std::int64_t const*, std::vector<std::size_t> const&, std::int64_t*) {}
};
#endif

DevicePeers::DevicePeers(Communicator const& comm) : comm_(comm), library_(Library::make(comm)) {}
DevicePeers::~DevicePeers() = default;

DevicePeers& DevicePeers::of(Communicator const& comm) {
  static int const key = [] {
    int made = MPI_KEYVAL_INVALID;
    auto const free = [](MPI_Comm, int, void* peers, void*) {
      delete static_cast<DevicePeers*>(peers);
      return int{MPI_SUCCESS};
    };
    check_mpi(MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, free, &made, nullptr), "MPI_Comm_create_keyval");
    return made;
  }();
  DevicePeers* found = nullptr;
  int there = 0;
  check_mpi(MPI_Comm_get_attr(comm.get(), key, &found, &there), "MPI_Comm_get_attr");
  if (there == 0) {
    found = new DevicePeers(comm);
    check_mpi(MPI_Comm_set_attr(comm.get(), key, found), "MPI_Comm_set_attr");
  }
  return *found;
}

char const* DevicePeers::transport() const { return by_nccl() ? "nccl" : "host"; }

void DevicePeers::exchange(std::vector<Out> const& out, std::vector<In> const& in) {
  if (library_ == nullptr) return exchange_by_host(out, in);
  for (int r = 0; r < comm_.size(); ++r) {
    if (r != comm_.rank() && out[r].words > 0) comm_.count_sent(1, out[r].words * sizeof(std::uint64_t));
  }
  comm_.count_rounds(1);
  library_->exchange(out, in);
}

void DevicePeers::begin_shift(Out const& out, int to, In const& in, int from) {
  if (library_ == nullptr) throw RunError("device memory goes round beside other work by NCCL only");
  if (out.words > 0) comm_.count_sent(1, out.words * sizeof(std::uint64_t));
  comm_.count_rounds(1);
  library_->begin_shift(out, to, in, from);
}

void DevicePeers::end_shift() { library_->end_shift(); }

void DevicePeers::exchange_by_host(std::vector<Out> const& out, std::vector<In> const& in) {
  std::vector<std::vector<std::uint64_t>> parts(out.size());
  for (std::size_t r = 0; r < out.size(); ++r) {
    parts[r].resize(out[r].words);
    device::download(nullptr, parts[r].data(), out[r].memory, out[r].words * sizeof(std::uint64_t));
  }
  auto const received = finish(all_to_all(comm_, std::move(parts)));
  for (std::size_t r = 0; r < in.size(); ++r) {
    if (received[r].size() != in[r].words) throw RunError("device memory of another length than was agreed on came from a rank");
    if (in[r].words > 0) device::upload(nullptr, in[r].memory, received[r].data(), in[r].words * sizeof(std::uint64_t));
  }
}

void DevicePeers::sum_to_owners(std::int64_t const* values, std::vector<std::size_t> const& counts, std::int64_t* own) {
  auto const all = std::accumulate(counts.begin(), counts.end(), std::size_t{0}), mine = counts[comm_.rank()];
  if (library_ != nullptr) {
    comm_.count_sent(counts.size() - 1, (all - mine) * sizeof(std::int64_t));
    comm_.count_rounds(1);
    return library_->sum_to_owners(values, counts, own);
  }
  std::vector<std::int64_t> on_host(all);
  device::download(nullptr, on_host.data(), values, all * sizeof(std::int64_t));
  auto const sums = comm_.reduce_scatter(on_host, counts);
  if (mine > 0) device::upload(nullptr, own, sums.data(), mine * sizeof(std::int64_t));
}

}  // namespace asymptop

#endif
