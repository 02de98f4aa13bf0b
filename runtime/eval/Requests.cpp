//===- Requests.cpp - Log-likelihood requests from a file -------*- C++ -*-===//
// Strict: a misspelt key would silently change what is measured.
//===----------------------------------------------------------------------===//
#include "runtime/eval/Requests.h"

#include "runtime/core/Error.h"
#include "runtime/core/FileIo.h"
#include "runtime/core/Suggest.h"

#include <algorithm>
#include <iostream>
#include <iterator>

using namespace tidegate;
using namespace tidegate::eval;
using nlohmann::ordered_json;
using runtime::RuntimeError;

namespace {

class RequestReader {
public:
  explicit RequestReader(std::string where) : where(std::move(where)) {}

  Request read(std::string_view line) const {
    ordered_json json;
    try {
      json = ordered_json::parse(line);
    } catch (const ordered_json::exception &error) {
      // "[json.exception.parse_error.101] parse error at ...": the first part is noise.
      std::string text = error.what();
      fail("expected a JSON object, but found a " + text.substr(std::min(text.find("] ") + 2, text.size())));
    }
    if (!json.is_object())
      fail("expected a JSON object, but got " + std::string(json.type_name()));
    checkKeys(json);
    Request request;
    request.where = where;
    if (json.contains("task"))
      request.task = text(json["task"], "task");
    if (json.contains("id"))
      request.id = json["id"];
    request.continuations = texts(json, "continuations");
    request.contexts = texts(json, "context");
    for (size_t i = 0; i < request.continuations.size(); ++i)
      if (request.continuations[i].empty())
        fail("expected text in every continuation, but number " + std::to_string(i) + " is empty");
    if (request.contexts.size() != 1 && request.contexts.size() != request.continuations.size())
      fail("expected 1 context or one for each of the " + std::to_string(request.continuations.size()) +
           " continuations, but got " + std::to_string(request.contexts.size()));
    if (json.contains("gold"))
      request.gold = gold(json["gold"], request.continuations.size());
    return request;
  }

private:
  [[noreturn]] void fail(const std::string &message) const {
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, where + ": " + message);
  }

  void checkKeys(const ordered_json &json) const {
    static const std::vector<std::string> kKeys = {"task", "id", "context", "continuations", "gold"};
    for (const auto &[key, value] : json.items())
      if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end())
        fail("unknown key '" + key + "'" + runtime::didYouMean(key, kKeys) +
             "; a request has context, continuations and, if wanted, task, id, gold");
  }

  std::string text(const ordered_json &json, const std::string &key) const {
    if (!json.is_string())
      fail("expected text as '" + key + "', but got " + json.type_name());
    return json.get<std::string>();
  }

  /// A string or a list of strings.
  std::vector<std::string> texts(const ordered_json &json, const std::string &key) const {
    if (!json.contains(key))
      fail("expected the key '" + key + "', but there is none");
    const ordered_json &value = json[key];
    if (!value.is_array())
      return {text(value, key)};
    std::vector<std::string> list;
    for (const ordered_json &element : value)
      list.push_back(text(element, key));
    if (list.empty())
      fail("expected at least one text as '" + key + "', but the list is empty");
    return list;
  }

  int64_t gold(const ordered_json &json, size_t choices) const {
    if (!json.is_number_integer() || json.get<int64_t>() < 0 || json.get<int64_t>() >= static_cast<int64_t>(choices))
      fail("expected as 'gold' an index from 0 to " + std::to_string(choices - 1) + ", but got " + json.dump());
    return json.get<int64_t>();
  }

  std::string where;
};

std::vector<Request> readLines(std::string_view text, const std::string &path) {
  std::vector<Request> requests;
  for (int64_t number = 1; !text.empty(); ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.find_first_not_of(" \t\r") != std::string_view::npos)
      requests.push_back(RequestReader(path + ":" + std::to_string(number)).read(line));
  }
  if (requests.empty())
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, "expected requests in '" + path + "', but found none");
  return requests;
}

} // namespace

std::vector<Request> tidegate::eval::readRequests(const std::string &path) {
  if (path == "-")
    return readLines(std::string(std::istreambuf_iterator<char>(std::cin), {}), path);
  return readLines(runtime::MappedFile(path).text(), path);
}
