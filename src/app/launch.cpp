#include "app/launch.hpp"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "app/together.hpp"
#include "config/errors.hpp"
#include "core/simd.hpp"
#include "results/provenance.hpp"

extern "C" {
char* openblas_get_corename();
/// What this program was compiled for, for missing_cpu_features.cpp.
extern char const* const asymptop_compiled_for;
char const* const asymptop_compiled_for = asymptop::simd::name;
}

namespace asymptop {
namespace {

std::string described(RankPlace const& place) {
  return nlohmann::json{place.host, place.build, place.cpu, place.cores}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

RankPlace place_of(std::string const& text) {
  auto const json = nlohmann::json::parse(text);
  return {json[0].get<std::string>(), json[1].get<std::string>(), json[2].get<std::string>(), json[3].get<std::vector<int>>()};
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

std::vector<std::string> crowded_cores(std::vector<RankPlace> const& places, int threads_per_rank) {
  std::map<std::pair<std::string, std::vector<int>>, std::vector<int>> ranks_within;  // of a host's set of cores
  for (auto const& place : places) ranks_within[{place.host, place.cores}];
  for (auto& [where, ranks] : ranks_within) {
    for (std::size_t rank = 0; rank < places.size(); ++rank) {
      auto const& cores = places[rank].cores;
      if (places[rank].host == where.first && std::includes(where.second.begin(), where.second.end(), cores.begin(), cores.end()))
        ranks.push_back(static_cast<int>(rank));
    }
  }
  std::vector<std::string> lines;
  for (auto const& [where, ranks] : ranks_within) {
    auto const threads = ranks.size() * static_cast<std::size_t>(threads_per_rank);
    if (threads <= where.second.size()) continue;
    lines.push_back("warning: on " + where.first + " " + std::to_string(threads) + " threads share core(s) " + numbers(where.second) +
                    " (rank " + numbers(ranks) + "): fewer --threads or ranks, or another binding, would be faster");
  }
  return lines;
}

void check_launch(Communicator const& comm, Machine const& machine) {
  std::string const cpu = std::string(simd::name) + " kernels and OpenBLAS " + openblas_get_corename();
  std::vector<RankPlace> places;
  for (auto const& text : comm.gather(described({host_name(), build_id(), cpu, allowed_cores()}))) places.push_back(place_of(text));
  check_on_root(comm, [&] {
    auto const mismatch = slurm_mismatch([](char const* name) { return std::getenv(name); }, comm.size());
    if (!mismatch.empty()) throw UsageError(mismatch);
    auto const odd = first_odd_rank(places);
    if (!odd.empty()) throw UsageError(odd);
  });
  if (!comm.is_root()) return;
  for (auto const& line : crowded_cores(places, machine.threads)) std::cerr << line + "\n" << std::flush;
}

}  // namespace asymptop
