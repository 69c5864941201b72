// asymptop compare, merge and info: commands over results files. One process does the work.
#include "app/file_commands.hpp"

#include <boost/program_options.hpp>
#include <cinttypes>
#include <filesystem>
#include <functional>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "config/errors.hpp"
#include "config/number_text.hpp"
#include "h5/h5.hpp"
#include "h5/trial.hpp"
#include "kernels/core/counts.hpp"
#include "plan/plan.hpp"
#include "results/compare.hpp"
#include "results/seal.hpp"
#include "study/files/case_file.hpp"

namespace asymptop {
namespace {

namespace po = boost::program_options;

/// What a command over files is given.
struct FileWords {
  std::vector<std::string> files;
  std::string output;
  bool verify = false;
};

/// Options stand anywhere among the files; behind `--` there are files alone. option: the command's own beside --help. Nothing where help
/// was asked for, which is printed: how the command is used, and `text`.
std::optional<FileWords> read_words(int argc, char const* const* argv, std::string const& usage, char const* text,
                                    std::function<void(po::options_description_easy_init, FileWords&)> const& option) {
  FileWords words;
  po::options_description all;
  all.add_options()("help,h", "")("file", po::value(&words.files));
  option(all.add_options(), words);
  po::positional_options_description files;
  files.add("file", -1);
  try {
    po::variables_map found;
    auto const style = po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
    po::store(po::command_line_parser(argc, argv).options(all).style(style).positional(files).run(), found);
    po::notify(found);
    if (found.count("help") == 0) return words;
  } catch (po::error const& error) {
    throw UsageError(std::string(argv[0]) + ": " + error.what() + "; use " + usage);
  }
  std::cout << usage << "\n\n" << text << "\n";
  return std::nullopt;
}

/// Throws UsageError unless the file can be read and is as it was written. read: what the command will do with it, but for what it says.
void check_file(char const* command, std::string const& path, std::function<void()> const& read) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) throw UsageError(command, path, "does not exist");
  if (std::filesystem::is_directory(path, ignored)) throw UsageError(command, path, "is a folder, not a results file");
  if (H5Fis_hdf5(path.c_str()) <= 0) throw UsageError(command, path, "is not a readable HDF5 file");
  auto const seal = check_seal(path);
  // Bytes that nobody vouches for are not read in this process first.
  if (seal == Seal::none && !h5::ends_in_child(read, 2 * std::filesystem::file_size(path)))
    throw UsageError(command, path, "is a damaged HDF5 file: the HDF5 library does not survive reading it");
  if (seal == Seal::broken) throw UsageError(command, path, "is damaged: its checksum is not that of its bytes");
  try {
    h5::open_file(path);
  } catch (RunError const& error) {  // a copy that was cut short, say
    throw UsageError(command, path, std::string("cannot be read. ") + error.what());
  }
}

std::string study_summary(hid_t group) {
  return "n = " + std::to_string(h5::read_int_attribute(group, "n")) + ", sigma law " + h5::read_text_attribute(group, "sigma_law") + ", " +
         std::to_string(h5::read_int_attribute(group, "draws")) + " draws x " + std::to_string(h5::read_int_attribute(group, "rows")) +
         " rows";
}

std::string bench_summary(hid_t group) {
  auto const text = formatted("median %.4g s, %.4g GFLOP/s, %.1f%% of sgemm", h5::read_double_attribute(group, "median_seconds"),
                              h5::read_double_attribute(group, "gflops"), 100.0 * h5::read_double_attribute(group, "share_of_sgemm"));
  if (!h5::has_attribute(group, "efficiency")) return text;
  return text + formatted(", efficiency on %" PRId64 " rank(s) %.1f%%", h5::read_int_attribute(group, "ranks"),
                          100.0 * h5::read_double_attribute(group, "efficiency"));
}

std::string attend_summary(hid_t group) {
  return "n = " + std::to_string(h5::read_int_attribute(group, "n")) + ", sigma law " + h5::read_text_attribute(group, "sigma_law") +
         ", mask " + h5::read_text_attribute(group, "mask") + ", " + std::to_string(h5::read_int_attribute(group, "draws")) + " draws";
}

/// Lines, as of ranks, one after another.
std::string on_one_line(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  for (auto at = text.find('\n'); at != std::string::npos; at = text.find('\n', at + 2)) text.replace(at, 1, "; ");
  return text;
}

