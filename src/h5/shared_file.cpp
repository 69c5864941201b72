#include "h5/shared_file.hpp"

#include <algorithm>

#include "config/errors.hpp"

namespace asymptop::h5 {

#ifdef H5_HAVE_PARALLEL

bool shared_files_possible() { return true; }

Handle create_shared_file(std::string const& path, MPI_Comm comm) {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "make file properties");
  check(H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST), "set library version bounds");
  check(H5Pset_fapl_mpio(access, comm, MPI_INFO_NULL), "open files in parallel");
  return {H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access), H5Fclose, "create " + path};
}

#else

bool shared_files_possible() { return false; }

Handle create_shared_file(std::string const& path, MPI_Comm) { throw RunError("HDF5 is not parallel here: cannot create " + path); }

#endif

Handle create_shared_dataset(hid_t group, std::string const& name, std::vector<hsize_t> const& shape, std::string const& long_name) {
  Handle const space(H5Screate_simple(rank_of(shape), shape.data(), nullptr), H5Sclose, "make a space for " + name);
  Handle const properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "make dataset properties");
  check(H5Pset_obj_track_times(properties, 0), "switch object times off");
  check(H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER), "switch filling off");
  Handle dataset(H5Dcreate2(group, name.c_str(), H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT), H5Dclose,
                 "create dataset " + name);
  write_attribute(dataset, "units", std::string("1"));
  write_attribute(dataset, "long_name", long_name);
  return dataset;
}

void write_rows(hid_t dataset, hsize_t first, hsize_t rows, hsize_t columns, float const* values) {
  Handle const space(H5Dget_space(dataset), H5Sclose, "read the shape of a dataset");
  // In pieces well below the 2^31 bytes that MPI counts to.
  hsize_t const piece = std::max<hsize_t>(1, (hsize_t{1} << 26) / columns);
  for (hsize_t done = 0; done < rows; done += piece) {
    hsize_t const here = std::min(piece, rows - done), start[2] = {first + done, 0}, count[2] = {here, columns};
    check(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, count, nullptr), "select rows of a dataset");
    Handle const memory(H5Screate_simple(2, count, nullptr), H5Sclose, "make a memory space");
    check(H5Dwrite(dataset, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, values + done * columns), "write rows of a dataset");
  }
}

}  // namespace asymptop::h5
