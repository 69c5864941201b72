// What the program takes from its surroundings: memory limits of control groups and of Slurm, and the launcher's count of processes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "comm/cores.hpp"
#include "launch/available_memory.hpp"
#include "launch/cpu_features.hpp"
#include "launch/launch.hpp"

namespace asymptop {
namespace {
namespace fs = std::filesystem;

constexpr double gib = 1073741824.0, mib = 1048576.0;

using Variables = std::map<std::string, std::string>;

Environment environment(Variables const& variables) {
  return [variables](char const* name) -> char const* {
    auto const found = variables.find(name);
    // The copy in the function lives as long as the function does.
    return found == variables.end() ? nullptr : found->second.c_str();
  };
}

/// A tree with /proc and control groups of its own.
class Memory : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("surroundings-" + std::to_string(getpid()));
    fs::remove_all(root_);
    write("proc/meminfo", "MemTotal:       99999999 kB\nMemFree: 1 kB\nMemAvailable:   67108864 kB\n");  // 64 GiB
  }
  void TearDown() override { fs::remove_all(root_); }

  void write(fs::path const& file, std::string const& text) const {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }
  void group_1(fs::path const& folder, double limit, double usage, double droppable = 0.0) const {
    write(folder / "memory.limit_in_bytes", std::to_string(static_cast<long long>(limit)) + "\n");
    write(folder / "memory.usage_in_bytes", std::to_string(static_cast<long long>(usage)) + "\n");
    write(folder / "memory.stat", "cache 7\ntotal_inactive_file " + std::to_string(static_cast<long long>(droppable)) + "\n");
  }
  void group_2(fs::path const& folder, std::string const& limit, double usage) const {
    write(folder / "memory.max", limit + "\n");
    write(folder / "memory.current", std::to_string(static_cast<long long>(usage)) + "\n");
    write(folder / "memory.stat", "anon 5\ninactive_file 0\n");
  }
  AvailableMemory look(Variables const& variables = {}) const { return available_memory(environment(variables), root_); }

  fs::path root_;
};

TEST_F(Memory, IsTheKernelsEstimateWhereNothingElseIsKnown) {
  EXPECT_EQ(look().bytes, 64 * gib);
  EXPECT_EQ(look().limit, "free memory of the node");
}

TEST_F(Memory, IsUnknownWithoutAnything) {
  fs::remove_all(root_);
  EXPECT_EQ(look().bytes, 0.0);
}

TEST_F(Memory, OfTheProcessesOwnGroupOfVersion1) {
  write("proc/self/cgroup", "12:cpu,cpuacct:/a\n4:memory:/slurm/uid_0/job_7/step_0\n0::/\n");
  write("proc/self/mountinfo",
        "30 20 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct\n"
        "31 20 0:27 / /sys/fs/cgroup/memory rw,relatime shared:2 master:1 - cgroup cgroup rw,memory\n");
  group_1("sys/fs/cgroup/memory", 9223372036854771712.0, 30 * gib);
  group_1("sys/fs/cgroup/memory/slurm/uid_0/job_7/step_0", 9223372036854771712.0, 1 * gib);
  group_1("sys/fs/cgroup/memory/slurm/uid_0/job_7", 8 * gib, 3 * gib, 2 * gib);  // the step lies in the job
  group_1("sys/fs/cgroup/memory/slurm/uid_0/job_8", 1 * gib, 0);                 // someone else's
  EXPECT_EQ(look().bytes, 7 * gib);
  EXPECT_NE(look().limit.find("/slurm/uid_0/job_7/memory.limit_in_bytes"), std::string::npos) << look().limit;
}