/// What a case made on a GPU took of its memory; empty of others, and of files that do not say it.
std::string device_summary(hid_t group) {
  if (!h5::has_attribute(group, "device_peak_bytes")) return "";
  auto const text = [&](char const* name) { return bytes_text(exact_double(h5::read_int_attribute(group, name))); };
  return ", GPU memory " + text("device_peak_bytes") +
         (h5::has_attribute(group, "device_planned_bytes") ? " of " + text("device_planned_bytes") + " planned" : "");
}

/// The exit code: 1 when a case is not VALID.
int print_info(std::string const& path, std::ostream& out) {
  auto const file = h5::open_file(path);
  if (!h5::has_attribute(file, "schema_version") || !h5::has_link(file, "cases")) throw UsageError("info", path, "is not a results file");
  auto const kind = h5::read_text_attribute(file, "kind");
  auto const summary = kind == "bench" ? bench_summary : kind == "attend" ? attend_summary : study_summary;  // also of precision
  out << "kind: " << kind << "\n";
  for (auto const* name : {"version", "git_hash", "date_utc", "command_line", "host_names", "execution_space", "blas_kernel"}) {
    out << name << ": " << h5::read_text_attribute(file, name) << "\n";
  }
  for (auto const* name : {"simd", "cpus"}) {
    if (h5::has_attribute(file, name)) out << name << ": " << on_one_line(h5::read_text_attribute(file, name)) << "\n";
  }
  auto const cases = h5::open_group(file, "cases");
  int exit_code = 0;
  for (auto const& id : h5::group_members(cases)) {
    auto const group = h5::open_group(cases, id);
    auto const verdict = h5::read_text_attribute(group, "verdict");
    out << verdict << "  " << id << "  " << summary(group) << device_summary(group) << " "
        << h5::read_text_attribute(group, "verdict_reason") << "\n";
    if (verdict != "VALID") exit_code = 1;
  }
  return exit_code;
}

}  // namespace

int run_compare(int argc, char const* const* argv) {
  std::string const usage = "asymptop compare A.h5 B.h5";
  auto const words = read_words(argc, argv, usage,
                                "Exit 0 when both files hold the same cases and the same bytes of data (dates, hosts and timings aside),\n"
                                "else 1 and the first difference.",
                                [](auto, auto&) {});
  if (!words) return 0;
  auto const& files = words->files;
  if (files.size() != 2) throw UsageError("compare takes two results files: " + usage);
  for (auto const& path : files) check_file("compare", path, [&] { first_difference(path, path); });
  auto const difference = first_difference(files[0], files[1]);
  std::cout << (difference.empty() ? "equal" : difference) << "\n";
  return difference.empty() ? 0 : 1;
}

int run_merge(int argc, char const* const* argv) {
  std::string const usage = "asymptop merge -o RESULTS.h5 CASE.h5...";
  auto const words = read_words(argc, argv, usage, "Joins the cases of several files into one. The output must not exist.",
                                [](auto option, auto& given) { option("output,o", po::value(&given.output)); });
  if (!words) return 0;
  if (words->output.empty() || words->files.empty()) throw UsageError("merge takes an output and at least one file: " + usage);
  for (auto const& path : words->files) check_file("merge", path, [&] { try_merge(path); });
  check_new_output(words->output);
  merge_cases(words->output, words->files);
  std::cout << "results: " << words->output << "\n";
  return 0;
}

int run_info(int argc, char const* const* argv) {
  std::string const usage = "asymptop info [--verify] RESULTS.h5";
  auto const words =
      read_words(argc, argv, usage,
                 "Prints where a results file comes from and its cases with their verdicts. A file whose bytes are not those\n"
                 "of its checksum is refused; with --verify one without a checksum is, too.",
                 [](auto option, auto& given) { option("verify", po::bool_switch(&given.verify)); });
  if (!words) return 0;
  if (words->files.size() != 1) throw UsageError("info takes one results file: " + usage);
  auto const& path = words->files.front();
  check_file("info", path, [&] {
    std::ostringstream nowhere;
    print_info(path, nowhere);
  });
  if (words->verify && check_seal(path) == Seal::none)
    throw UsageError("info", path, "has no checksum: written by an older version, or changed by another program since");
  return print_info(path, std::cout);
}

}  // namespace asymptop
