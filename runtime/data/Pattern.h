//===- Pattern.h - Regular expressions over Unicode -------------*- C++ -*-===//
// PCRE2 with the classes of Unicode, as the patterns of tokenizers expect.
//===----------------------------------------------------------------------===//
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace tidegate::data {

/// Thread-safe.
class Pattern {
public:
  /// Errors: InvalidArgument with the place in `expression`; `where` says what it is of.
  Pattern(const std::string &expression, const std::string &where);
  /// Matches the text itself.
  static Pattern literal(const std::string &text);
  static std::string escaped(const std::string &text);

  /// Calls `part` for the matches and for what lies between them, in order.
  /// `text` is valid UTF-8. Empty matches do not count.
  void split(std::string_view text, const std::function<void(std::string_view part, bool isMatch)> &part) const;

private:
  std::shared_ptr<void> code;
};

} // namespace tidegate::data
