//===- Library.h - The device library as text -------------------*- C++ -*-===//
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace tidegate::device {

/// The headers of runtime/device, as generated programs include them: name and text.
const std::vector<std::pair<std::string, std::string>> &libraryHeaders();

} // namespace tidegate::device
