// What a group holds, written into another one, maybe of another file.
#pragma once

#include <hdf5.h>

namespace asymptop::h5 {

void copy_attributes(hid_t from, hid_t to);

/// All datasets of a group, their dimension scales, units and long names, into an empty group. Throws RunError.
void copy_datasets(hid_t from, hid_t to);

}  // namespace asymptop::h5
