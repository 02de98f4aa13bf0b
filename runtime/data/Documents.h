//===- Documents.h - Documents of text, JSONL and Parquet -------*- C++ -*-===//
// A file is read as a stream, never as a whole. Large plain files can be cut
// into ranges by lines, so that several threads share one.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace tidegate::data {

/// A document, or a piece of one: a text file is one document, read in pieces
/// of whole lines of about a megabyte.
struct Piece {
  std::string text;
  bool starts = true, ends = true; ///< Whether the document begins and ends with it.
};

class DocumentReader {
public:
  virtual ~DocumentReader() = default;
  /// False at the end. Errors: RuntimeError that names the file, and for JSONL the line.
  virtual bool next(Piece &piece) = 0;
};

/// Whether a file can be cut: plain text and JSONL, not compressed.
bool isDivisible(const std::string &path);

/// The kind is told by the name: *.jsonl (a text field on each line) and
/// everything else (text), both also as *.gz and *.zst, and *.parquet (a text
/// column; read by a child process, python3 with pyarrow). Of a divisible file
/// only the lines that start in [begin, end).
std::unique_ptr<DocumentReader> openDocuments(const std::string &path, const std::string &field, int64_t begin = 0,
                                              int64_t end = INT64_MAX);

} // namespace tidegate::data
