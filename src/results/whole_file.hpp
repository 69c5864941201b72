// Results files that appear whole or not at all.
#pragma once

#include <hdf5.h>

#include <functional>
#include <string>
#include <vector>

#include "results/provenance.hpp"

namespace asymptop {

/// A file that appears whole or not at all: written under a name that no other attempt uses, closed, sealed (seal.hpp), synced, renamed.
/// Throws RunError.
void write_whole(std::string const& path, std::function<void(hid_t)> const& fill);

/// Where a file that is written under this name lies: the end of a chain of symbolic links, which need not exist yet. Writers replace that
/// file and leave the links. The name itself where it is no link.
std::string link_target(std::string const& path);

/// Such a name, beside where the file will lie: `PATH.<host>.<process>.<number>.part`.
std::string part_name(std::string const& path);

/// Removes files of such names, of PATHs that begin with `prefix`, that processes of this host have left behind in a folder, and returns
/// where they were. Other hosts' processes may still write theirs.
std::vector<std::string> discard_parts(std::string const& folder, std::string const& prefix);
/// Those of one PATH, which lie beside it.
std::vector<std::string> discard_parts_of(std::string const& path);

/// The last step of that: a closed file is synced and takes its name.
void publish_file(std::string const& part, std::string const& path);

/// The same of a file of another kind.
Provenance of_kind(Provenance provenance, std::string const& kind);

/// The root attributes of a results file.
void write_provenance(hid_t file, Provenance const& provenance);

/// Throws UsageError unless a file of that name can be written.
void check_writable(std::string const& output, std::string const& option = "--output");

/// Files that a command names, by option: those that it writes, then those that it reads. Throws UsageError where one that it writes is
/// another of them, whatever links lead there; names that are empty or `-` are none.
struct NamedFile {
  std::string option, path;
};
void check_apart(std::vector<NamedFile> const& written, std::vector<NamedFile> const& read);

/// The same, and unless it is a new one or may be replaced.
void check_new_file(std::string const& option, std::string const& path, bool force);

}  // namespace asymptop
