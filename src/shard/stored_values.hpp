// What a file of others holds: whether the values of a dataset were ever written (HDF5 hands out zeros for what was not, without a word),
// and attributes in words.
#pragma once

#include <hdf5.h>

#include <string>

namespace asymptop {

/// Why not every value of an open dataset can be read from where it was written, in words that follow "has a dataset NAME ": chunks or a
/// whole dataset that were never written, virtual datasets whose sources are gone or that leave gaps, external files that are gone or too
/// short, compression that this HDF5 library lacks. Empty where all can. path: of the file that the dataset is in.
std::string missing_values(hid_t dataset, std::string const& path);

/// The value of an attribute, for a message about it: 0.5, 'text', or that it is neither one number nor a text.
std::string attribute_words(hid_t object, std::string const& name);

}  // namespace asymptop
