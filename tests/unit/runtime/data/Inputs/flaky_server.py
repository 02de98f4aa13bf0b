"""Serves a directory over HTTP with ranges, and fails one request in five: by
turns with status 503, an answer that breaks off, and a closed connection.
Usage: flaky_server.py DIRECTORY; prints its port. Hub addresses
(/datasets/NAME/resolve/main/FILE) are redirected to /files/FILE."""
import http.server, os, random, re, socketserver, sys, threading

root, draws, lock = sys.argv[1], random.Random(7), threading.Lock()
failures = 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        global failures
        with lock:
            failing = draws.random() < 0.2
            failures += failing
            kind = failures % 3 if failing else -1
        self.close_connection = True
        if self.path == "/failures":
            return self.answer(200, str(failures).encode())
        if kind == 0:
            return
        if kind == 1:
            return self.answer(503, b"busy")
        hub = re.fullmatch("/datasets/[^/]+/resolve/main/(.*)", self.path)
        if hub:
            return self.answer(302, b"", {"Location": "/files/" + hub[1]})
        path = os.path.join(root, os.path.basename(self.path))
        if not os.path.exists(path):
            return self.answer(404, b"no such file")
        data = open(path, "rb").read()
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        if start >= len(data) and start:
            return self.answer(416, b"", {"Content-Range": "bytes */%d" % len(data)})
        headers = {"Content-Range": "bytes %d-%d/%d" % (start, len(data) - 1, len(data))} if wanted else {}
        self.answer(206 if wanted else 200, data[start:], headers, broken=kind == 2)

    def answer(self, status, body, headers={}, broken=False):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if broken else body)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
