//===- Documents.cpp - Streams, lines, documents ----------------*- C++ -*-===//
// Bytes (plain, gzip, zstd) become lines, lines become documents.
//===----------------------------------------------------------------------===//
#include "runtime/data/Documents.h"

#include "runtime/core/Error.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>
#include <zlib.h>
#include <zstd.h>

using namespace tidegate::data;
using nlohmann::json;
using tidegate::runtime::RuntimeError;
using tidegate::runtime::throwErrno;
using Kind = RuntimeError::Kind;

namespace {

constexpr size_t kPiece = 1 << 20;
constexpr size_t kBlock = 256 << 10;

struct InputKind {
  bool gzip = false, zstd = false, jsonl = false, parquet = false;
};

InputKind kindOf(const std::string &path) {
  std::filesystem::path name = std::filesystem::path(path).filename();
  InputKind kind;
  kind.gzip = name.extension() == ".gz";
  kind.zstd = name.extension() == ".zst";
  if (kind.gzip || kind.zstd)
    name = name.stem();
  kind.jsonl = name.extension() == ".jsonl" || name.extension() == ".ndjson";
  kind.parquet = name.extension() == ".parquet";
  return kind;
}

/// Bytes from the beginning on.
class ByteStream {
public:
  virtual ~ByteStream() = default;
  virtual size_t read(char *out, size_t size) = 0; ///< 0 at the end.
};

class PlainFile : public ByteStream {
public:
  PlainFile(const std::string &path, int64_t offset) : path(path), offset(offset) {
    descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
      throwErrno("open", path);
  }
  ~PlainFile() override { close(descriptor); }
  size_t read(char *out, size_t size) override {
    ssize_t got;
    do
      got = pread(descriptor, out, size, offset);
    while (got < 0 && errno == EINTR);
    if (got < 0)
      throwErrno("read", path);
    offset += got;
    return got;
  }

private:
  std::string path;
  int64_t offset;
  int descriptor;
};

class GzipFile : public ByteStream {
public:
  explicit GzipFile(const std::string &path) : path(path), file(gzopen(path.c_str(), "rb")) {
    if (!file)
      throwErrno("open", path);
    gzbuffer(file, kBlock);
    // zlib hands on what is not compressed as it is.
    if (std::filesystem::file_size(path) > 0 && gzdirect(file)) {
      gzclose(file);
      throw RuntimeError(Kind::Corrupt, "'" + path + "' is not a gzip file");
    }
  }
  ~GzipFile() override { gzclose(file); }
  size_t read(char *out, size_t size) override {
    const int got = gzread(file, out, static_cast<unsigned>(size));
    int code = Z_OK;
    const char *text = gzerror(file, &code);
    // A truncated file ends without an error from gzread itself.
    if (got < 0 || code == Z_BUF_ERROR || code == Z_DATA_ERROR)
      throw RuntimeError(Kind::Corrupt, "'" + path + "' is not a whole gzip file: " + text);
    return got;
  }

private:
  std::string path;
  gzFile file;
};

class ZstdFile : public ByteStream {
public:
  explicit ZstdFile(const std::string &path) : path(path), file(path, 0), context(ZSTD_createDCtx()), in(kBlock) {}
  ~ZstdFile() override { ZSTD_freeDCtx(context); }
  size_t read(char *out, size_t size) override {
    ZSTD_outBuffer target{out, size, 0};
    while (target.pos == 0) {
      if (source.pos == source.size) {
        source = {in.data(), file.read(in.data(), in.size()), 0};
        if (source.size == 0) {
          if (pending != 0)
            throw RuntimeError(Kind::Corrupt, "'" + path + "' is not a whole zstd file: it ends inside a frame");
          return 0;
        }
      }
      pending = ZSTD_decompressStream(context, &target, &source);
      if (ZSTD_isError(pending))
        throw RuntimeError(Kind::Corrupt, "'" + path + "' is not a zstd file: " + ZSTD_getErrorName(pending));
    }
    return target.pos;
  }

private:
  std::string path;
  PlainFile file;
  ZSTD_DCtx *context;
  std::vector<char> in;
  ZSTD_inBuffer source{nullptr, 0, 0};
  size_t pending = 0;
};

/// Lines with their newline; those that start at `end` or later are left.
class Lines {
public:
  Lines(std::unique_ptr<ByteStream> stream, int64_t begin, int64_t end)
      : stream(std::move(stream)), position(begin), end(end) {}

