//===- EventFile.cpp - Curves for TensorBoard -------------------*- C++ -*-===//
// Format: TFRecord framing, with the CRC masked as TensorFlow's record writer
// does: rotated right by 15 bits plus 0xa282ead8. A record is a message of
// TensorFlow's event.proto and summary.proto in the wire format of protobuf; the
// tests read it with protobuf.
//===----------------------------------------------------------------------===//
#include "runtime/train/EventFile.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <unistd.h>

using namespace tidegate::train;
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = "events.out.tfevents.";

constexpr std::array<uint32_t, 256> kCrcTable = [] {
  constexpr uint32_t kPolynomial = 0x82f63b78; // Castagnoli, bits reversed.
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit)
      crc = (crc >> 1) ^ (crc & 1 ? kPolynomial : 0);
    table[byte] = crc;
  }
  return table;
}();

uint32_t masked(uint32_t crc) { return std::rotr(crc, 15) + 0xa282ead8u; }

template <typename T>
std::string_view bytesOf(const T &value) {
  static_assert(std::endian::native == std::endian::little, "records are little-endian");
  return {reinterpret_cast<const char *>(&value), sizeof value};
}

/// A message of protobuf's wire format. Source: protobuf.dev, "Encoding".
class Message {
public:
  void integer(int field, uint64_t value) {
    key(field, 0);
    varint(value);
  }
  void number(int field, double value) {
    key(field, 1);
    bytes += bytesOf(value);
  }
  void number(int field, float value) {
    key(field, 5);
    bytes += bytesOf(value);
  }
  void text(int field, std::string_view value) {
    key(field, 2);
    varint(value.size());
    bytes += value;
  }
  void message(int field, const Message &value) { text(field, value.bytes); }

  std::string bytes;

private:
  void key(int field, int type) { varint(uint64_t(field) << 3 | type); }
  void varint(uint64_t value) {
    for (; value >= 128; value >>= 7)
      bytes += char(value | 128);
    bytes += char(value);
  }
};

/// Fields of Event, Summary, Summary.Value and SessionLog.
enum { kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7 };
enum { kValue = 1 };
enum { kTag = 1, kSimpleValue = 2 };
enum { kStatus = 1, kStart = 1 };

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// Readers take files in the order of their names, which begin with seconds.
std::string newName(const std::string &directory) {
  int64_t seconds = int64_t(now());
  for (const auto &entry : fs::directory_iterator(directory)) {
    std::string name = entry.path().filename().string();
    int64_t used = 0;
    if (name.starts_with(kPrefix) &&
        std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), used).ec == std::errc())
      seconds = std::max(seconds, used + 1);
  }
  return directory + "/" + std::string(kPrefix) + std::to_string(seconds) + "." + std::to_string(getpid());
}

} // namespace

uint32_t tidegate::train::crc32c(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (unsigned char byte : bytes)
    crc = (crc >> 8) ^ kCrcTable[(crc ^ byte) & 0xff];
  return ~crc;
}

EventFile::EventFile(const std::string &directory, int64_t firstStep) : file(newName(directory)) {
  Message version;
  version.number(kWallTime, now());
  version.text(kFileVersion, "brain.Event:2");
  record(version.bytes);
  // The reader forgets everything from this step on that is in older files.
  Message log, start;
  log.integer(kStatus, kStart);
  start.number(kWallTime, now());
  start.integer(kStep, uint64_t(firstStep));
  start.message(kSessionLog, log);
  record(start.bytes);
}

void EventFile::add(int64_t step, Scalars scalars) {
  Message summary, event;
  for (const auto &[tag, number] : scalars) {
    Message value;
    value.text(kTag, tag);
    value.number(kSimpleValue, float(number));
    summary.message(kValue, value);
  }
  event.number(kWallTime, now());
  event.integer(kStep, uint64_t(step));
  event.message(kSummary, summary);
  record(event.bytes);
}

void EventFile::record(std::string_view message) {
  const uint64_t length = message.size();
  const uint32_t lengthCrc = masked(crc32c(bytesOf(length))), messageCrc = masked(crc32c(message));
  std::string frame;
  for (std::string_view part : {bytesOf(length), bytesOf(lengthCrc), message, bytesOf(messageCrc)})
    frame += part;
  file.append(frame);
}
