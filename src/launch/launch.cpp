#include "launch/launch.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "comm/cores.hpp"
#include "comm/waiting.hpp"
#include "config/errors.hpp"
#include "config/number_text.hpp"
#include "kernels/core/simd.hpp"
#include "launch/cpu_features.hpp"
#include "launch/machine.hpp"
#include "launch/together.hpp"
#include "results/cpu_level.hpp"
#include "results/json_text.hpp"
#include "results/provenance.hpp"

extern "C" {
char* openblas_get_corename();
/// What this program was compiled for, for missing_cpu_features.cpp.
extern asymptop::CpuFeatures const asymptop_compiled_for;
asymptop::CpuFeatures const asymptop_compiled_for = asymptop::compiled_for();
}

namespace asymptop {
namespace {

/// What decides how sums of products are rounded: kernels use fused multiply-adds where there are any, in vectors of every width alike, and
/// the C library does so where the CPU has them.
std::string arithmetic() {
#if defined(__FP_FAST_FMAF)
  return "fused multiply-adds";
#elif defined(__x86_64__)
  return std::string("separate multiplications and additions, a C library ") +
         (missing_feature(this_cpu(), set_of(CpuFeature::fma) | set_of(CpuFeature::avx2), nullptr) == nullptr ? "with" : "without") +
         " fused ones";
#else
  return "separate multiplications and additions";
#endif
}

std::string level_text() { return *cpu_level() == '\0' ? "native" : cpu_level(); }

/// Of all ranks; complete on rank 0.
std::vector<RankPlace> places_of(Communicator const& comm) {
  nlohmann::json const mine{host_name(), build_id(), level_text(), arithmetic(), openblas_get_corename(), thread_cores()};
  std::vector<RankPlace> places;
  for (auto const& text : comm.gather(json_text(mine))) {
    auto const json = nlohmann::json::parse(text);
    places.push_back({json[0].get<std::string>(), json[1].get<std::string>(), json[2].get<std::string>(), json[3].get<std::string>(),
                      json[4].get<std::string>(), json[5].get<std::vector<std::vector<int>>>()});
  }
  return places;
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
    if (place.arithmetic != first.arithmetic)
      return who + " computes at level " + place.level + " with " + place.arithmetic + ", rank 0 on " + first.host + " at level " +
             first.level + " with " + first.arithmetic +
             ": results would not be the same bytes. Set ASYMPTOP_CPU to one level for all, or take nodes of one kind";
  }
  return "";
}

std::string first_odd_blas(std::vector<RankPlace> const& places) {
  auto const& first = places.front();
  for (std::size_t rank = 1; rank < places.size(); ++rank) {
    auto const& place = places[rank];
    if (place.blas != first.blas)
      return "rank " + std::to_string(rank) + " on " + place.host + " computes with OpenBLAS " + place.blas + ", rank 0 on " + first.host +
             " with OpenBLAS " + first.blas +
             ": its results are the same bytes on one kind of CPU only. Set OPENBLAS_CORETYPE for all, or take nodes of one kind";
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
  auto const places = places_of(comm);
  check_on_root(comm, [&] {
    auto const mismatch = launcher_mismatch([](char const* name) { return std::getenv(name); }, comm.size());
    if (!mismatch.empty()) throw UsageError(mismatch);
    auto const odd = first_odd_rank(places);
    if (!odd.empty()) throw UsageError(odd);
  });
  auto const crowded = comm.is_root() ? crowded_cores(places) : std::vector<std::string>();
#ifndef OPEN_MPI
  // Open MPI gives cores away by itself where ranks outnumber them (mpi_yield_when_idle), and sooner than a sleep ends.
  cores_are_shared = comm.max(crowded.empty() ? 0 : 1) != 0;
#endif
  for (auto const& line : crowded) std::cerr << line + "\n" << std::flush;
}

void check_same_blas(Communicator const& comm) {
  auto const places = places_of(comm);
  check_on_root(comm, [&] {
    auto const odd = first_odd_blas(places);
    if (!odd.empty()) throw UsageError(odd);
  });
}

std::string cpus_of_ranks(Communicator const& comm) {
  std::string all;
  auto const vectors = std::string(simd::name) + (simd::has_dot4() ? "+vnni" : "");
  for (auto const& line : comm.gather(std::to_string(comm.rank()) + " " + level_text() + " " + vectors + " " + cpu_name() + "\n"))
    all += line;
  comm.broadcast(all);
  return all;
}

}  // namespace asymptop
