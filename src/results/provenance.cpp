#include "results/provenance.hpp"

#include <hdf5.h>
#include <mpi.h>
#include <unistd.h>

#include <Kokkos_Core.hpp>
#include <ctime>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "comm/cores.hpp"
#include "kernels/core/simd.hpp"
#include "kernels/device/memory.hpp"
#include "results/build_info.hpp"
#include "results/json_text.hpp"
#include "shard/run_space.hpp"

extern "C" {
char* openblas_get_config();
char* openblas_get_corename();
extern char** environ;
}

namespace asymptop {
namespace {

std::string date_utc() {
  std::time_t const now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string slurm_variables() {
  nlohmann::json variables = nlohmann::json::object();
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string const text(*entry);
    auto const equals = text.find('=');
    if (text.rfind("SLURM_", 0) == 0 && equals != std::string::npos) variables[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return json_text(variables);
}

std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  std::string const full(text, length);
  return full.substr(0, full.find(", package"));
}

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(release);
}

std::string kokkos_version() {
  return std::to_string(KOKKOS_VERSION / 10000) + "." + std::to_string(KOKKOS_VERSION / 100 % 100) + "." +
         std::to_string(KOKKOS_VERSION % 100);
}

/// What ranks say that they are, each answer once.
std::string answers(Communicator const& comm, std::string const& mine) {
  std::string all;
  std::set<std::string> seen;
  for (auto const& answer : comm.gather(mine)) {
    if (seen.insert(answer).second) all.append(all.empty() ? "" : ", ").append(answer);
  }
  comm.broadcast(all);
  return all;
}

}  // namespace

std::string host_name() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

std::string version_text() { return std::string("asymptop ") + build_info::version + " (" + build_info::git_hash + ")"; }

Provenance collect_provenance(Communicator const& comm, RunIdentity const& run, std::vector<std::pair<std::string, double>> numbers) {
  std::ostringstream mine;
  mine << comm.rank() << " " << host_name() << " " << core_text(thread_cores());
  auto const& gpu = device::gpu();
  std::string hosts, layout, gpus;
  std::set<std::string> seen;
  for (auto const& line : comm.gather(mine.str())) {
    layout += line + "\n";
    auto const host = line.substr(line.find(' ') + 1, line.rfind(' ') - line.find(' ') - 1);
    if (seen.insert(host).second) hosts.append(hosts.empty() ? "" : ",").append(host);
  }
  comm.broadcast(hosts);
  comm.broadcast(layout);
  for (auto const& line : comm.gather(gpu.usable ? std::to_string(comm.rank()) + " " + gpu.bus + " " + gpu.name + "\n" : "")) gpus += line;
  comm.broadcast(gpus);
  Provenance provenance;
  provenance.texts = {{"kind", run.kind},
                      {"version", build_info::version},
                      {"git_hash", build_info::git_hash},
                      {"date_utc", date_utc()},
                      {"command_line", run.command_line},
                      {"config_text", run.config_text},
                      {"compiler", build_info::compiler},
                      {"build_type", build_info::build_type},
                      {"compile_options", build_info::compile_options},
                      {"kokkos_version", kokkos_version()},
                      {"execution_space", RunSpace::name()},
                      {"build_id", build_id()},
                      {"simd", answers(comm, simd::name)},
                      {"blas", openblas_get_config()},
                      {"blas_kernel", answers(comm, openblas_get_corename())},
                      {"mpi_version", mpi_version()},
                      {"hdf5_version", hdf5_version()},
                      {"host_names", hosts},
                      {"rank_layout", layout},
                      {"gpus", gpus},
                      {"slurm", slurm_variables()}};
  provenance.integers = {{"schema_version", 1},
                         {"ranks", comm.size()},
                         {"threads_per_rank", run.threads},
                         {"seed", static_cast<std::int64_t>(run.seed)},
                         {"block", run.block}};
  provenance.numbers = std::move(numbers);
  return provenance;
}

}  // namespace asymptop
