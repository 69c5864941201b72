// JSON as it is written.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace asymptop {

/// Bytes that are no UTF-8, as names of files may hold, are replaced: JSON has no others. indent: -1 for one line.
template <class Json>
std::string json_text(Json const& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace asymptop
