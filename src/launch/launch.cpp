#include "launch/launch.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "comm/cores.hpp"
#include "config/errors.hpp"
#include "config/number_text.hpp"
#include "kernels/core/simd.hpp"
#include "launch/together.hpp"
#include "results/json_text.hpp"
#include "results/provenance.hpp"

extern "C" {
char* openblas_get_corename();
/// What this program was compiled for, for missing_cpu_features.cpp.
extern char const* const asymptop_compiled_for;
char const* const asymptop_compiled_for = asymptop::simd::name;
}

namespace asymptop {
namespace {

std::string described(RankPlace const& place) { return json_text(nlohmann::json{place.host, place.build, place.cpu, place.cores}); }

RankPlace place_of(std::string const& text) {
  auto const json = nlohmann::json::parse(text);
  return {json[0].get<std::string>(), json[1].get<std::string>(), json[2].get<std::string>(), json[3].get<std::vector<std::vector<int>>>()};
}

std::string numbers(std::vector<int> const& values) {
  std::string text;
  for (auto const value : values) text += (text.empty() ? "" : ", ") + std::to_string(value);
  return text;
}

}  // namespace

std::string first_odd_rank(std::vector<RankPlace> const& places) {
  auto const& first = places.front();
  for (std::size_t rank = 1; rank < places.size(); ++rank) {
    auto const& place = places[rank];
    auto const who = "rank " + std::to_string(rank) + " on " + place.host;
    if (place.build != first.build)
      return who + " runs another build (" + place.build + ") than rank 0 on " + first.host + " (" + first.build +
             "): results are the same bytes for one build only. Start the same program everywhere";
    if (place.cpu != first.cpu)
      return who + " computes with " + place.cpu + ", rank 0 on " + first.host + " with " + first.cpu +
             ": results are the same bytes on one kind of CPU only. Take nodes of one kind, or set OPENBLAS_CORETYPE for all";
  }
  return "";
}

std::vector<std::string> crowded_cores(std::vector<RankPlace> const& places) {
  struct Crowd {
    std::vector<int> ranks;
    std::size_t threads = 0;
  };
  std::map<std::pair<std::string, std::vector<int>>, Crowd> crowds;  // of a host's set of cores
  for (auto const& place : places) {
    for (auto const& cores : place.cores) crowds[{place.host, cores}];
  }
  for (auto& [where, crowd] : crowds) {
    auto const& within = where.second;
    for (int rank = 0; rank < std::ssize(places); ++rank) {
      if (places[rank].host != where.first) continue;
      auto const threads = std::count_if(places[rank].cores.begin(), places[rank].cores.end(), [&](std::vector<int> const& cores) {
        return std::includes(within.begin(), within.end(), cores.begin(), cores.end());
      });
      if (threads > 0) crowd.ranks.push_back(rank);
      crowd.threads += threads;
    }
  }
  std::vector<std::string> lines;
  for (auto const& [where, crowd] : crowds) {
    if (where.second.empty() || crowd.threads <= where.second.size()) continue;
    lines.push_back("warning: on " + where.first + " " + std::to_string(crowd.threads) + " threads share core(s) " + numbers(where.second) +
                    " (rank " + numbers(crowd.ranks) + "): fewer --threads or ranks, or another binding, would be faster");
  }
  return lines;
}

std::string launcher_mismatch(Environment const& environment, int ranks) {
  // Counts of processes that were started together, the one that knows best first: mpirun -n may well be smaller than Slurm's
  // allocation, and within a step of srun the step's own count holds.
  for (auto const* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "PALS_NRANKS", "FLUX_JOB_SIZE", "JSM_NAMESPACE_SIZE",
                           "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}) {
    char const* text = environment(name);
    int const tasks = text == nullptr ? 0 : leading_number<int>(text).value;
    if (tasks < 1) continue;
    if (tasks == ranks) return "";
    return std::string(name) + " is " + std::to_string(tasks) + ", but this run has " + std::to_string(ranks) +
           " rank(s): the launcher has started processes that do not know of one another. Start them with the mpirun of this program's "
           "MPI, or with srun --mpi=pmix";
  }
  return "";
}

bool started_alone(Environment const& environment) {
  for (auto const* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "PALS_NRANKS", "FLUX_JOB_SIZE", "JSM_NAMESPACE_SIZE",
                           "SLURM_STEP_NUM_TASKS"}) {
    if (char const* const text = environment(name)) return std::strcmp(text, "1") == 0;
  }
  for (auto const* name : {"PMIX_RANK", "PMIX_NAMESPACE", "PMI_RANK", "PMI_FD", "PMI_PORT"}) {
    if (environment(name) != nullptr) return false;
  }
  return true;
}

void check_launch(Communicator const& comm) {
  std::string const cpu = std::string(simd::name) + " kernels and OpenBLAS " + openblas_get_corename();
  std::vector<RankPlace> places;
  for (auto const& text : comm.gather(described({host_name(), build_id(), cpu, thread_cores()}))) places.push_back(place_of(text));
  check_on_root(comm, [&] {
    auto const mismatch = launcher_mismatch([](char const* name) { return std::getenv(name); }, comm.size());
    if (!mismatch.empty()) throw UsageError(mismatch);
    auto const odd = first_odd_rank(places);
    if (!odd.empty()) throw UsageError(odd);
  });
  if (!comm.is_root()) return;
  for (auto const& line : crowded_cores(places)) std::cerr << line + "\n" << std::flush;
}

}  // namespace asymptop
