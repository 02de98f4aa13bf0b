//===- Http.cpp - One request, and doing it again ---------------*- C++ -*-===//
// A response goes to the file as it arrives, so a lost connection costs only
// what had not arrived.
//===----------------------------------------------------------------------===//
#include "runtime/data/Http.h"

#include "runtime/core/Error.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <map>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <thread>
#include <unistd.h>
#ifdef TIDEGATE_OPENSSL
#include <openssl/ssl.h>
#endif

using namespace tidegate::data;
namespace runtime = tidegate::runtime;
using tidegate::runtime::RuntimeError;
using Kind = RuntimeError::Kind;
namespace fs = std::filesystem;

namespace {

constexpr int kTimeoutSeconds = 30;
constexpr int kRedirects = 8;

/// This attempt failed; another may not.
struct Transient : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Address {
  bool tls;
  std::string host, port, path;
};

Address parseAddress(const std::string &url) {
  Address address;
  address.tls = url.rfind("https://", 0) == 0;
  const std::string rest = url.substr(address.tls ? 8 : 7);
  const size_t slash = std::min(rest.find('/'), rest.size());
  address.host = rest.substr(0, slash);
  address.path = slash < rest.size() ? rest.substr(slash, rest.find('#') - slash) : "/";
  address.port = address.tls ? "443" : "80";
  if (const size_t colon = address.host.rfind(':'); colon != std::string::npos && address.host.back() != ']') {
    address.port = address.host.substr(colon + 1);
    address.host.resize(colon);
  }
  if (address.host.size() > 1 && address.host.front() == '[' && address.host.back() == ']')
    address.host = address.host.substr(1, address.host.size() - 2);
  // No blank or control character may end up in the request.
  if (address.host.empty() || std::any_of(url.begin(), url.end(), [](unsigned char c) { return c <= ' ' || c == 127; }))
    throw RuntimeError(Kind::InvalidArgument, "expected an http address, but got '" + url + "'");
  return address;
}

/// A connection, with TLS where the address wants it.
class Connection {
public:
  explicit Connection(const Address &address) {
    addrinfo hints{}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if (const int code = getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found))
      throw Transient("cannot find host '" + address.host + "': " + gai_strerror(code));
    std::string reason = "no address";
    for (addrinfo *at = found; at && descriptor < 0; at = at->ai_next) {
      descriptor = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
      const timeval timeout{kTimeoutSeconds, 0};
      setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
      setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
      if (connect(descriptor, at->ai_addr, at->ai_addrlen) != 0) {
        reason = std::strerror(errno);
        close(std::exchange(descriptor, -1));
      }
    }
    freeaddrinfo(found);
    if (descriptor < 0)
      throw Transient("cannot connect to " + address.host + ":" + address.port + ": " + reason);
    if (address.tls)
      startTls(address);
  }
  Connection(const Connection &) = delete;
  ~Connection() {
#ifdef TIDEGATE_OPENSSL
    SSL_free(ssl);
    SSL_CTX_free(context);
#endif
    close(descriptor);
  }

  void send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = sendSome(text);
      if (sent <= 0)
        throw Transient("the connection was lost while asking");
      text.remove_prefix(sent);
    }
  }
  /// 0 at the end.
  size_t receive(char *out, size_t size) {
    const ssize_t got = receiveSome(out, size);
    if (got < 0)
      throw Transient("the connection was lost");
    return got;
  }

private:
#ifdef TIDEGATE_OPENSSL
  void startTls(const Address &address) {
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_default_verify_paths(context);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
    ssl = SSL_new(context);
    SSL_set_tlsext_host_name(ssl, address.host.c_str());
    SSL_set1_host(ssl, address.host.c_str());
    SSL_set_fd(ssl, descriptor);
    if (SSL_connect(ssl) != 1)
      throw Transient("no secure connection to " + address.host + " (certificate: " +
                      X509_verify_cert_error_string(SSL_get_verify_result(ssl)) + ")");
  }
  ssize_t sendSome(std::string_view text) {
    return ssl ? SSL_write(ssl, text.data(), static_cast<int>(text.size()))
               : ::send(descriptor, text.data(), text.size(), MSG_NOSIGNAL);
  }
  ssize_t receiveSome(char *out, size_t size) {
    if (!ssl)
      return recv(descriptor, out, size, 0);
    const int got = SSL_read(ssl, out, static_cast<int>(size));
    return got <= 0 && SSL_get_error(ssl, got) == SSL_ERROR_ZERO_RETURN ? 0 : got <= 0 ? -1 : got;
  }
  SSL_CTX *context = nullptr;
  SSL *ssl = nullptr;
#else
  void startTls(const Address &address) {
    close(descriptor);
    throw RuntimeError(Kind::InvalidArgument,
                       "'https://" + address.host + "' needs a build with OpenSSL; this one knows http only");
  }
  ssize_t sendSome(std::string_view text) { return ::send(descriptor, text.data(), text.size(), MSG_NOSIGNAL); }
  ssize_t receiveSome(char *out, size_t size) { return recv(descriptor, out, size, 0); }
#endif
  int descriptor = -1;
};

