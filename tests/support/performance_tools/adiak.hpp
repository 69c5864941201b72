// A stand-in for Adiak, for app/test_performance_tools.py alone: it writes what it is told to standard error, a line each.
#pragma once

#include <mpi.h>

#include <iostream>
#include <sstream>
#include <string>

inline constexpr int adiak_general = 2, adiak_performance = 3;

namespace adiak {

inline void say(std::string const& line) { std::cerr << "adiak " + line + "\n" << std::flush; }

inline void init(void* communicator) {
  int size = 0;
  MPI_Comm_size(*static_cast<MPI_Comm*>(communicator), &size);
  say("init " + std::to_string(size));
}

inline void fini() {
  int ended = 0;
  MPI_Finalized(&ended);
  say(ended != 0 ? "fini after MPI" : "fini");
}

inline bool collect_all() { return say("collect_all"), true; }
inline bool walltime() { return true; }
inline bool cputime() { return true; }

inline char const* type_of(double) { return "double"; }
inline char const* type_of(long long) { return "long long"; }
inline char const* type_of(std::string const&) { return "string"; }

template <class T>
bool value(std::string const& name, T what, int category = adiak_general, std::string const& subcategory = "") {
  std::ostringstream text;
  text.precision(17);
  text << "value\t" << name << "\t" << type_of(what) << "\t" << category << "\t" << subcategory << "\t" << what;
  auto line = text.str();
  for (auto& c : line) c = c == '\n' ? ' ' : c;
  return say(line), true;
}

}  // namespace adiak
