//===- Safetensors.cpp - Strict reader and plain writer ---------*- C++ -*-===//
// The header is JSON: {"name": {"dtype", "shape", "data_offsets"}, ...,
// "__metadata__": {text: text}}. Tensors must tile the data section.
//===----------------------------------------------------------------------===//
#include "runtime/core/Safetensors.h"

#include "runtime/core/Error.h"
#include "runtime/core/Suggest.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

using namespace tidegate::runtime;
using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors data is copied as it lies in the file");

namespace {

constexpr size_t kLengthBytes = 8;
constexpr size_t kMaxHeader = 100'000'000; // The format's own limit.
constexpr std::array<std::pair<std::string_view, Dtype>, 6> kDtypes = {{{"F32", Dtype::F32},
                                                                        {"F64", Dtype::F64},
                                                                        {"I32", Dtype::I32},
                                                                        {"I64", Dtype::I64},
                                                                        {"BF16", Dtype::BF16},
                                                                        {"F16", Dtype::F16}}};

std::optional<Dtype> parseDtype(const std::string &text) {
  for (auto [name, dtype] : kDtypes)
    if (name == text)
      return dtype;
  return std::nullopt;
}

std::string formatName(Dtype dtype) {
  for (auto [name, candidate] : kDtypes)
    if (candidate == dtype)
      return std::string(name);
  throw RuntimeError(RuntimeError::Kind::Internal, "an element type without a safetensors name");
}

/// Parses the header; keys that occur twice are reported through `duplicate`.
json parseHeader(std::string_view text, std::string &duplicate) {
  std::set<std::string> seen;
  return json::parse(text, [&](int depth, json::parse_event_t event, json &value) {
    if (event == json::parse_event_t::key && depth == 1 && !seen.insert(value.get<std::string>()).second)
      duplicate = value.get<std::string>();
    return true;
  });
}

} // namespace

void SafetensorsFile::corrupt(const std::string &finding) const {
  throw RuntimeError(RuntimeError::Kind::Corrupt, "'" + file.path() + "' is not a valid safetensors file: " + finding);
}