TEST_F(Memory, OfTheProcessesOwnGroupOfVersion2) {
  write("proc/self/cgroup", "0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0\n");
  write("proc/self/mountinfo", "31 20 0:27 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n");
  group_2("sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0/user/task_0", "max", 1 * gib);
  group_2("sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0", "max", 1 * gib);
  group_2("sys/fs/cgroup/system.slice/slurmstepd.scope/job_7", std::to_string(static_cast<long long>(4 * gib)), 1 * gib);
  EXPECT_EQ(look().bytes, 3 * gib);
  EXPECT_NE(look().limit.find("job_7/memory.max"), std::string::npos) << look().limit;
}

TEST_F(Memory, InAContainerThatSeesItsOwnGroupAlone) {
  write("proc/self/cgroup", "0::/../../docker/abc\n");
  write("proc/self/mountinfo", "31 20 0:27 /docker/abc /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n");
  group_2("sys/fs/cgroup", std::to_string(static_cast<long long>(2 * gib)), 0);
  EXPECT_EQ(look().bytes, 2 * gib);
}

TEST_F(Memory, ThatIsTakenIsNotUnknown) {
  write("proc/self/cgroup", "0::/a\n");
  write("proc/self/mountinfo", "31 20 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n");
  group_2("sys/fs/cgroup/a", "1000", 5000);
  EXPECT_EQ(look().bytes, 1.0);
}

TEST_F(Memory, OfSlurmsVariables) {
  struct {
    Variables variables;
    double bytes;
    char const* limit;
  } const cases[] = {
      {{{"SLURM_MEM_PER_NODE", "10"}}, 10 * mib, "SLURM_MEM_PER_NODE"},
      {{{"SLURM_MEM_PER_NODE", "2G"}}, 2 * gib, "SLURM_MEM_PER_NODE"},
      {{{"SLURM_MEM_PER_NODE", "0"}}, 64 * gib, "free memory of the node"},  // --mem=0: all of it
      {{{"SLURM_MEM_PER_NODE", ""}}, 64 * gib, "free memory of the node"},
      {{{"SLURM_MEM_PER_NODE", "lots"}}, 64 * gib, "free memory of the node"},
      {{{"SLURM_MEM_PER_CPU", "10"}, {"SLURM_CPUS_ON_NODE", "4"}}, 40 * mib, "SLURM_MEM_PER_CPU times 4 CPU(s)"},
      {{{"SLURM_MEM_PER_CPU", "10"}, {"SLURM_JOB_CPUS_PER_NODE", "4(x2),2"}, {"SLURM_NODEID", "2"}},
       20 * mib,
       "SLURM_MEM_PER_CPU times 2 CPU(s)"},
      {{{"SLURM_MEM_PER_CPU", "10"}, {"SLURM_JOB_CPUS_PER_NODE", "4(x2),2"}, {"SLURM_NODEID", "1"}},
       40 * mib,
       "SLURM_MEM_PER_CPU times 4 CPU(s)"},
      {{{"SLURM_MEM_PER_CPU", "10"}}, 64 * gib, "free memory of the node"},  // of how many CPUs is not known
      {{{"SLURM_MEM_PER_GPU", "100"}, {"SLURM_GPUS_ON_NODE", "2"}}, 200 * mib, "SLURM_MEM_PER_GPU times 2 GPU(s)"},
      {{{"SLURM_MEM_PER_NODE", "30"}, {"SLURM_MEM_PER_CPU", "10"}, {"SLURM_CPUS_ON_NODE", "2"}},
       20 * mib,
       "SLURM_MEM_PER_CPU times 2 CPU(s)"},
  };
  for (auto const& one : cases) {
    auto const found = look(one.variables);
    EXPECT_EQ(found.bytes, one.bytes) << one.limit;
    EXPECT_EQ(found.limit, one.limit);
  }
}

