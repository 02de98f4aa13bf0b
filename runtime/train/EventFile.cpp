//===- EventFile.cpp - Curves for TensorBoard -------------------*- C++ -*-===//
// Format: TFRecord framing, with the CRC masked as TensorFlow's record writer
// does: rotated right by 15 bits plus 0xa282ead8.
//===----------------------------------------------------------------------===//
#include "runtime/train/EventFile.h"

#include "runtime/train/events.pb.h"

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
  events::Event version;
  version.set_wall_time(now());
  version.set_file_version("brain.Event:2");
  record(version.SerializeAsString());
  events::Event start;
  start.set_wall_time(now());
  start.set_step(firstStep);
  start.mutable_session_log()->set_status(events::SessionLog::START);
  record(start.SerializeAsString());
}

void EventFile::add(int64_t step, Scalars scalars) {
  events::Event event;
  event.set_wall_time(now());
  event.set_step(step);
  for (const auto &[tag, value] : scalars) {
    auto *entry = event.mutable_summary()->add_value();
    entry->set_tag(tag);
    entry->set_simple_value(float(value));
  }
  record(event.SerializeAsString());
}

void EventFile::record(std::string_view message) {
  const uint64_t length = message.size();
  const uint32_t lengthCrc = masked(crc32c(bytesOf(length))), messageCrc = masked(crc32c(message));
  std::string frame;
  for (std::string_view part : {bytesOf(length), bytesOf(lengthCrc), message, bytesOf(messageCrc)})
    frame += part;
  file.append(frame);
}