SafetensorsFile::SafetensorsFile(const std::string &path) : file(path) {
  size_t size = file.bytes().size();
  if (size < kLengthBytes)
    corrupt("expected at least 8 bytes, but it has " + std::to_string(size));
  uint64_t headerSize;
  std::memcpy(&headerSize, file.bytes().data(), kLengthBytes);
  if (headerSize > kMaxHeader || headerSize > size - kLengthBytes)
    corrupt("its header claims " + std::to_string(headerSize) + " bytes, but " + std::to_string(size - kLengthBytes) +
            " follow");
  dataStart = kLengthBytes + headerSize;
  size_t dataSize = size - dataStart;

  json header;
  std::string duplicate;
  try {
    header = parseHeader(file.text().substr(kLengthBytes, headerSize), duplicate);
  } catch (const json::parse_error &error) {
    corrupt("its header is not JSON (byte " + std::to_string(error.byte) + ")");
  }
  if (!header.is_object())
    corrupt("expected a JSON object as header");
  if (!duplicate.empty())
    corrupt("tensor '" + duplicate + "' occurs twice");

  for (const auto &[name, value] : header.items()) {
    try {
      if (name == "__metadata__") {
        extra = value.get<std::map<std::string, std::string>>();
        continue;
      }
      auto dtypeText = value.at("dtype").get<std::string>();
      auto dtype = parseDtype(dtypeText);
      if (!dtype)
        corrupt("tensor '" + name + "' has dtype " + dtypeText + ", expected F32, F64, I32, I64, BF16 or F16");
      // Offsets through json's unsigned type: a negative or fractional one is an error, not a wrap.
      const json &offsets = value.at("data_offsets"), &shape = value.at("shape");
      auto isCount = [](const json &number) { return number.is_number_unsigned(); };
      if (!offsets.is_array() || offsets.size() != 2 || !std::all_of(offsets.begin(), offsets.end(), isCount))
        corrupt("tensor '" + name + "' needs two non-negative data_offsets");
      if (!shape.is_array() || !std::all_of(shape.begin(), shape.end(), isCount))
        corrupt("tensor '" + name + "' needs a shape of non-negative sizes");
      Entry entry{*dtype, shape.get<std::vector<int64_t>>(), offsets[0].get<size_t>(), offsets[1].get<size_t>()};
      if (entry.begin > entry.end)
        corrupt("tensor '" + name + "' ends at byte " + std::to_string(entry.end) + " before it begins at " +
                std::to_string(entry.begin));
      if (entry.end > dataSize)
        corrupt("tensor '" + name + "' ends at data byte " + std::to_string(entry.end) + ", but the file has only " +
                std::to_string(dataSize) + " (truncated?)");
      size_t needed = static_cast<size_t>(elementCount(entry.shape)) * dtypeSize(*dtype);
      if (entry.end - entry.begin != needed)
        corrupt("tensor '" + name + "' of shape " + shapeText(entry.shape) + " needs " + std::to_string(needed) +
                " bytes, but has " + std::to_string(entry.end - entry.begin));
      table.emplace(name, std::move(entry));
    } catch (const json::exception &) {
      corrupt("the header entry of '" + name + "' lacks dtype, shape or data_offsets");
    }
  }

  // In order of position, every tensor begins where the one before ends.
  std::vector<std::pair<const std::string *, const Entry *>> order;
  for (const auto &[name, entry] : table)
    order.emplace_back(&name, &entry);
  std::sort(order.begin(), order.end(), [](const auto &a, const auto &b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  size_t position = 0;
  for (auto [name, entry] : order) {
    if (entry->begin != position)
      corrupt("tensor '" + *name + "' begins at data byte " + std::to_string(entry->begin) +
              (entry->begin < position ? ", inside the one before, which ends at "
                                       : ", leaving a hole after the one before, which ends at ") +
              std::to_string(position));
    position = entry->end;
  }
  if (position != dataSize)
    corrupt("the data section has " + std::to_string(dataSize) + " bytes, but its tensors end at " +
            std::to_string(position));
}

const SafetensorsFile::Entry &SafetensorsFile::entry(const std::string &name) const {
  auto found = table.find(name);
  if (found != table.end())
    return found->second;
  std::vector<std::string> names;
  for (const auto &[other, entry] : table)
    names.push_back(other);
  throw RuntimeError(RuntimeError::Kind::NotFound,
                     "'" + file.path() + "' has no tensor '" + name + "'" + didYouMean(name, names));
}

std::span<const std::byte> SafetensorsFile::bytes(const std::string &name) const {
  const Entry &found = entry(name);
  return file.bytes().subspan(dataStart + found.begin, found.end - found.begin);
}

HostTensor SafetensorsFile::tensor(const std::string &name) const {
  const Entry &found = entry(name);
  HostTensor result(found.dtype, found.shape);
  auto source = bytes(name);
  std::copy(source.begin(), source.end(), result.bytes().begin());
  return result;
}

void SafetensorsFile::readInto(const std::string &name, std::span<const int64_t> shape, HostSpan target) const {
  const Entry &found = entry(name);
  if (!std::equal(shape.begin(), shape.end(), found.shape.begin(), found.shape.end()))
    throw RuntimeError(RuntimeError::Kind::InvalidArgument, "'" + file.path() + "': expected tensor '" + name +
                                                                "' of shape " + shapeText(shape) + ", but it is " +
                                                                shapeText(found.shape));
  if (found.dtype == target.dtype) {
    auto source = bytes(name);
    std::copy(source.begin(), source.end(), target.bytes().begin());
    return;
  }
  try {
    HostTensor converted = tensor(name).to(target.dtype);
    std::copy(converted.bytes().begin(), converted.bytes().end(), target.bytes().begin());
  } catch (const RuntimeError &error) {
    throw RuntimeError(error.kind(), "'" + file.path() + "', tensor '" + name + "': " + error.what());
  }
}

NamedTensor tidegate::runtime::named(std::string name, const HostTensor &tensor) {
  return {std::move(name), tensor.dtype(), tensor.shape(), tensor.bytes()};
}

void tidegate::runtime::writeSafetensors(FileWriter &writer, std::span<const NamedTensor> tensors,
                                         const std::map<std::string, std::string> &metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty())
    header["__metadata__"] = metadata;
  size_t position = 0;
  for (const NamedTensor &tensor : tensors) {
    size_t needed = static_cast<size_t>(elementCount(tensor.shape)) * dtypeSize(tensor.dtype);
    if (tensor.bytes.size() != needed || header.contains(tensor.name))
      throw RuntimeError(RuntimeError::Kind::Internal, "tensor '" + tensor.name + "' of shape " +
                                                           shapeText(tensor.shape) + " was given twice or with " +
                                                           std::to_string(tensor.bytes.size()) + " bytes");
    header[tensor.name] = {{"dtype", formatName(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {position, position + needed}}};
    position += needed;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' '); // Data starts aligned.
  uint64_t headerSize = text.size();
  writer.write(std::as_bytes(std::span(&headerSize, 1)));
  writer.write(text);
  for (const NamedTensor &tensor : tensors)
    writer.write(tensor.bytes);
}

FileDigest tidegate::runtime::writeSafetensorsFile(const std::string &path, std::span<const NamedTensor> tensors,
                                                   const std::map<std::string, std::string> &metadata) {
  return writeFileAtomically(path, [&](FileWriter &writer) { writeSafetensors(writer, tensors, metadata); });
}
