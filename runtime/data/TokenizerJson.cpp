//===- TokenizerJson.cpp - Tokenizers of tokenizer.json ---------*- C++ -*-===//
// The file describes a pipeline: added tokens are cut out, the rest is
// normalised, split into words, each word encoded by pairs; and back. Each step
// is a function built once; a step that is not known is an error that names it.
//===----------------------------------------------------------------------===//
#include "runtime/core/Error.h"
#include "runtime/core/FileIo.h"
#include "runtime/data/Bpe.h"
#include "runtime/data/Pattern.h"
#include "runtime/data/Tokenizer.h"
#include "runtime/data/Utf8.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <functional>
#include <utf8proc.h>

using namespace tidegate::data;
namespace runtime = tidegate::runtime;
using nlohmann::json;
using runtime::RuntimeError;

namespace {

[[noreturn]] void unsupported(const std::string &key, const json &value) {
  throw RuntimeError(RuntimeError::Kind::InvalidArgument, key + ": " + value.dump() + " is not supported");
}

/// The value of a step's key, of the type of `otherwise`.
template <typename T>
T get(const json &step, const std::string &where, const char *key, T otherwise) {
  const json value = step.value(key, json());
  if (value.is_null())
    return otherwise;
  try {
    return value.get<T>();
  } catch (const json::exception &) {
    unsupported(where + "." + key, value);
  }
}

std::string typeOf(const json &step, const std::string &where) {
  if (!step.is_object() || !step.value("type", json()).is_string())
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, where + ": expected an object with a type, but found " + step.dump());
  return step["type"];
}

/// {"String": text} or {"Regex": expression}.
Pattern patternOf(const json &step, const std::string &where) {
  const json pattern = step.value("pattern", json());
  if (pattern.is_object() && pattern.value("String", json()).is_string())
    return Pattern::literal(pattern["String"]);
  if (pattern.is_object() && pattern.value("Regex", json()).is_string())
    return Pattern(pattern["Regex"], where + ".pattern");
  unsupported(where + ".pattern", pattern);
}

std::string replaced(const std::string &text, const Pattern &pattern, const std::string &content) {
  std::string result;
  pattern.split(text, [&](std::string_view part, bool isMatch) { result += isMatch ? content : part; });
  return result;
}

bool startsWith(std::string_view text, std::string_view start) { return text.substr(0, start.size()) == start; }

/// A step, or several of a "Sequence".
std::vector<std::pair<json, std::string>> stepsOf(const json &step, const std::string &where, const char *list) {
  if (step.is_null())
    return {};
  if (typeOf(step, where) != "Sequence")
    return {{step, where}};
  std::vector<std::pair<json, std::string>> steps;
  const json items = step.value(list, json::array());
  for (size_t i = 0; i < items.size(); ++i)
    for (auto &inner : stepsOf(items[i], where + "." + list + "[" + std::to_string(i) + "]", list))
      steps.push_back(std::move(inner));
  return steps;
}

//===--- Bytes as printable characters, as GPT-2 does -------------------------===//

/// Printable Latin-1 characters stand for themselves, the others for U+0100 on.
struct ByteAlphabet {
  std::array<std::string, 256> characters;
  std::unordered_map<std::string, char> bytes;

  ByteAlphabet() {
    uint32_t next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool itself = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
      characters[b] = utf8::encode(itself ? b : next++);
      bytes[characters[b]] = static_cast<char>(b);
    }
  }
};
const ByteAlphabet kAlphabet;

//===--- Normalisation --------------------------------------------------------===//

using Normalise = std::function<std::string(std::string)>;

std::string composed(const std::string &text, int options) {
  utf8proc_uint8_t *result = nullptr;
  const auto size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t *>(text.data()),
                                 static_cast<utf8proc_ssize_t>(text.size()), &result,
                                 static_cast<utf8proc_option_t>(options | UTF8PROC_STABLE));
  if (size < 0)
    throw RuntimeError(RuntimeError::Kind::Internal, std::string("cannot normalise a text: ") + utf8proc_errmsg(size));
  std::string normal(reinterpret_cast<char *>(result), size);
  free(result);
  return normal;
}

