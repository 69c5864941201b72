#include "study/files/origin.hpp"

#include <algorithm>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include "config/errors.hpp"
#include "config/law.hpp"
#include "config/options.hpp"
#include "results/attributes.hpp"
#include "results/seal.hpp"

namespace asymptop {
namespace {

/// An option of a config text, its line, and what two texts compare of it.
struct OptionLine {
  std::string name, text, compared;
  bool operator==(OptionLine const& other) const { return name == other.name && compared == other.compared; }
};

/// Whether a config text has no line of the option where it is not given: it stands for what an empty text means then.
bool may_be_left_out(Option const& row) { return row.kind != OptionKind::on && (row.fallback == nullptr || *row.fallback == 0); }

std::vector<OptionLine> compared_lines(std::string const& config_text, Agreement wanted) {
  auto const& table = option_table();
  std::vector<OptionLine> all;
  auto const add = [&](OptionIdentity identity) {
    std::istringstream in(table.lines_of(identity, config_text));
    for (std::string line; std::getline(in, line);) {
      auto const name = line.substr(0, line.find(" = "));
      auto const value = line.substr(std::min(line.size(), name.size() + 3));
      all.push_back({name, line, identity == OptionIdentity::contents ? one_spelling(value) : table.meaning(name, value)});
    }
    for (auto const& row : table.rows()) {
      bool const given = std::any_of(all.begin(), all.end(), [&](OptionLine const& line) { return line.name == row.name; });
      if (row.identity == identity && may_be_left_out(row) && !given) all.push_back({row.name, "", table.meaning(row.name, "")});
    }
  };
  add(OptionIdentity::quantity);
  if (wanted != Agreement::quantities) add(OptionIdentity::result);
  if (wanted == Agreement::contents) add(OptionIdentity::contents);
  return all;
}

std::string text_of(Provenance const& provenance, std::string const& name) {
  auto const found = std::find_if(provenance.texts.begin(), provenance.texts.end(), [&](auto const& entry) { return entry.first == name; });
  return found == provenance.texts.end() ? "" : found->second;
}

}  // namespace

CaseOrigin origin_of(RunConfig const& config, GroupPlan const& group) {
  return {config.config_text, config.input.empty() ? "" : name_of(group.contexts.kind), group.recorded_path()};
}

CaseOrigin origin_of(RunConfig const& config, StudyPlan const& plan) {
  CaseOrigin origin{config.config_text, config.input.empty() ? "" : name_of(plan.contexts)};
  std::set<std::string> paths;
  for (auto const& group : plan.groups) paths.insert(group.recorded_path());
  if (paths.size() == 1) origin.path = *paths.begin();
  return origin;
}

CaseOrigin origin_of(hid_t file, hid_t of_case) {
  auto const own = run_attribute + std::string("config_text");
  CaseOrigin there{h5::has_attribute(of_case, own) ? h5::read_text_attribute(of_case, own) : h5::read_text_attribute(file, "config_text")};
  if (h5::has_attribute(of_case, "head") && h5::read_int_attribute(of_case, "head") < 0) there.contexts.clear();
  if (h5::has_attribute(of_case, "contexts")) there.contexts = h5::read_text_attribute(of_case, "contexts");
  if (h5::has_attribute(of_case, "path")) there.path = h5::read_text_attribute(of_case, "path");
  return there;
}

std::string other_option(CaseOrigin const& there, CaseOrigin const& here, Agreement wanted) {
  if (there.config_text == here.config_text && there.contexts == here.contexts) return "";
  bool const one_path = !there.path.empty() && there.path == here.path;
  auto const a = compared_lines(there.config_text, wanted), b = compared_lines(here.config_text, wanted);
  auto const said = [](std::string const& name, std::vector<OptionLine> const& lines) {
    auto const found = std::find_if(lines.begin(), lines.end(), [&](auto const& line) { return line.name == name && !line.text.empty(); });
    return found == lines.end() ? "not given" : found->text;
  };
  for (auto const* own : {&a, &b}) {
    auto const& other = own == &a ? b : a;
    for (auto const& line : *own) {
      if (one_path && line.name == "path") continue;
      auto const beside = std::find_if(other.begin(), other.end(), [&](auto const& one) { return one.name == line.name; });
      // Commands take other options: what one alone takes does not make other quantities of its cases.
      if (beside == other.end() ? wanted != Agreement::quantities : !(*beside == line))
        return said(line.name, a) + " there, " + said(line.name, b) + " here";
    }
  }
  if (there.contexts == here.contexts || there.contexts.empty() || here.contexts.empty()) return "";
  return "contexts = " + there.contexts + " there, contexts = " + here.contexts + " here";
}

namespace {

RunError made_with_others(std::string const& other) { return RunError("it was made with other options (" + other + ")"); }

void check_kind(hid_t file, std::string const& kind) {
  if (h5::read_int_attribute(file, "schema_version") != 1) throw RunError("it has another schema version");
  if (h5::read_text_attribute(file, "kind") != kind) throw RunError("it is of another kind");
}

}  // namespace

void CaseFile::check_options() const {
  if (!other.empty()) throw made_with_others(other);
}

void CaseFile::check_verdict() const {
  if (!invalid.empty()) throw RunError("it is not VALID: " + invalid);
}

CaseFile open_case(std::string const& path, std::string const& id, std::string const& kind, CaseOrigin const& run, Agreement wanted) {
  if (check_seal(path) != Seal::whole) throw RunError("its checksum is not that of its bytes");
  auto file = h5::open_file(path);
  check_kind(file, kind);
  if (!h5::has_link(file, "cases/" + id)) throw RunError("it holds another case");
  auto group = h5::open_group(file, "cases/" + id);
  if (h5::read_text_attribute(group, "id") != id) throw RunError("it holds another case");
  auto other = other_option(origin_of(file, group), run, wanted);
  bool const valid = h5::read_text_attribute(group, "verdict") == "VALID";
  auto const reason = valid ? "" : h5::read_text_attribute(group, "verdict_reason");
  return {std::move(file), std::move(group), std::move(other), valid || !reason.empty() ? reason : "it does not say why"};
}

void check_same_run(hid_t file, std::string const& kind, CaseOrigin const& run, Agreement wanted) {
  check_kind(file, kind);
  auto const other = other_option(origin_of(file, file), run, wanted);
  if (!other.empty()) throw made_with_others(other);
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

}  // namespace asymptop