TEST(Launcher, CountsThatDiffer) {
  struct {
    Variables variables;
    int ranks;
    char const* named;  ///< in a refusal; null: goes on
  } const cases[] = {
      {{}, 1, nullptr},
      {{{"SLURM_NTASKS", "1"}}, 1, nullptr},
      {{{"SLURM_NTASKS", "4"}}, 1, "SLURM_NTASKS is 4"},
      {{{"SLURM_NTASKS", ""}}, 1, nullptr},
      {{{"SLURM_NTASKS", "1 "}}, 1, nullptr},
      {{{"SLURM_NTASKS", "4"}, {"OMPI_COMM_WORLD_SIZE", "2"}}, 2, nullptr},
      {{{"SLURM_NTASKS", "4"}, {"OMPI_COMM_WORLD_SIZE", "4"}}, 1, "OMPI_COMM_WORLD_SIZE is 4"},  // mpirun of another MPI
      {{{"SLURM_NTASKS", "4"}, {"SLURM_STEP_NUM_TASKS", "1"}}, 1, nullptr},                      // srun --pty -n 1 in a job of 4
      {{{"SLURM_NTASKS", "1"}, {"SLURM_STEP_NUM_TASKS", "3"}}, 1, "SLURM_STEP_NUM_TASKS is 3"},
      {{{"PMI_SIZE", "4"}, {"PMI_RANK", "0"}}, 1, "PMI_SIZE is 4"},
      {{{"PMI_SIZE", "1"}}, 1, nullptr},
      {{{"PMI_SIZE", "4"}, {"SLURM_NTASKS", "8"}}, 4, nullptr},
      {{{"MV2_COMM_WORLD_SIZE", "2"}}, 1, "MV2_COMM_WORLD_SIZE is 2"},
      {{{"PALS_NRANKS", "2"}}, 1, "PALS_NRANKS is 2"},
      {{{"FLUX_JOB_SIZE", "2"}}, 1, "FLUX_JOB_SIZE is 2"},
      {{{"JSM_NAMESPACE_SIZE", "2"}}, 1, "JSM_NAMESPACE_SIZE is 2"},
  };
  for (auto const& one : cases) {
    auto const line = launcher_mismatch(environment(one.variables), one.ranks);
    if (one.named == nullptr) {
      EXPECT_EQ(line, "");
    } else {
      EXPECT_EQ(line.rfind(one.named, 0), 0u) << line;
      EXPECT_NE(line.find("this run has " + std::to_string(one.ranks) + " rank(s)"), std::string::npos);
    }
  }
}

TEST(Launcher, CrowdedCores) {
  auto const on = [](char const* host, std::vector<std::vector<int>> const& cores) { return RankPlace{host, "b", "c", "d", "e", cores}; };
  RankPlace const free = on("a", {{0, 1}, {0, 1}}), bound = on("a", {{0}, {1}}), first = on("a", {{0}}), elsewhere = on("z", {{0}, {1}}),
                  unknown = on("a", {{}, {}});
  EXPECT_TRUE(crowded_cores({free}).empty());
  EXPECT_TRUE(crowded_cores({bound}).empty());
  EXPECT_TRUE(crowded_cores({bound, elsewhere}).empty());
  EXPECT_TRUE(crowded_cores({unknown}).empty());
  EXPECT_EQ(crowded_cores({bound, bound}).size(), 2u);  // both ranks begin at core 0, as with mpirun --bind-to none
  ASSERT_EQ(crowded_cores({bound, first}).size(), 1u);
  EXPECT_NE(crowded_cores({bound, first})[0].find("2 threads share core(s) 0 (rank 0, 1)"), std::string::npos);
  ASSERT_EQ(crowded_cores({free, first}).size(), 1u);
  EXPECT_NE(crowded_cores({free, first})[0].find("3 threads share core(s) 0, 1"), std::string::npos);
}

