/* A stand-in for Caliper, for app/test_performance_tools.py alone: it writes the regions that begin and end to standard error. */
#pragma once

#include <stdio.h>

inline void cali_begin_region(char const* name) { fprintf(stderr, "caliper begin %s\n", name); }
inline void cali_end_byname(char const* attribute) { fprintf(stderr, "caliper end %s\n", attribute); }
