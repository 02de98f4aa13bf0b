//===- Http.h - Downloads that survive bad connections ----------*- C++ -*-===//
// HTTP/1.1 GET with ranges, redirects, retries with back-off. https needs a
// build with OpenSSL.
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/data/DataSet.h"

namespace tidegate::data::http {

/// Whether `path` is an http or https address.
bool isAddress(const std::string &path);

/// Downloads `url` to `path`, which appears complete or not at all; what an
/// earlier attempt left in `path`.part is continued. False when the server says
/// that there is no such file (404).
/// Errors: Io with the last failure when every retry failed; InvalidArgument
///         for an address that is not one, or https without OpenSSL.
bool download(const std::string &url, const std::string &path, const Waiting &waiting);

} // namespace tidegate::data::http
