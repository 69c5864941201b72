// Every kernel, View and region that a study makes carries a label Asymptop::component::step: heard through Kokkos Tools.
#include <gtest/gtest.h>

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "attend/config.hpp"
#include "attend/full_attention.hpp"
#include "draw/run_paths.hpp"
#include "kernels/input/philox_normal.hpp"
#include "plan/plan.hpp"
#include "study/draw.hpp"

namespace asymptop {
namespace {

std::set<std::string>& kernels() {
  static std::set<std::string> labels;
  return labels;
}
std::set<std::string>& views() {
  static std::set<std::string> labels;
  return labels;
}

void hear_kernel(char const* label, std::uint32_t, std::uint64_t*) { kernels().insert(label); }
/// Bytes of all Views that there are, and the most that there were.
std::uint64_t& bytes_now() {
  static std::uint64_t bytes = 0;
  return bytes;
}
std::uint64_t& most_bytes() {
  static std::uint64_t bytes = 0;
  return bytes;
}
void hear_view(Kokkos::Tools::SpaceHandle const, char const* label, void const*, std::uint64_t const bytes) {
  views().insert(label);
  bytes_now() += bytes;
  most_bytes() = std::max(most_bytes(), bytes_now());
}
void hear_free(Kokkos::Tools::SpaceHandle const, char const*, void const*, std::uint64_t const bytes) { bytes_now() -= bytes; }

/// What Kokkos itself makes: initialisation of a View names the View in brackets, mirrors add a suffix, and memory that is no
/// View (its threads' scratch) is `[unlabeled]`; a View without a label has the empty one.
bool is_ours_or_kokkos(std::string const& label) {
  static std::regex const ours("Asymptop::[a-z_0-9]+::[a-z_0-9]+(_mirror)?");
  static std::regex const initialization("Kokkos::View::(initialization|destruction) \\[(.*)\\]( via .*)?");
  std::smatch match;
  if (std::regex_match(label, match, initialization)) return std::regex_match(match[2].str(), ours);
  return label.rfind("Kokkos::", 0) == 0 || label == "[unlabeled]" || std::regex_match(label, ours);
}

/// One draw of a small study, self-checks and output errors included.
DrawResult small_draw(std::vector<std::string> const& extra) {
  std::vector<char const*> argv{"study", "--n",     "700", "--d", "8", "--rows",  "3",  "--draws",
                                "1",     "--block", "64",  "--k", "3", "--sigma", "1,2"};
  for (auto const& argument : extra) argv.push_back(argument.c_str());
  auto const config = parse_study_options(static_cast<int>(argv.size()), argv.data(), false).value();
  Machine machine;
  if (config.path != nullptr) machine.paths = {config.path};
  auto const plan = plan_study(config, {}, machine);
  Communicator const comm(MPI_COMM_WORLD);
  auto tensors = make_shard(comm, plan.groups[0], config);
  BatchChannels const channels(comm);
  StudySetup const setup{&comm, &channels, &config, nullptr, nullptr, &tensors};
  return run_draw(setup, plan.groups[0], 0);
}

class Labels : public ::testing::Test {
 protected:
  void SetUp() override {
    kernels().clear();
    views().clear();
    using namespace Kokkos::Tools::Experimental;
    set_begin_parallel_for_callback(hear_kernel);
    set_begin_parallel_reduce_callback(hear_kernel);
    set_begin_parallel_scan_callback(hear_kernel);
    set_allocate_data_callback(hear_view);
    set_deallocate_data_callback(hear_free);
  }
  void TearDown() override {
    using namespace Kokkos::Tools::Experimental;
    set_begin_parallel_for_callback(nullptr);
    set_begin_parallel_reduce_callback(nullptr);
    set_begin_parallel_scan_callback(nullptr);
    set_allocate_data_callback(nullptr);
    set_deallocate_data_callback(nullptr);
  }
};

TEST_F(Labels, OfAStudyNameTheirComponentAndStep) {
  for (std::vector<std::string> const& extra : {std::vector<std::string>{"--keys", "resident"},
                                                {"--keys", "streamed", "--row-sigma", "fixed"},
                                                {"--weights", "product", "--self", "include"}}) {
    auto const result = small_draw(extra);
    ASSERT_EQ(result.cases.size(), 2u);
    EXPECT_EQ(result.cases[0].real("tail_mass").size() % 3, 0u);
  }
  for (auto const& label : kernels()) EXPECT_TRUE(is_ours_or_kokkos(label)) << "kernel '" << label << "'";
  for (auto const& label : views()) EXPECT_TRUE(is_ours_or_kokkos(label)) << "View '" << label << "'";
  // All kernels were heard, so the lines above had something to judge.
  for (char const* name : {"input::normal", "score::gemm", "profile::add_tile", "profile::flush", "profile::probe", "topk::prune",
                           "attend::weigh", "attend::add_tail", "attend::audit"}) {
    if (!is_host_space<RunSpace> && std::string(name) == "score::gemm") continue;  // cuBLAS, no kernel of Kokkos
    EXPECT_EQ(kernels().count(std::string("Asymptop::") + name), 1u) << name << " was not run";
  }
  EXPECT_EQ(views().count("Asymptop::shard::keys"), 1u);
}

/// The first pass of a path's batch of rows that see no key: the most bytes of Views that there are meanwhile.
std::uint64_t bytes_of(Path const& path, int rows, int d, TileSizes const& tiles) {
  auto const count = static_cast<std::size_t>(rows);
  std::vector<float> const queries(count * static_cast<std::size_t>(d), 1.0f);
  PathRows const asked{rows, d, queries.data(), std::vector<std::int64_t>(count, 0), {1.0f, 3}, std::vector<int>(count, -1)};
  bytes_now() = most_bytes() = 0;
  RunSpace const space;
  auto const batch = make_path_batch(path, space, asked, tiles);
  EXPECT_TRUE(batch->first_pass(space, {1, true})->heads(space)(0).empty());
  return most_bytes();
}

TEST_F(Labels, TilesAloneHoldScores) {
  TileSizes const tiles{512, 128 * 512};
  constexpr int rows = 240, d = 8;
  constexpr std::uint64_t matrix = std::uint64_t{rows} * 128 * 512 * sizeof(float);
  EXPECT_GE(bytes_of(tiles_path, rows, d, tiles), matrix);
  EXPECT_EQ(views().count("Asymptop::path::scores"), 1u);
  for (auto const* path : run_paths()) {
    if (path->keys != KeyLayout::packed) continue;
    views().clear();
    EXPECT_LT(bytes_of(*path, rows, d, tiles), matrix / 2) << path->name;  // heads and bins
    EXPECT_EQ(views().count("Asymptop::path::scores"), 0u) << path->name;
  }
}

TEST_F(Labels, OfAStudyOnEveryPath) {
  for (auto const* path : run_paths()) {
    if (!path->whole()) continue;
    views().clear();
    small_draw({"--path", path->name});
    EXPECT_EQ(views().count("Asymptop::path::scores"), path->scores_apart ? 1u : 0u) << path->name;
    for (auto const& label : kernels()) EXPECT_TRUE(is_ours_or_kokkos(label)) << "kernel '" << label << "'";
    for (auto const& label : views()) EXPECT_TRUE(is_ours_or_kokkos(label)) << "View '" << label << "'";
  }
}

#ifndef ASYMPTOP_PORTABLE_DEVICE
TEST_F(Labels, OfFullAttentionToo) {
  std::vector<char const*> const argv{"attend", "--n", "300", "--d", "8", "--k", "3,20", "--block", "64", "--spectral"};
  auto const config = parse_attend_options(static_cast<int>(argv.size()), argv.data(), false).value();
  auto const plan = plan_attend(config, {}, {});
  Communicator const comm(MPI_COMM_WORLD);
  RingSequence sequence(comm, plan.sets.front().cases.front(), config.block, nullptr, largest_normal);
  auto const draw = run_attend_draw(config, sequence, 0, {});
  EXPECT_EQ(verdict_reason(draw.residuals), "");
  for (auto const& label : kernels()) EXPECT_TRUE(is_ours_or_kokkos(label)) << "kernel '" << label << "'";
  for (auto const& label : views()) EXPECT_TRUE(is_ours_or_kokkos(label)) << "View '" << label << "'";
  for (char const* name : {"attend::fused_attention", "attend::winners", "attend::difference_rows", "attend::multiply_transposed"})
    EXPECT_EQ(kernels().count(std::string("Asymptop::") + name), 1u) << name << " was not run";
}
#endif

TEST_F(Labels, WrongOnesAreSeen) {
  for (char const* label :
       {"", "keys", "Asymptop::keys", "Asymptop::", "asymptop::shard::keys", "Asymptop::shard::Keys", "Asymptop::shard::keys::more",
        "Kokkos::View::initialization []", "Kokkos::View::initialization [keys]", "9asymptop4main"}) {
    EXPECT_FALSE(is_ours_or_kokkos(label)) << label;
  }
  Kokkos::View<int*, Kokkos::HostSpace> const unnamed("nameless", 3);
  EXPECT_EQ(views().count("nameless"), 1u);
}

}  // namespace
}  // namespace asymptop
