// An HDF5 file that all ranks write at once (parallel HDF5).
#pragma once

#include <mpi.h>

#include <string>
#include <vector>

#include "h5/h5.hpp"

namespace asymptop::h5 {

/// Whether this build's HDF5 can.
bool shared_files_possible();

/// Created by all ranks of the communicator together. Throws RunError.
Handle create_shared_file(std::string const& path, MPI_Comm comm);

/// A float32 dataset, its values not written yet. Collective.
Handle create_shared_dataset(hid_t group, std::string const& name, std::vector<hsize_t> const& shape, std::string const& long_name);

/// Writes rows [first, first + rows) of a (., columns) dataset; each rank its own, when it likes.
void write_rows(hid_t dataset, hsize_t first, hsize_t rows, hsize_t columns, float const* values);

}  // namespace asymptop::h5
