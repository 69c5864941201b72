#include "results/whole_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <random>

#include "config/errors.hpp"
#include "h5/h5.hpp"
#include "kernels/core/region.hpp"
#include "results/seal.hpp"

namespace asymptop {
namespace fs = std::filesystem;
namespace {

void sync_path(std::string const& path) {
  int const file = ::open(path.c_str(), O_RDONLY);
  if (file < 0 || fsync(file) != 0) {
    std::string const why = std::strerror(errno);
    if (file >= 0) close(file);
    throw RunError("cannot sync " + path + ": " + why);
  }
  close(file);
}

}  // namespace

std::string link_target(std::string const& path) {
  fs::path at = path;
  std::error_code error;
  // As many as the kernel follows.
  for (int links = 0; links < 40 && fs::is_symlink(at, error); ++links) {
    auto const next = fs::read_symlink(at, error);
    at = next.is_absolute() ? next : at.parent_path() / next;
  }
  return at.string();
}

void publish_file(std::string const& part, std::string const& path) {
  sync_path(part);
  std::error_code error;
  auto const target = link_target(path);
  fs::rename(part, target, error);
  if (error) throw RunError("cannot rename " + part + " to " + target + ": " + error.message());
  auto const folder = fs::path(target).parent_path();
  sync_path(folder.empty() ? "." : folder.string());
}

std::string part_name(std::string const& path) {
  return link_target(path) + "." + host_name() + "." + std::to_string(getpid()) + "." + std::to_string(std::random_device()() % 1000000u) +
         ".part";
}

std::vector<std::string> discard_parts(std::string const& folder, std::string const& prefix) {
  std::vector<std::string> discarded;
  std::error_code error;
  for (auto const& entry : fs::directory_iterator(folder, error)) {
    auto const name = entry.path().filename().string();
    // <file>.<host>.<process>.<number>.part, and a host's name may have dots of its own.
    auto const last = name.rfind('.'), number = name.rfind('.', last - 1), process = name.rfind('.', number - 1);
    if (!name.starts_with(prefix) || !name.ends_with(".part") || number == std::string::npos || process == std::string::npos) continue;
    int id = 0;
    std::from_chars(name.data() + process + 1, name.data() + number, id);
    bool const ours = ("." + name.substr(0, process)).ends_with("." + host_name());
    if (!ours || id <= 0) continue;
    // A process that has ended but that no one has asked about yet has no program any more.
    bool const runs = !fs::read_symlink("/proc/" + std::to_string(id) + "/exe", error).empty();
    if (runs || error != std::errc::no_such_file_or_directory) continue;
    if (fs::remove(entry.path(), error)) discarded.push_back(entry.path().string());
  }
  return discarded;
}

std::vector<std::string> discard_parts_of(std::string const& path) {
  fs::path const target = link_target(path);
  auto const folder = target.parent_path();
  return discard_parts(folder.empty() ? "." : folder.string(), target.filename().string() + ".");
}

void write_whole(std::string const& path, std::function<void(hid_t)> const& fill) {
  Region const region("Asymptop: write");
  auto const part = part_name(path);
  try {
    auto file = h5::create_file(part);
    fill(file);
    h5::check(H5Fflush(file, H5F_SCOPE_GLOBAL), "flush " + part);
    file.close("close " + part);
    seal_file(part);
    publish_file(part, path);
  } catch (RunError const& error) {
    std::error_code ignored;
    fs::remove(part, ignored);
    throw RunError(path + ": " + error.what());
  }
}

Provenance of_kind(Provenance provenance, std::string const& kind) {
  for (auto& [name, value] : provenance.texts) {
    if (name == "kind") value = kind;
  }
  return provenance;
}

void write_provenance(hid_t file, Provenance const& provenance) {
  for (auto const& [name, value] : provenance.texts) h5::write_attribute(file, name, value);
  for (auto const& [name, value] : provenance.integers) h5::write_attribute(file, name, value);
  for (auto const& [name, value] : provenance.numbers) h5::write_attribute(file, name, value);
}

void check_writable(std::string const& output, std::string const& option) {
  fs::path const path(link_target(output));
  std::error_code error;
  if (fs::status(path, error).type() == fs::file_type::none) throw UsageError(option, output, "cannot be used: " + error.message());
  auto const folder = path.parent_path().empty() ? fs::path(".") : path.parent_path();
  if (!fs::is_directory(folder))
    throw UsageError(option, output,
                     fs::exists(folder, error) ? "is in " + folder.string() + ", which is a file" : "is in a folder that does not exist");
  if (fs::is_directory(path)) throw UsageError(option, output, "is a folder");
  // A file that is replaced: /dev/null would be one afterwards.
  if (fs::exists(path) && !fs::is_regular_file(path))
    throw UsageError(option, output, "is a device, a pipe or the like, allowed is a file");
  if (access(folder.c_str(), W_OK) != 0 || (fs::exists(path) && access(path.c_str(), W_OK) != 0))
    throw UsageError(option, output, std::string("cannot be written: ") + std::strerror(errno));
}

void check_apart(std::vector<NamedFile> const& written, std::vector<NamedFile> const& read) {
  auto all = written;
  all.insert(all.end(), read.begin(), read.end());
  for (std::size_t i = 0; i < written.size(); ++i) {
    for (std::size_t j = 0; j < all.size(); ++j) {
      auto const &a = all[i], &b = all[j];
      if (i == j || a.path.empty() || a.path == "-" || b.path.empty() || b.path == "-") continue;
      fs::path const x = link_target(a.path), y = link_target(b.path);
      std::error_code none_there;
      if (fs::equivalent(x, y, none_there) || fs::absolute(x).lexically_normal() == fs::absolute(y).lexically_normal())
        throw UsageError(a.option, a.path, "is the file of " + b.option + " too; give another name");
    }
  }
}

void check_new_file(std::string const& option, std::string const& path, bool force) {
  check_writable(path, option);
  if (fs::exists(path) && !force) throw UsageError(option, path, "is there already; use --force to replace it");
}

}  // namespace asymptop