  /// A longer line than `most` comes in parts. False at the end.
  bool next(std::string &line, size_t most) {
    line.clear();
    if (atLineStart && position >= end)
      return false;
    while (line.size() < most) {
      if (at == filled && !fill())
        break;
      const char *start = block.data() + at;
      const size_t room = std::min(filled - at, most - line.size());
      const char *newline = static_cast<const char *>(std::memchr(start, '\n', room));
      const size_t n = newline ? newline - start + 1 : room;
      line.append(start, n);
      at += n;
      if (newline)
        break;
    }
    position += line.size();
    atLineStart = !line.empty() && line.back() == '\n';
    return !line.empty();
  }

private:
  bool fill() {
    block.resize(kBlock);
    filled = stream->read(block.data(), block.size());
    at = 0;
    return filled > 0;
  }

  std::unique_ptr<ByteStream> stream;
  int64_t position, end;
  bool atLineStart = true;
  std::string block;
  size_t at = 0, filled = 0;
};

/// Stands before the first line that starts at `begin` or later.
Lines openLines(const std::string &path, int64_t begin, int64_t end) {
  const InputKind kind = kindOf(path);
  if (kind.gzip)
    return {std::make_unique<GzipFile>(path), 0, INT64_MAX};
  if (kind.zstd)
    return {std::make_unique<ZstdFile>(path), 0, INT64_MAX};
  if (begin == 0)
    return {std::make_unique<PlainFile>(path, 0), 0, end};
  Lines lines(std::make_unique<PlainFile>(path, begin - 1), begin - 1, end);
  std::string rest;
  while (lines.next(rest, kPiece) && rest.back() != '\n')
    ;
  return lines;
}

/// The last position in `text` where a character of UTF-8 ends, `text.size()` when it is not UTF-8.
size_t wholeCharacters(const std::string &text) {
  for (size_t back = 1; back <= std::min<size_t>(4, text.size()); ++back) {
    const unsigned char c = text[text.size() - back];
    if ((c & 0xc0) == 0x80)
      continue;
    const size_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
    return length > back ? text.size() - back : text.size();
  }
  return text.size();
}

class TextDocument : public DocumentReader {
public:
  TextDocument(const std::string &path, int64_t begin, int64_t end)
      : lines(openLines(path, begin, end)), starts(begin == 0), lastRange(true) {
    if (isDivisible(path))
      lastRange = end >= static_cast<int64_t>(std::filesystem::file_size(path));
    lines.next(ahead, kPiece);
  }
  bool next(Piece &piece) override {
    if (ahead.empty())
      return false;
    piece.text = std::move(ahead);
    ahead.clear();
    while (lines.next(ahead, kPiece) && piece.text.size() + ahead.size() <= kPiece)
      piece.text += ahead;
    if (piece.text.back() != '\n' && !ahead.empty()) { // A line in parts.
      const size_t whole = wholeCharacters(piece.text);
      if (whole > 0) {
        ahead.insert(0, piece.text, whole);
        piece.text.resize(whole);
      }
    }
    piece.starts = std::exchange(starts, false);
    piece.ends = ahead.empty() && lastRange;
    return true;
  }

private:
  Lines lines;
  std::string ahead;
  bool starts, lastRange;
};

class JsonLines : public DocumentReader {
public:
  JsonLines(const std::string &path, const std::string &field, int64_t begin, int64_t end)
      : path(path), field(field), begin(begin), lines(openLines(path, begin, end)) {}

