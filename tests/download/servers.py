"""Real servers on loopback that misbehave on demand: HTTP, FTP, and a wire to cut before any of them."""

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Fault:
    """What goes wrong in one answer. ``at``: the byte (of the file) where it does."""

    kind: str
    at: int = 0
    value: str = ""


@dataclass
class Site:
    """Files by path, and the faults of the coming answers, one each; afterwards it behaves."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    etag: str | None = '"v1"'
    ranges: bool = True
    length: bool = True
    chunked: bool = False
    pause: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        site: Site = self.server.site
        site.asked.append(self.headers.get("Range", ""))
        fault = site.faults.pop(0) if site.faults else Fault("none")
        self.close_connection = True
        if fault.kind == "status":
            status, _, wait = fault.value.partition(" ")
            self.send_response(int(status))
            if wait:
                self.send_header("Retry-After", wait)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = site.files.get(self.path.split("?")[0])
        if body is None:
            self.send_error(404)
            return
        start, requested = 0, self.headers.get("Range")
        fresh = self.headers.get("If-Range") in (None, site.etag)
        if requested and site.ranges and fresh:
            start = int(requested.removeprefix("bytes=").split("-")[0])
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if site.etag:
            self.send_header("ETag", site.etag)
        for name, value in site.headers.items():
            self.send_header(name, value)
        if fault.kind == "header":
            name, _, value = fault.value.partition(":")
            self.send_header(name, value)
        if site.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif site.length:
            extra = int(fault.value) if fault.kind == "length" else 0
            self.send_header("Content-Length", str(len(body) - start + extra))
        self.end_headers()
        with contextlib.suppress(OSError):
            self._send(body, start, fault, site)

    def _send(self, body: bytes, start: int, fault: Fault, site: Site):
        if fault.kind == "flip" and fault.at >= start:
            body = body[: fault.at] + bytes([body[fault.at] ^ 0xFF]) + body[fault.at + 1 :]
        stop = fault.at if fault.kind in ("cut", "stall") else len(body)
        for at in range(start, max(start, stop), 4096):
            block = body[at : min(at + 4096, stop)]
            if site.chunked:
                block = b"%x\r\n%s\r\n" % (len(block), block)
            self.wfile.write(block)
            if site.pause:
                time.sleep(site.pause)
        if fault.kind == "stall":
            self.wfile.flush()
            self.server.stalled.wait(20)
        elif site.chunked and fault.kind != "cut":
            self.wfile.write(b"0\r\n\r\n")


@contextlib.contextmanager
def http_site(**options):
    """Serve a `Site` over HTTP on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.stalled = threading.Event()
    server.site = Site(**options)
    server.site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.site
    finally:
        server.stalled.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def ftp_site(folder, *, rest: bool = True, size: bool = True):
    """Serve a folder over FTP on loopback to anybody."""
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer

    authorizer = DummyAuthorizer()
    authorizer.add_anonymous(str(folder))
    refused = ([] if rest else ["REST"]) + ([] if size else ["SIZE", "MDTM"])
    known = {name: value for name, value in FTPHandler.proto_cmds.items() if name not in refused}
    handler = type("Handler", (FTPHandler,), {"authorizer": authorizer, "proto_cmds": known})
    loop = IOLoop()
    server = FTPServer(("127.0.0.1", 0), handler, ioloop=loop)
    going = True

    def serve():
        while going:
            loop.loop(timeout=0.02, blocking=False)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.address[1]
    finally:
        going = False
        thread.join()
        server.close_all()
        loop.close()


class Wire:
    """A TCP relay that can cut or stall the answers that pass through it.

    ``budgets`` lists, for the coming connections, how many bytes of answer may pass (None: all). A
    connection whose budget is spent is cut, or held silent where ``stall`` is set.
    """

    def __init__(self, port: int) -> None:
        self.target, self.budgets, self.stall = port, [], False
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._open = True
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._open = False
        self._socket.close()

    def _accept(self) -> None:
        while self._open:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            budget = self.budgets.pop(0) if self.budgets else None
            server = socket.create_connection(("127.0.0.1", self.target))
            threading.Thread(target=self._relay, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self._relay, args=(server, client, budget), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, budget: int | None) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(4096):
                if budget is not None and len(block) >= budget:
                    sink.sendall(block[:budget])
                    if self.stall:
                        time.sleep(3)
                    break
                budget = None if budget is None else budget - len(block)
                sink.sendall(block)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