TEST(Launcher, RanksOfOneArithmetic) {
  RankPlace const zen{"a", "build", "x86-64-v3", "fused", "Zen", {}}, skylake{"b", "build", "x86-64-v4", "fused", "SkylakeX", {}},
      plain{"c", "build", "x86-64", "separate", "Zen", {}}, other{"d", "other", "x86-64-v3", "fused", "Zen", {}};
  EXPECT_EQ(first_odd_rank({zen, skylake, zen}), "");
  EXPECT_NE(
      first_odd_rank({zen, skylake, plain}).find("rank 2 on c computes at level x86-64 with separate, rank 0 on a at level x86-64-v3"),
      std::string::npos);
  EXPECT_NE(first_odd_rank({zen, other}).find("rank 1 on d runs another build (other)"), std::string::npos);
  EXPECT_EQ(first_odd_blas({zen, plain}), "");
  EXPECT_NE(first_odd_blas({zen, zen, skylake}).find("rank 2 on b computes with OpenBLAS SkylakeX"), std::string::npos);
}

/// A CPU with some features, of which the system keeps the registers.
Cpuid cpu_with(CpuFeatures features) {
  Cpuid cpu;
  cpu.kept = 0xe6;
  for (int i = 0; i < static_cast<int>(CpuFeature::count); ++i) {
    if ((features >> i & 1u) != 0) cpu.*feature_bits[i].word |= 1u << feature_bits[i].bit;
  }
  return cpu;
}

TEST(CpuLevels, BestOfThoseThatAreThere) {
  auto const v3 = numbered_level(1).wanted, v4 = numbered_level(2).wanted;
  auto const old = cpu_with(set_of(CpuFeature::popcnt)), zen3 = cpu_with(v3), skylake = cpu_with(v4);
  auto const phi = cpu_with(v3 | set_of(CpuFeature::avx512f) | set_of(CpuFeature::avx512cd));  // no AVX-512 of bytes and words
  struct Case {
    Cpuid cpu;
    unsigned there;
    int level;
  };
  for (auto const& [cpu, there, level] : {Case{old, 7, 0},
                                          {old, 6, -1},
                                          {zen3, 7, 1},
                                          {zen3, 6, 1},
                                          {zen3, 5, 0},
                                          {zen3, 4, -1},
                                          {phi, 7, 1},
                                          {skylake, 7, 2},
                                          {skylake, 3, 1},
                                          {skylake, 0, -1}})
    EXPECT_EQ(best_level(cpu, there, nullptr), level);
  EXPECT_EQ(best_level(skylake, 7, "avx512vl"), 1);
  EXPECT_EQ(best_level(skylake, 7, "bmi2"), 0);
  EXPECT_EQ(best_level(skylake, 7, "avx512vnni"), 2);  // which no level wants
}

TEST(CpuLevels, RegistersThatTheSystemDoesNotKeep) {
  auto cpu = cpu_with(numbered_level(2).wanted);
  cpu.kept = 0x6;
  EXPECT_EQ(best_level(cpu, 7, nullptr), 1);
  EXPECT_STREQ(missing_feature(cpu, numbered_level(2).wanted, nullptr), "avx512f");
  cpu.kept = 0;
  EXPECT_EQ(best_level(cpu, 7, nullptr), 0);
}

TEST(CpuLevels, ThisProgramRunsHere) {
  EXPECT_EQ(missing_feature(this_cpu(), compiled_for(), nullptr), nullptr);
  EXPECT_EQ(level_of_name("x86-64-v4"), 2);
  EXPECT_EQ(level_of_name("x86-64-v2"), -1);
}

TEST(Cores, AsText) {
  EXPECT_EQ(core_text({{0, 1}, {0, 1}}), "0,1");
  EXPECT_EQ(core_text({{0}, {1}}), "0;1");
  EXPECT_EQ(core_text({{3}}), "3");
  EXPECT_EQ(core_text({{}, {}}), "unknown");
}

TEST(Cores, OfAThreadForATime) {
  auto const all = process_cores();
  ASSERT_FALSE(all.empty());
  auto const here = [] {
    cpu_set_t set;
    sched_getaffinity(0, sizeof set, &set);
    return CPU_COUNT(&set);
  };
  int const before = here();
  {
    OnCores const one({all.back()});
    EXPECT_EQ(here(), 1);
  }
  EXPECT_EQ(here(), before);
}

}  // namespace
}  // namespace asymptop
