// Batches of a draw in flight at once: the same numbers as one after another, and messages do move while a pass computes.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/core/simd.hpp"
#include "study/batch_pipeline.hpp"
#include "study/draw.hpp"

namespace asymptop {
namespace {

RunConfig config_of(std::vector<std::string> const& more, char const* n = "2000", char const* rows = "23") {
  std::vector<char const*> argv{"study", "--n",     n,    "--d", "8",           "--rows",  rows,      "--draws",
                                "1",     "--block", "64", "--k", "1,n^0.5,n/3", "--sigma", "0.25,0.5"};  // bins follow the rows' spread
  for (auto const& argument : more) argv.push_back(argument.c_str());
  return parse_study_options(static_cast<int>(argv.size()), argv.data(), false).value();
}

/// One draw in batches of some rows.
DrawResult draw_in_batches(RunConfig const& config, int rows_per_batch, int in_flight) {
  Communicator const comm(MPI_COMM_WORLD);
  Machine machine;
  machine.ranks = comm.size();
  machine.paths = {config.path};
  auto group = plan_study(config, {}, machine).groups[0];
  group.rows_per_batch = rows_per_batch;
  group.batches_in_flight = in_flight;
  auto tensors = make_shard(comm, group, config);
  BatchChannels const channels(comm);
  StudySetup const setup{&comm, &channels, &config, nullptr, nullptr, &tensors};
  return run_draw(setup, group, 0);
}

double seconds_of(DrawResult const& result, Phase phase) { return result.phase_seconds.at(0)[static_cast<std::size_t>(phase)]; }

TEST(BatchPipeline, GivesTheNumbersOfOneBatch) {
  for (auto const* path : {"fused", "blas-tile"}) {
    for (auto const* keys : {"resident", "streamed"}) {
      for (auto const* merge : {"owner", "threshold"}) {
        if (std::string(path) == "fused" && simd::width <= 4) continue;
        // OpenBLAS may round a row by its place: the plan's batches on BLAS tiles are whole 24s.
        bool const tiled = std::string(path) == "blas-tile";
        auto const config = config_of({"--path", path, "--keys", keys, "--merge", merge}, "2000", tiled ? "59" : "23");
        auto const whole = draw_in_batches(config, tiled ? 59 : 23, 1);
        for (int const rows : tiled ? std::vector{24, 48} : std::vector{1, 4, 12}) {
          for (int const in_flight : {1, 2}) {
            auto const parts = draw_in_batches(config, rows, in_flight);
            for (std::size_t law = 0; law < whole.cases.size(); ++law) {
              auto const &a = whole.cases[law], &b = parts.cases[law];
              for (RealField const field : {RealField("tail_mass"), RealField("row_l2_error"), RealField("output_error"),
                                            RealField("entropy_nats"), RealField("p_max"), RealField("sigma_i")})
                EXPECT_EQ(a.real(field), b.real(field)) << path << ", batches of " << rows << ", " << in_flight << " in flight";
              for (CountField const field : {CountField("k_epsilon"), CountField("count_p_above"), CountField("row_n")})
                EXPECT_EQ(a.count(field), b.count(field));
              EXPECT_EQ(parts.checks[law].worst[static_cast<std::size_t>(Check::top_k_count)], 0.0);
            }
          }
        }
      }
    }
  }
}

TEST(BatchPipeline, PhasesAreThoseOfTheDraw) {
  auto const config = config_of({"--path", "blas-tile"});
  for (int const in_flight : {1, 2}) {
    auto const result = draw_in_batches(config, 4, in_flight);
    double parts = 0.0;
    for (auto const phase : {Phase::generate, Phase::score, Phase::select, Phase::merge, Phase::exposed, Phase::evaluate, Phase::refine,
                             Phase::audit, Phase::attend}) {
      EXPECT_GE(seconds_of(result, phase), 0.0);
      parts += seconds_of(result, phase);
    }
    // Phases exclude one another. Each is its own slowest rank's, so that ranks together may have more than the draw took.
    Communicator const comm(MPI_COMM_WORLD);
    EXPECT_LE(parts, seconds_of(result, Phase::total) * comm.size() + 1e-3);
    EXPECT_GT(seconds_of(result, Phase::first_pass), 0.0);
  }
}

/// Both passes of both paths look after messages before each step.
TEST(Passes, LookAfterMessagesBetweenSteps) {
  Communicator const alone = Communicator(MPI_COMM_WORLD).split(Communicator(MPI_COMM_WORLD).rank());
  for (auto const* path : {"fused", "blas-tile"}) {
    if (std::string(path) == "fused" && simd::width <= 4) continue;
    auto const config = config_of({"--path", path, "--keys", "streamed"}, "70000", "3");
    Machine machine;
    machine.paths = {config.path};
    auto const group = plan_study(config, {}, machine).groups[0];
    auto tensors = make_shard(alone, group, config);
    BatchChannels const channels(alone);
    StudySetup const setup{&alone, &channels, &config, nullptr, nullptr, &tensors};
    DrawIdentity const identity{&config, &group, 0};
    tensors.load(tensor_origin(identity, nullptr, nullptr));
    DrawProgress progress(alone, nullptr, 0, group.cases.size(), {});
    int looks = 0;
    progress.phases().set_between_steps([&] { ++looks; });
    BatchRun batch(setup, alone, group, 0, key_shard(group.n, config.block, 0, 1), make_queries(identity, nullptr, nullptr), 0, progress,
                   nullptr);
    auto task = batch.run();
    std::vector<int> looks_of_pass;
    while (!task.done()) {
      ASSERT_TRUE(batch.turn().awaited()) << "alone it waits for nothing else";
      batch.turn().grant();
      auto const before = looks;
      task.advance();
      looks_of_pass.push_back(looks - before);
    }
    ASSERT_GE(looks_of_pass.size(), 2u);
    for (int const pass : looks_of_pass) EXPECT_GE(pass, 4) << path;
    EXPECT_EQ(task.take().size(), 3u);
  }
}

}  // namespace
}  // namespace asymptop