  bool next(Piece &piece) override {
    std::string line;
    while (lines.next(line, SIZE_MAX)) {
      ++number;
      if (line.find_first_not_of(" \t\r\n") == std::string::npos)
        continue;
      json value;
      try {
        value = json::parse(line);
      } catch (const json::parse_error &error) {
        // "[json...] parse error at line 1, column 9: REASON; last read: ..."
        std::string_view reason = error.what();
        reason = reason.substr(reason.find(": ") + 2);
        wrong("expected a JSON object, but found byte " + std::to_string(error.byte) + ": " +
              std::string(reason.substr(0, reason.find("; last read"))));
      }
      if (!value.is_object())
        wrong("expected a JSON object, but found a value of type " + std::string(value.type_name()));
      const auto found = value.find(field);
      if (found == value.end() || !found->is_string())
        wrong("expected a string field '" + field + "', but found " +
              (found == value.end() ? "none" : found->type_name()));
      piece = {found->get<std::string>(), true, true};
      return true;
    }
    return false;
  }

private:
  [[noreturn]] void wrong(const std::string &what) const {
    const std::string where = begin ? " after byte " + std::to_string(begin) : "";
    throw RuntimeError(Kind::InvalidArgument, "'" + path + "', line " + std::to_string(number) + where + ": " + what);
  }

  std::string path, field;
  int64_t begin, number = 0;
  Lines lines;
};

/// Documents as lengths (8 bytes, little-endian) and bytes; -1 after the last one.
constexpr const char *kParquetScript = R"(
import struct, sys
try:
    import pyarrow.parquet as parquet
except ImportError:
    sys.exit(77)
path, column = sys.argv[1:3]
file = parquet.ParquetFile(path)
if column not in file.schema_arrow.names:
    sys.exit("expected a column '%s' in '%s', but it has %s" % (column, path, ", ".join(file.schema_arrow.names)))
out = sys.stdout.buffer
for batch in file.iter_batches(batch_size=256, columns=[column]):
    for text in batch.column(0):
        data = (text.as_py() or "").encode()
        out.write(struct.pack("<q", len(data)))
        out.write(data)
out.write(struct.pack("<q", -1))
)";

std::string quoted(const std::string &text) {
  std::string result = "'";
  for (char c : text)
    result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

class ParquetFile : public DocumentReader {
public:
  ParquetFile(const std::string &path, const std::string &column) : path(path) {
    if (!std::filesystem::exists(path))
      throw RuntimeError(Kind::NotFound, "cannot open '" + path + "': no such file");
    const char *chosen = std::getenv("TIDEGATE_PYTHON");
    const std::string command = quoted(chosen ? chosen : "python3") + " -c " + quoted(kParquetScript) + " " +
                                quoted(path) + " " + quoted(column);
    pipe = popen(command.c_str(), "re");
    if (!pipe)
      throwErrno("start a process to read", path);
  }
  ~ParquetFile() override {
    if (pipe)
      pclose(pipe);
  }
  bool next(Piece &piece) override {
    int64_t length = 0;
    if (!pipe)
      return false;
    if (fread(&length, 1, 8, pipe) != 8)
      failed();
    if (length < 0) {
      pclose(std::exchange(pipe, nullptr));
      return false;
    }
    piece = {std::string(length, '\0'), true, true};
    if (fread(piece.text.data(), 1, length, pipe) != static_cast<size_t>(length))
      failed();
    return true;
  }

private:
  [[noreturn]] void failed() {
    const int status = pclose(std::exchange(pipe, nullptr));
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code == 77 || code == 127)
      throw RuntimeError(Kind::NotFound, "cannot read '" + path + "': Parquet needs python3 with the package pyarrow (" +
                                             (code == 77 ? "the package" : "python3") +
                                             " is missing); TIDEGATE_PYTHON chooses another interpreter");
    throw RuntimeError(Kind::Corrupt,
                       "cannot read '" + path + "': its reader ended with status " + std::to_string(code));
  }

  std::string path;
  FILE *pipe;
};

} // namespace

bool tidegate::data::isDivisible(const std::string &path) {
  const InputKind kind = kindOf(path);
  return !kind.gzip && !kind.zstd && !kind.parquet;
}

std::unique_ptr<DocumentReader> tidegate::data::openDocuments(const std::string &path, const std::string &field,
                                                              int64_t begin, int64_t end) {
  const InputKind kind = kindOf(path);
  if (kind.parquet)
    return std::make_unique<ParquetFile>(path, field);
  if (kind.jsonl)
    return std::make_unique<JsonLines>(path, field, begin, end);
  return std::make_unique<TextDocument>(path, begin, end);
}
