// Selectors from the values of their parameters.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "order_keys.hpp"
#include "selector.hpp"
#include "selector_values.hpp"
#include "shards.hpp"
#include "vattention.hpp"

namespace asymptop {

/// A selector whose priorities are a projection's.
class ProjectedSelector final : public Selector {
 public:
  ProjectedSelector(std::unique_ptr<Projection> projection, ForcedKeys const& forced, bool shared)
      : projection_(std::move(projection)), forced_(forced), shared_(shared) {}
  int page() const override { return projection_->page(); }
  ForcedKeys forced() const override { return forced_; }
  Projection* projection() override { return projection_.get(); }
  std::unique_ptr<Projection> take_projection() override { return std::move(projection_); }
  bool shared() const override { return shared_; }

 private:
  std::unique_ptr<Projection> projection_;
  ForcedKeys forced_;
  bool shared_;
};

/// A selector whose priorities are looked up.
class LookupSelector final : public Selector {
 public:
  LookupSelector(std::unique_ptr<Lookup> lookup, ForcedKeys const& forced) : lookup_(std::move(lookup)), forced_(forced) {}
  SelectorSeconds seconds(int d) const override { return lookup_->seconds(d); }
  int page() const override { return lookup_->page(); }
  ForcedKeys forced() const override { return forced_; }
  Lookup* lookup() override { return lookup_.get(); }

 private:
  std::unique_ptr<Lookup> lookup_;
  ForcedKeys forced_;
};

namespace detail {

/// A value read by `read`, whose complaints get the key in front.
template <class Read>
auto value_of(SelectorValues const& values, char const* key, Read const& read) {
  auto const& text = values.find(key)->second;
  try {
    return read(text);
  } catch (std::invalid_argument const& wrong) {
    throw std::invalid_argument(std::string(key) + "=" + text + ", which " + wrong.what());
  }
}

inline constexpr std::int64_t most_forced = std::int64_t{1} << 30;

inline ForcedKeys forced_of(SelectorValues const& values) {
  auto const count = [&](char const* key) {
    return value_of(values, key, [](auto const& text) { return count_of(text, 0, most_ahead / 2); });
  };
  return {count("sinks"), count("recent")};
}

/// Throws std::invalid_argument.
inline bool share_choice(std::string const& text) {
  if (text != "head" && text != "group") throw std::invalid_argument("is neither head nor group");
  return text == "group";
}

/// Throws std::invalid_argument.
inline bool is_on(std::string const& text) {
  if (text != "on" && text != "off") throw std::invalid_argument("is neither on nor off");
  return text == "on";
}

/// Throws std::invalid_argument.
inline bool is_largest(std::string const& text) {
  if (text != "all" && text != "largest") throw std::invalid_argument("is neither all nor largest");
  return text == "largest";
}

template <class T, class... Values>
std::unique_ptr<Selector> projected(SelectorValues const& values, Values... of) {
  auto const share = values.find("share");
  bool const shared = share != values.end() && value_of(values, "share", share_choice);
  return std::make_unique<ProjectedSelector>(std::make_unique<T>(of...), forced_of(values), shared);
}

inline SampleBound bound_of(SelectorValues const& values) {
  auto const share = [&](char const* key, double high) {
    return value_of(values, key, [high](auto const& text) { return share_of(text, high); });
  };
  return {share("base", 1.0), share("epsilon", 1.0), share("delta", 0.5)};
}

inline int int_value(SelectorValues const& values, char const* key, int low, int high) {
  return checked_int(value_of(values, key, [=](auto const& text) { return count_of(text, low, high); }));
}
/// d: 0 where it is not known yet.
inline int parts_value(SelectorValues const& values, int d) {
  return checked_int(value_of(values, "parts", [d](auto const& text) {
    auto const parts = count_of(text, 1, 64);
    if (d % parts == 0) return parts;
    std::string divisors;
    for (int of = 1; of <= std::min(d, 64); ++of) divisors += d % of == 0 ? (of == 1 ? "" : ", ") + std::to_string(of) : "";
    throw std::invalid_argument("does not divide d = " + std::to_string(d) + ", as " + divisors + " do");
  }));
}
inline int pool_value(SelectorValues const& values) {
  return checked_int(value_of(values, "pool", [](auto const& text) {
    auto const pool = count_of(text, 1, 63);
    if (pool % 2 == 0) throw std::invalid_argument("is no odd number from 1 to 63");
    return pool;
  }));
}
inline int stride_value(SelectorValues const& values, int block) {
  return value_of(values, "stride", [block](auto const& text) {
    int const most = std::min(block, 64);
    count_of(text, 1, most);
    return page_of(text);
  });
}
inline Observers observers_of(SelectorValues const& values, Observers::Where where) {
  return {where, value_of(values, "queries", [](auto const& text) { return count_of(text, 1, 1024); })};
}
template <class T, class... Values>
std::unique_ptr<Selector> looked_up(SelectorValues const& values, Values... of) {
  return std::make_unique<LookupSelector>(std::make_unique<T>(std::move(of)...), forced_of(values));
}
inline int page_value(SelectorValues const& values, char const* key) {
  return value_of(values, key, [](auto const& text) { return page_of(text); });
}
template <ShardSelector::Budget budget>
std::unique_ptr<Selector> sharded(SelectorValues const& values, int) {
  auto const shards = value_of(values, "P", [](auto const& text) { return count_of(text, 1, 1024); });
  return std::make_unique<ShardSelector>(checked_int(shards), budget);
}
inline int channels_value(SelectorValues const& values, int d) {
  return value_of(values, "r", [d](auto const& text) { return channels_of(text, d); });
}

}  // namespace detail

}  // namespace asymptop
