// Results files that appear whole or not at all.
#pragma once

#include <hdf5.h>

#include <functional>
#include <string>

#include "results/provenance.hpp"

namespace asymptop {

/// A file that appears whole or not at all: written under a name that no other process uses, closed, synced, renamed. Throws RunError.
void write_whole(std::string const& path, std::function<void(hid_t)> const& fill);

/// The root attributes of a results file.
void write_provenance(hid_t file, Provenance const& provenance);

/// Throws UsageError unless a file of that name can be written.
void check_writable(std::string const& output);

}  // namespace asymptop
