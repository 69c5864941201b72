// Results files that appear whole or not at all.
#pragma once

#include <hdf5.h>

#include <functional>
#include <string>

#include "results/provenance.hpp"

namespace asymptop {

/// A file that appears whole or not at all: written under a name that no other process uses, closed, synced, renamed. Throws RunError.
void write_whole(std::string const& path, std::function<void(hid_t)> const& fill);

/// The last step of that: a closed file is synced and takes its name.
void publish_file(std::string const& part, std::string const& path);

/// The root attributes of a results file.
void write_provenance(hid_t file, Provenance const& provenance);

/// Throws UsageError unless a file of that name can be written.
void check_writable(std::string const& output, std::string const& option = "--output");

/// The same, and unless it is a new one or may be replaced.
void check_new_file(std::string const& option, std::string const& path, bool force);

}  // namespace asymptop
