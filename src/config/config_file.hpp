// Options in a text file: one `name = value` a line.
#pragma once

#include <boost/program_options.hpp>
#include <string>

namespace asymptop {

/// The options of a config file. A comment begins with # at the beginning of a line or after a blank, so that `output = run#3.h5` is a
/// name; one pair of quotes around a value is taken off; a byte-order mark, blanks at the ends and the returns of DOS are ignored.
/// Throws UsageError for a file that cannot be read, for a line that is nothing of all that (a [section] too) or no text in UTF-8 or ASCII
/// outside of its comment, and for a `config` of its own. Names are looked up when the result is stored.
boost::program_options::parsed_options read_config_file(std::string const& path,
                                                        boost::program_options::options_description const& options);

/// `~` and `~/` at the beginning of a file's name are the user's home (HOME), as no shell opens them in a config file or after an `=`.
std::string expand_home(std::string const& path);

}  // namespace asymptop
