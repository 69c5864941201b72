#include "launch/available_memory.hpp"

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <vector>

#include "config/number_text.hpp"

namespace asymptop {
namespace fs = std::filesystem;
namespace {

constexpr double mebibyte = 1048576.0;

std::optional<double> number_in(fs::path const& file) {
  double value = 0.0;
  if (std::ifstream(file) >> value) return value;  // `max` is none
  return std::nullopt;
}

/// The value beside a word at the beginning of a line.
std::optional<double> number_beside(fs::path const& file, std::string const& word) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string first;
    double value = 0.0;
    if (words >> first >> value && first == word) return value;
  }
  return std::nullopt;
}

/// One version of control groups: its files, and how to find the memory controller among mounts and memberships.
struct ControlGroups {
  char const *type, *limit, *usage, *droppable;
};
constexpr ControlGroups version_1{"cgroup", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};
constexpr ControlGroups version_2{"cgroup2", "memory.max", "memory.current", "inactive_file"};

bool has_word(std::string const& list, std::string const& word) { return ("," + list + ",").find("," + word + ",") != std::string::npos; }

/// Path of this process's group, as /proc/self/cgroup has it: `4:memory:/path` or `0::/path`.
std::optional<std::string> membership(ControlGroups const& version, fs::path const& root) {
  std::ifstream in(root / "proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    auto const first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    auto const controllers = line.substr(first + 1, second - first - 1);
    if (&version == &version_2 ? controllers.empty() : has_word(controllers, "memory")) return line.substr(second + 1);
  }
  return std::nullopt;
}

/// Where the hierarchy is mounted, and which group of it is seen there.
struct Mount {
  fs::path point, group;
};

/// Lines of mountinfo: `ID PARENT DEVICE ROOT POINT OPTIONS [FIELDS...] - TYPE SOURCE SUPER_OPTIONS`.
std::vector<Mount> mounts(ControlGroups const& version, fs::path const& root) {
  std::vector<Mount> found;
  std::ifstream in(root / "proc/self/mountinfo");
  for (std::string line; std::getline(in, line);) {
    auto const dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream before(line), after(line.substr(dash + 3));
    std::string id, parent, device, group, point, type, source, options;
    if (!(before >> id >> parent >> device >> group >> point) || !(after >> type >> source >> options)) continue;
    if (type == version.type && (&version == &version_2 || has_word(options, "memory"))) found.push_back({point, group});
  }
  return found;
}

void keep_least(AvailableMemory& least, double bytes, std::string const& limit) {
  if (bytes >= least.bytes) return;
  least = {bytes, limit};
}

/// A group's limit holds for all that lies in it.
void look_at_groups(ControlGroups const& version, fs::path const& root, AvailableMemory& least) {
  auto const own = membership(version, root);
  if (!own) return;
  for (auto const& mount : mounts(version, root)) {
    auto const inside = fs::path(*own).lexically_relative(mount.group);
    // A group outside of what is mounted, as in some containers: the mount's own is the nearest that can be seen.
    bool const seen = !inside.empty() && *inside.begin() != "..";
    auto const top = root / mount.point.relative_path();
    for (auto folder = (seen ? top / inside : top).lexically_normal();; folder = folder.parent_path()) {
      auto const limit = number_in(folder / version.limit), usage = number_in(folder / version.usage);
      if (limit && usage) {
        double const taken = *usage - number_beside(folder / "memory.stat", version.droppable).value_or(0.0);
        keep_least(least, *limit - std::max(taken, 0.0), "control group " + (folder / version.limit).string());
      }
      if (folder == top.lexically_normal() || folder == folder.parent_path()) break;
    }
  }
}

/// A count of megabytes, or with a suffix K, M, G or T.
std::optional<double> megabytes(char const* text) {
  if (text == nullptr) return std::nullopt;
  auto const [value, suffix] = leading_number<double>(text);
  if (value <= 0.0) return std::nullopt;
  if (suffix.empty() || suffix == "M") return value;
  if (suffix == "K") return value / 1024.0;
  if (suffix == "G") return value * 1024.0;
  if (suffix == "T") return value * 1048576.0;
  return std::nullopt;
}

/// This node's number of a list such as `4(x2),2`.
double of_node(std::string const& list, int node) {
  std::istringstream items(list);
  for (std::string item; std::getline(items, item, ',');) {
    auto const [count, times] = leading_number<double>(item);
    int const nodes = times.starts_with("(x") ? leading_number(times.substr(2), 1).value : 1;
    if (node < nodes) return count;
    node -= nodes;
  }
  return 0.0;
}

double count_of(char const* text) { return text == nullptr ? 0.0 : std::max(0.0, of_node(text, 0)); }

void look_at_slurm(Environment const& environment, AvailableMemory& least) {
  if (auto const node = megabytes(environment("SLURM_MEM_PER_NODE"))) keep_least(least, *node * mebibyte, "SLURM_MEM_PER_NODE");
  double cpus = count_of(environment("SLURM_CPUS_ON_NODE"));
  if (char const* list = environment("SLURM_JOB_CPUS_PER_NODE"); cpus <= 0.0 && list != nullptr) {
    char const* const node = environment("SLURM_NODEID");
    cpus = of_node(list, node == nullptr ? 0 : static_cast<int>(count_of(node)));
  }
  for (auto const& [variable, count, name] :
       {std::tuple{"SLURM_MEM_PER_CPU", cpus, "CPU(s)"}, {"SLURM_MEM_PER_GPU", count_of(environment("SLURM_GPUS_ON_NODE")), "GPU(s)"}}) {
    auto const each = megabytes(environment(variable));
    if (!each || count <= 0.0) continue;
    std::ostringstream words;
    words << variable << " times " << count << " " << name;
    keep_least(least, *each * count * mebibyte, words.str());
  }
}

}  // namespace

AvailableMemory available_memory(Environment const& environment, fs::path const& root) {
  AvailableMemory least{1e30, ""};
  if (auto const kilobytes = number_beside(root / "proc/meminfo", "MemAvailable:"))
    keep_least(least, *kilobytes * 1024.0, "free memory of the node");
  look_at_groups(version_1, root, least);
  look_at_groups(version_2, root, least);
  look_at_slurm(environment, least);
  if (least.limit.empty()) return {};
  least.bytes = std::max(least.bytes, 1.0);  // 0 would say that it is not known
  return least;
}

}  // namespace asymptop