std::vector<Normalise> normalisersOf(const json &step) {
  std::vector<Normalise> steps;
  for (const auto &[item, where] : stepsOf(step, "normalizer", "normalizers")) {
    const std::string type = typeOf(item, where);
    const std::pair<const char *, int> kForms[] = {{"NFC", UTF8PROC_COMPOSE},
                                                   {"NFD", UTF8PROC_DECOMPOSE},
                                                   {"NFKC", UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
                                                   {"NFKD", UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT}};
    const auto form = std::find_if(std::begin(kForms), std::end(kForms), [&](auto &f) { return type == f.first; });
    if (form != std::end(kForms)) {
      steps.push_back([options = form->second](std::string text) { return composed(text, options); });
    } else if (type == "Prepend") {
      steps.push_back([prefix = get<std::string>(item, where, "prepend", "")](std::string text) {
        return text.empty() ? text : prefix + text;
      });
    } else if (type == "Replace") {
      steps.push_back([pattern = patternOf(item, where), content = get<std::string>(item, where, "content", "")](
                          std::string text) { return replaced(text, pattern, content); });
    } else {
      unsupported(where + ".type", type);
    }
  }
  return steps;
}

//===--- Splitting into words -------------------------------------------------===//

/// Words of a part of the text; `first`: the part is where the text begins.
using Words = std::vector<std::string>;
using Split = std::function<void(std::string word, bool first, Words &words)>;

/// Where matches and what lies between them are words of their own.
Split isolating(Pattern pattern, bool dropMatches = false) {
  return [pattern = std::move(pattern), dropMatches](std::string word, bool, Words &words) {
    pattern.split(word, [&](std::string_view part, bool isMatch) {
      if (!(isMatch && dropMatches))
        words.emplace_back(part);
    });
  };
}

Split byteLevel(const json &item, const std::string &where) {
  const bool prefixSpace = get(item, where, "add_prefix_space", true);
  std::optional<Pattern> pattern;
  if (get(item, where, "use_regex", true))
    pattern.emplace(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", where);
  return [=](std::string word, bool, Words &words) {
    if (prefixSpace && !startsWith(word, " "))
      word.insert(0, " ");
    auto add = [&](std::string_view part, bool) {
      std::string &mapped = words.emplace_back();
      for (char c : part)
        mapped += kAlphabet.characters[static_cast<unsigned char>(c)];
    };
    if (pattern)
      pattern->split(word, add);
    else
      add(word, true);
  };
}

Split metaspace(const json &item, const std::string &where) {
  const std::string mark = get<std::string>(item, where, "replacement", "\xe2\x96\x81");
  const std::string otherwise = get(item, where, "add_prefix_space", true) ? "always" : "never";
  const std::string scheme = get<std::string>(item, where, "prepend_scheme", otherwise);
  if (scheme != "always" && scheme != "first" && scheme != "never")
    unsupported(where + ".prepend_scheme", scheme);
  const bool split = get(item, where, "split", true);
  return [=, blank = Pattern::literal(" "), marks = Pattern::literal(mark)](std::string word, bool first, Words &words) {
    std::string text = replaced(word, blank, mark);
    if (!startsWith(text, mark) && (scheme == "always" || (scheme == "first" && first)))
      text.insert(0, mark);
    if (!split) {
      words.push_back(text);
      return;
    }
    std::string pending; // A mark goes with what follows it.
    marks.split(text, [&](std::string_view part, bool isMatch) {
      if (isMatch && !pending.empty())
        words.push_back(std::exchange(pending, ""));
      pending += part;
    });
    words.push_back(pending);
  };
}

std::vector<Split> splitsOf(const json &step) {
  std::vector<Split> steps;
  for (const auto &[item, where] : stepsOf(step, "pre_tokenizer", "pretokenizers")) {
    const std::string type = typeOf(item, where);
    if (type == "ByteLevel") {
      steps.push_back(byteLevel(item, where));
    } else if (type == "Metaspace") {
      steps.push_back(metaspace(item, where));
    } else if (type == "Digits") {
      steps.push_back(isolating(Pattern(get(item, where, "individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)", where)));
    } else if (type == "Split") {
      const auto behavior = get<std::string>(item, where, "behavior", "");
      if (behavior != "Isolated" && behavior != "Removed")
        unsupported(where + ".behavior", behavior);
      const bool invert = get(item, where, "invert", false);
      if (invert && behavior == "Removed")
        unsupported(where + ".invert", true);
      steps.push_back(isolating(patternOf(item, where), behavior == "Removed"));
    } else {
      unsupported(where + ".type", type);
    }
  }
  return steps;
}

//===--- Back to text ---------------------------------------------------------===//

using Texts = std::vector<std::string>;
using Decode = std::function<void(Texts &texts)>;

std::string joined(const Texts &texts) {
  std::string all;
  for (const std::string &text : texts)
    all += text;
  return all;
}

void fromByteAlphabet(Texts &texts) {
  std::string bytes;
  for (const std::string &text : texts) {
    std::string mapped;
    bool known = true;
    for (size_t at = 0; at < text.size() && known; at += utf8::length(text[at])) {
      const auto found = kAlphabet.bytes.find(text.substr(at, utf8::length(text[at])));
      known = found != kAlphabet.bytes.end();
      if (known)
        mapped += found->second;
    }
    bytes += known ? mapped : text;
  }
  texts = {utf8::valid(bytes)};
}

/// Runs of <0xXX> are the bytes; a run that is no text is one U+FFFD a byte.
void fromByteTokens(Texts &texts) {
  Texts result;
  std::string run;
  auto flush = [&] {
    if (run.empty())
      return;
    if (utf8::isValid(run))
      result.push_back(run);
    else
      for (size_t i = 0; i < run.size(); ++i)
        result.push_back("\xef\xbf\xbd");
    run.clear();
  };
  for (const std::string &text : texts) {
    if (text.size() == 6 && startsWith(text, "<0x") && text[5] == '>' && std::isxdigit(text[3]) && std::isxdigit(text[4])) {
      run += static_cast<char>(std::stoi(text.substr(3, 2), nullptr, 16));
      continue;
    }
    flush();
    result.push_back(text);
  }
  flush();
  texts = std::move(result);
}

void strip(std::string &text, const std::string &content, size_t start, size_t stop) {
  for (; start > 0 && startsWith(text, content); --start)
    text.erase(0, content.size());
  for (; stop > 0 && text.size() >= content.size() &&
         text.compare(text.size() - content.size(), content.size(), content) == 0;
       --stop)
    text.resize(text.size() - content.size());
}

std::vector<Decode> decodersOf(const json &step) {
  std::vector<Decode> steps;
  for (const auto &[item, where] : stepsOf(step, "decoder", "decoders")) {
    const std::string type = typeOf(item, where);
    if (type == "ByteLevel") {
      steps.push_back(fromByteAlphabet);
    } else if (type == "ByteFallback") {
      steps.push_back(fromByteTokens);
    } else if (type == "Fuse") {
      steps.push_back([](Texts &texts) { texts = {joined(texts)}; });
    } else if (type == "Replace") {
      steps.push_back([pattern = patternOf(item, where), content = get<std::string>(item, where, "content", "")](
                          Texts &texts) {
        for (std::string &text : texts)
          text = replaced(text, pattern, content);
      });
    } else if (type == "Strip") {
      const auto content = get<std::string>(item, where, "content", " ");
      const auto start = get<size_t>(item, where, "start", 0), stop = get<size_t>(item, where, "stop", 0);
      if (content.empty())
        unsupported(where + ".content", content);
      steps.push_back([=](Texts &texts) {
        for (std::string &text : texts)
          strip(text, content, start, stop);
      });
    } else if (type == "Metaspace") {
      const auto mark = Pattern::literal(get<std::string>(item, where, "replacement", "\xe2\x96\x81"));
      const bool prefixed = get<std::string>(item, where, "prepend_scheme", "always") != "never" &&
                            get(item, where, "add_prefix_space", true);
      steps.push_back([=](Texts &texts) {
        for (size_t i = 0; i < texts.size(); ++i) {
          texts[i] = replaced(texts[i], mark, " ");
          if (i == 0 && prefixed)
            strip(texts[i], " ", 1, 0);
        }
      });
    } else {
      unsupported(where + ".type", type);
    }
  }
  return steps;
}

//===--- The whole ------------------------------------------------------------===//

struct AddedToken {
  int32_t id;
  std::string content;
  bool lstrip, rstrip, special;
};

/// Cuts added tokens out of a text.
class AddedTokens {
public:
  void add(AddedToken token) { byContent.emplace(token.content, std::move(token)); }
  void compile() {
    std::vector<std::string> contents;
    for (const auto &[content, token] : byContent)
      contents.push_back(content);
    // The longest of those that match.
    std::stable_sort(contents.begin(), contents.end(), [](auto &a, auto &b) { return a.size() > b.size(); });
    std::string expression;
    for (const std::string &content : contents)
      expression += (expression.empty() ? "" : "|") + Pattern::escaped(content);
    if (!contents.empty())
      pattern.emplace(expression, "added_tokens");
  }
  /// `part` gets text between tokens (token null) and tokens.
  void split(std::string_view text, const std::function<void(std::string_view, const AddedToken *)> &part) const {
    if (!pattern) {
      if (!text.empty())
        part(text, nullptr);
      return;
    }
    bool stripNext = false;
    std::vector<std::pair<std::string_view, const AddedToken *>> parts;
    pattern->split(text, [&](std::string_view piece, bool isMatch) {
      const AddedToken *token = isMatch ? &byContent.at(std::string(piece)) : nullptr;
      if (!token && stripNext)
        piece.remove_prefix(std::min(piece.find_first_not_of(kBlanks), piece.size()));
      if (token && token->lstrip && !parts.empty() && !parts.back().second)
        parts.back().first = parts.back().first.substr(0, parts.back().first.find_last_not_of(kBlanks) + 1);
      stripNext = token && token->rstrip;
      parts.emplace_back(piece, token);
    });
    for (const auto &[piece, token] : parts)
      if (token || !piece.empty())
        part(piece, token);
  }

private:
  static constexpr const char *kBlanks = " \t\r\n\f\v";
  std::unordered_map<std::string, AddedToken> byContent;
  std::optional<Pattern> pattern;
};

class JsonTokenizer : public Tokenizer {
public:
  JsonTokenizer(const json &file, const std::string &path, std::string text)
      : model(file.value("model", json::object())), normalisers(normalisersOf(file.value("normalizer", json()))),
        splits(splitsOf(file.value("pre_tokenizer", json()))), decoders(decodersOf(file.value("decoder", json()))),
        joinWithBlanks(decoders.empty()), texts(model.tokens()), definition{{"tokenizer.json", std::move(text)}} {
    readAddedTokens(file.value("added_tokens", json::array()));
    readTemplates(file.value("post_processor", json()));
    readSpecials(path);
    fileHash = hashBytes(definition[0].second);
    for (const auto &ids : {before, after})
      for (int32_t id : ids)
        fileHash = hashBytes(std::to_string(id) + ",", fileHash);
  }

  std::vector<int32_t> encode(std::string_view given) const override {
    std::vector<int32_t> ids;
    const std::string text = utf8::valid(given);
    plain.split(text, [&](std::string_view part, const AddedToken *token) {
      if (token)
        ids.push_back(token->id);
      else
        encodePart(std::string(part), part.data() == text.data(), ids);
    });
    return ids;
  }

  std::string decode(std::span<const int32_t> ids) const override {
    Texts parts;
    for (int32_t id : ids)
      if (isText(id))
        parts.push_back(texts[id]);
    if (joinWithBlanks)
      for (size_t i = 1; i < parts.size(); ++i)
        parts[i].insert(0, " ");
    for (const Decode &step : decoders)
      step(parts);
    return joined(parts);
  }

  bool isText(int32_t id) const override { return id >= 0 && id < vocab() && !texts[id].empty() && !special[id]; }
  int64_t vocab() const override { return static_cast<int64_t>(texts.size()); }
  std::optional<int32_t> bos() const override { return begin; }
  std::optional<int32_t> eos() const override { return end; }
  uint64_t hash() const override { return fileHash; }
  std::string description() const override { return "tokenizer.json, BPE with " + std::to_string(vocab()) + " tokens"; }
  std::vector<std::pair<std::string, std::string>> files() const override { return definition; }
  std::vector<int32_t> prefix() const override { return before; }
  std::vector<int32_t> suffix() const override { return after; }

private:
  void encodePart(std::string part, bool first, std::vector<int32_t> &ids) const {
    for (const Normalise &step : normalisers)
      part = step(std::move(part));
    bool start = first;
    normalised.split(part, [&](std::string_view inner, const AddedToken *token) {
      if (token)
        ids.push_back(token->id);
      else
        encodeWords(std::string(inner), start, ids);
      start = false;
    });
  }

  void encodeWords(std::string text, bool first, std::vector<int32_t> &ids) const {
    Words words{std::move(text)};
    for (const Split &step : splits) {
      Words finer;
      for (size_t i = 0; i < words.size(); ++i)
        step(std::move(words[i]), first && i == 0, finer);
      words = std::move(finer);
    }
    for (const std::string &word : words)
      encodeWord(word, ids);
  }

  /// Most words of a text have been seen before.
  void encodeWord(const std::string &word, std::vector<int32_t> &ids) const {
    constexpr size_t kLongest = 48, kMost = 1 << 16;
    struct Cache {
      uint64_t owner = 0;
      std::unordered_map<std::string, std::vector<int32_t>> words;
    };
    static thread_local Cache cache;
    if (word.size() > kLongest)
      return model.encode(word, ids);
    if (cache.owner != identity || cache.words.size() >= kMost) {
      cache.words.clear();
      cache.owner = identity;
    }
    const auto [entry, isNew] = cache.words.try_emplace(word);
    if (isNew)
      model.encode(word, entry->second);
    ids.insert(ids.end(), entry->second.begin(), entry->second.end());
  }

  void readAddedTokens(const json &list) {
    special.resize(texts.size());
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string where = "added_tokens[" + std::to_string(i) + "]";
      const json &item = list[i];
      const json id = item.is_object() ? item.value("id", json()) : json();
      if (!id.is_number_unsigned() || id.get<uint64_t>() > (1u << 30))
        unsupported(where + ".id", id);
      AddedToken token{id.get<int32_t>(), get<std::string>(item, where, "content", ""), get(item, where, "lstrip", false),
                       get(item, where, "rstrip", false), get(item, where, "special", false)};
      if (token.content.empty())
        unsupported(where + ".content", "");
      if (get(item, where, "single_word", false))
        unsupported(where + ".single_word", true);
      if (texts.size() <= size_t(token.id)) {
        texts.resize(token.id + 1);
        special.resize(token.id + 1);
      }
      texts[token.id] = token.content;
      special[token.id] = token.special;
      ids[token.content] = token.id;
      (get(item, where, "normalized", false) ? normalised : plain).add(std::move(token));
    }
    plain.compile();
    normalised.compile();
  }

  void readTemplates(const json &step) {
    for (const auto &[item, where] : stepsOf(step, "post_processor", "processors")) {
      const std::string type = typeOf(item, where);
      if (type == "ByteLevel")
        continue; // Concerns offsets only.
      if (type != "TemplateProcessing")
        unsupported(where + ".type", type);
      bool behind = false;
      for (const json &piece : item.value("single", json::array())) {
        if (piece.contains("Sequence")) {
          behind = true;
          continue;
        }
        const std::string name = piece.value("/SpecialToken/id"_json_pointer, "");
        const json known = item.value("special_tokens", json::object()).value(name, json::object()).value("ids", json());
        if (!known.is_array())
          unsupported(where + ".single", piece);
        for (const json &id : known)
          (behind ? after : before).push_back(id.get<int32_t>());
        hasTemplate = true;
      }
    }
  }

  /// BOS and EOS: of the template, of tokenizer_config.json beside the file, or by their usual names.
  void readSpecials(const std::string &path) {
    json config;
    const std::string name = "tokenizer_config.json", beside = (std::filesystem::path(path).parent_path() / name).string();
    if (std::filesystem::is_regular_file(beside)) {
      definition.emplace_back(name, runtime::MappedFile(beside).text());
      config = json::parse(definition.back().second, nullptr, false);
    }
    auto named = [&](const char *key, std::initializer_list<const char *> names) -> std::optional<int32_t> {
      if (config.is_object()) {
        json value = config.value(key, json());
        if (value.is_object())
          value = value.value("content", json());
        if (value.is_string() && ids.count(value.get<std::string>()))
          return ids[value.get<std::string>()];
      }
      for (const char *name : names)
        if (ids.count(name))
          return ids[name];
      return std::nullopt;
    };
    begin = before.empty() ? named("bos_token", {"<s>", "<|begin_of_text|>", "<bos>", "<|endoftext|>"}) : before.front();
    end = after.empty() ? named("eos_token", {"</s>", "<|end_of_text|>", "<eos>", "<|endoftext|>"}) : after.back();
    if (!hasTemplate && begin)
      before = {*begin};
  }

  static uint64_t nextIdentity() {
    static std::atomic<uint64_t> count{0};
    return ++count;
  }

  Bpe model;
  std::vector<Normalise> normalisers;
  std::vector<Split> splits;
  std::vector<Decode> decoders;
  bool joinWithBlanks;
  Texts texts;
  std::vector<std::pair<std::string, std::string>> definition; ///< The files.
  uint64_t fileHash;
  const uint64_t identity = nextIdentity();
  std::vector<bool> special;
  std::unordered_map<std::string, int32_t> ids; ///< Of added tokens.
  AddedTokens plain, normalised;                ///< Matched before and after normalisation.
  std::vector<int32_t> before, after;
  std::optional<int32_t> begin, end;
  bool hasTemplate = false;
};

} // namespace

std::shared_ptr<const Tokenizer> tidegate::data::openTokenizerJson(const std::string &path) {
  const runtime::MappedFile file(path);
  const json content = json::parse(file.text(), nullptr, false);
  if (content.is_discarded() || !content.is_object())
    throw RuntimeError(RuntimeError::Kind::Corrupt, "'" + path + "' is not a JSON object");
  try {
    return std::make_shared<JsonTokenizer>(content, path, std::string(file.text()));
  } catch (const RuntimeError &error) {
    throw RuntimeError(error.kind(), "'" + path + "': " + error.what());
  } catch (const json::exception &error) {
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, "'" + path + "': a value has another type than expected (" +
                                                                error.what() + ")");
  }
}