/// The answer to one GET, its body read piece by piece.
class Response {
public:
  Response(const Address &address, int64_t from) : connection(address) {
    std::string request = "GET " + address.path + " HTTP/1.1\r\nHost: " + address.host +
                          (address.port == "80" || address.port == "443" ? "" : ":" + address.port) +
                          "\r\nUser-Agent: tidegate\r\nAccept-Encoding: identity\r\nConnection: close\r\n";
    if (from > 0)
      request += "Range: bytes=" + std::to_string(from) + "-\r\n";
    connection.send(request + "\r\n");
    const std::string first = line();
    if (first.rfind("HTTP/1.", 0) != 0 || first.size() < 12)
      throw Transient("the server did not answer with HTTP");
    status = std::atoi(first.c_str() + 9);
    for (std::string text = line(); !text.empty(); text = line()) {
      const size_t colon = std::min(text.find(':'), text.size());
      std::string name = text.substr(0, colon);
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      const size_t value = text.find_first_not_of(" \t", colon + 1);
      headers[name] = value == std::string::npos ? "" : text.substr(value);
    }
    chunked = headers["transfer-encoding"] == "chunked";
    if (!chunked && headers.count("content-length"))
      left = std::atoll(headers["content-length"].c_str());
  }

  /// The next part of the body, "" at its end. Throws Transient when it ends too early.
  std::string_view part() {
    if (chunked && left <= 0)
      startChunk();
    if (left == 0)
      return {};
    if (at == filled && !fill()) {
      if (left > 0)
        throw Transient("the connection was lost with " + std::to_string(left) + " bytes still to come");
      return {}; // No length was given: the end of the connection is the end of the body.
    }
    const size_t n = left < 0 ? filled - at : std::min<size_t>(filled - at, left);
    const std::string_view result(buffer + at, n);
    at += n;
    if (left > 0)
      left -= n;
    return result;
  }

  int status = 0;
  std::map<std::string, std::string> headers;

private:
  bool fill() {
    at = 0;
    filled = connection.receive(buffer, sizeof buffer);
    return filled > 0;
  }
  std::string line() {
    std::string text;
    while (true) {
      if (at == filled && !fill())
        throw Transient("the connection was lost before the answer");
      const char c = buffer[at++];
      if (c == '\n')
        break;
      text += c;
      if (text.size() > 65536)
        throw Transient("the server did not answer with HTTP");
    }
    if (!text.empty() && text.back() == '\r')
      text.pop_back();
    return text;
  }
  void startChunk() {
    if (left == 0 && !firstChunk)
      line(); // The end of the chunk before.
    if (lastChunk)
      return;
    firstChunk = false;
    left = std::strtoll(line().c_str(), nullptr, 16);
    lastChunk = left == 0;
  }

  Connection connection;
  char buffer[64 << 10];
  size_t at = 0, filled = 0;
  int64_t left = -1; ///< Bytes of the body, or of its chunk; -1: not known.
  bool chunked = false, firstChunk = true, lastChunk = false;
};

/// Appends to `part` what is missing of `url`. False: there is no such file.
bool attempt(const std::string &url, const std::string &part) {
  std::string target = url;
  for (int redirect = 0; redirect <= kRedirects; ++redirect) {
    const Address address = parseAddress(target);
    std::error_code none;
    const int64_t have = fs::exists(part) ? static_cast<int64_t>(fs::file_size(part, none)) : 0;
    Response response(address, have);
    if (response.status >= 301 && response.status <= 308 && response.status != 304) {
      const std::string &to = response.headers["location"];
      target = to.rfind("/", 0) == 0 ? target.substr(0, target.find('/', target.find("://") + 3)) + to : to;
      if (!http::isAddress(target))
        throw Transient("the server redirects to '" + to + "'");
      continue;
    }
    if (response.status == 404 || response.status == 410)
      return false;
    if (response.status == 416) { // The part is as long as the file, or not of this file at all.
      const bool whole = response.headers["content-range"] == "bytes */" + std::to_string(have);
      if (whole)
        return true;
      fs::remove(part);
      throw Transient("the server refused to continue the download");
    }
    if (response.status != 200 && response.status != 206)
      throw Transient("the server answered with status " + std::to_string(response.status));
    const bool continues = response.status == 206;
    if (continues && response.headers["content-range"].rfind("bytes " + std::to_string(have) + "-", 0) != 0)
      throw Transient("the server sent another range than asked for");
    const int descriptor = open(part.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | (continues ? O_APPEND : O_TRUNC), 0666);
    if (descriptor < 0)
      runtime::throwErrno("create", part);
    try {
      for (std::string_view text = response.part(); !text.empty(); text = response.part())
        while (!text.empty()) {
          const ssize_t written = write(descriptor, text.data(), text.size());
          if (written < 0)
            runtime::throwErrno("write", part);
          text.remove_prefix(written);
        }
      if (fsync(descriptor) != 0)
        runtime::throwErrno("sync", part);
    } catch (...) {
      close(descriptor);
      throw;
    }
    close(descriptor);
    return true;
  }
  throw Transient("more than " + std::to_string(kRedirects) + " redirects");
}

} // namespace

bool http::isAddress(const std::string &path) { return path.rfind("http://", 0) == 0 || path.rfind("https://", 0) == 0; }

bool http::download(const std::string &url, const std::string &path, const Waiting &waiting) {
  double pause = waiting.firstPause;
  const std::string part = path + ".part";
  for (int failures = 0;;) {
    const auto sizeBefore = fs::exists(part) ? fs::file_size(part) : 0;
    try {
      if (!attempt(url, part))
        return false;
      if (rename(part.c_str(), path.c_str()) != 0)
        runtime::throwErrno("rename", part);
      return true;
    } catch (const Transient &error) {
      // What arrived counts as success: a large file may need many connections.
      const bool progressed = fs::exists(part) && fs::file_size(part) > sizeBefore;
      failures = progressed ? 1 : failures + 1;
      if (failures > waiting.retries)
        throw RuntimeError(Kind::Io, "cannot download '" + url + "' after " + std::to_string(failures) +
                                         " attempts: " + error.what());
      if (progressed)
        pause = waiting.firstPause;
      std::this_thread::sleep_for(std::chrono::duration<double>(pause));
      pause = std::min(2 * pause, 30.0);
    }
  }
}
