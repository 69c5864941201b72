#include "study/files/origin.hpp"

#include <algorithm>
#include <sstream>
#include <utility>
#include <vector>

#include "config/errors.hpp"
#include "config/law.hpp"
#include "config/options.hpp"
#include "results/seal.hpp"

namespace asymptop {
namespace {

/// A line of a config text, and what two texts compare of it.
struct OptionLine {
  std::string text, compared;
  bool operator==(OptionLine const& other) const { return compared == other.compared; }
};

std::vector<OptionLine> compared_lines(std::string const& config_text, Agreement wanted) {
  std::vector<OptionLine> all;
  auto const add = [&](OptionIdentity identity, auto const& spelt) {
    std::istringstream in(option_table().lines_of(identity, config_text));
    for (std::string line; std::getline(in, line);) all.push_back({line, spelt(line)});
  };
  add(OptionIdentity::result, [](std::string const& line) { return line; });
  if (wanted == Agreement::contents) add(OptionIdentity::contents, [](std::string const& line) { return one_spelling(line); });
  return all;
}

std::string text_of(Provenance const& provenance, std::string const& name) {
  auto const found = std::find_if(provenance.texts.begin(), provenance.texts.end(), [&](auto const& entry) { return entry.first == name; });
  return found == provenance.texts.end() ? "" : found->second;
}

}  // namespace

std::string other_option(std::string const& there, std::string const& here, Agreement wanted) {
  auto const a = compared_lines(there, wanted), b = compared_lines(here, wanted);
  auto const first_beside = [](std::vector<OptionLine> const& own, std::vector<OptionLine> const& other) -> OptionLine const* {
    auto const found =
        std::find_if(own.begin(), own.end(), [&](auto const& line) { return std::find(other.begin(), other.end(), line) == other.end(); });
    return found == own.end() ? nullptr : &*found;
  };
  // Where one has a line that the other has not, the other's of the same option, if it has one, is what it is held against.
  auto const* const one = first_beside(a, b);
  auto const* const other = first_beside(b, a);
  if (one == nullptr && other == nullptr) return "";
  auto const& known = (one != nullptr ? one : other)->text;
  auto const name = known.substr(0, known.find(" = ") + 3);
  auto const said = [&](std::vector<OptionLine> const& lines) {
    auto const found = std::find_if(lines.begin(), lines.end(), [&](auto const& line) { return line.text.starts_with(name); });
    return found == lines.end() ? "not given" : found->text;
  };
  return said(a) + " there, " + said(b) + " here";
}

CaseFile open_case(std::string const& path, std::string const& id) {
  if (check_seal(path) != Seal::whole) throw RunError("its checksum is not that of its bytes");
  auto file = h5::open_file(path);
  if (!h5::has_link(file, "cases/" + id)) throw RunError("it holds another case");
  auto group = h5::open_group(file, "cases/" + id);
  return {std::move(file), std::move(group)};
}

void check_same_run(hid_t file, RunConfig const& config, std::string const& kind, Agreement wanted) {
  if (h5::read_int_attribute(file, "schema_version") != 1) throw RunError("it has another schema version");
  if (h5::read_text_attribute(file, "kind") != kind) throw RunError("it is of another kind");
  auto const other = other_option(h5::read_text_attribute(file, "config_text"), config.config_text, wanted);
  if (!other.empty()) throw OtherOptions(other);
}

void check_same_contexts(hid_t group, ContextPlan const& planned) {
  std::string const there = h5::has_attribute(group, "contexts") ? h5::read_text_attribute(group, "contexts") : name_of(Contexts::prefix),
                    here = name_of(planned.kind);
  if (there != here) throw OtherOptions("contexts = " + there + " there, contexts = " + here + " here");
}

void check_same_build(hid_t file, Provenance const& provenance) {
  for (auto const* name : {"build_id", "execution_space"}) {
    if (h5::read_text_attribute(file, name) != text_of(provenance, name))
      throw RunError("it was made by another build (" + std::string(name) + ")");
  }
  // Vectors of any width round alike where there are fused multiply-adds, which plain ones have not.
  if ((h5::read_text_attribute(file, "simd") == "plain") != (text_of(provenance, "simd") == "plain"))
    throw RunError("it was made at another level of CPUs (simd)");
}

void check_verdict(hid_t group) {
  if (h5::read_text_attribute(group, "verdict") != "VALID")
    throw RunError("it is not VALID: " + h5::read_text_attribute(group, "verdict_reason"));
}

std::string made_otherwise(std::string const& path, std::string const& id, RunConfig const& config, ContextPlan const& contexts) {
  try {
    auto const there = open_case(path, id);
    check_verdict(there.group);
    check_same_run(there.file, config, "study", Agreement::numbers);
    check_same_contexts(there.group, contexts);
  } catch (OtherOptions const& other) {
    return other.option;
  } catch (RunError const&) {
    // what cannot be read is measured anew
  }
  return "";
}

}  // namespace asymptop
