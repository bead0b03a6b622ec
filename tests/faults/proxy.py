"""What stands between a client and a server, and can let nothing through in several ways."""

import contextlib
import socket
import threading

ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_QUIET = 0.2
_CHUNK = 1 << 16


class Proxy:
    """Listens on 127.0.0.1 and passes on to ``port``, as ``mode`` says.

    ``through``; ``gone``: nobody listens; ``500``: answers so; ``hangs``: accepts, and never answers.
    A change of mode cuts what is connected.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open, self._lock = set[socket.socket](), threading.Lock()
        self.mode = "through"
        self._listen()

    def set(self, mode: str) -> None:
        """Behave otherwise from now on, towards those connected, too."""
        before, self.mode = self.mode, mode
        if mode == "gone":
            _close(self._listener)
        elif before == "gone":
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._listen()
        with self._lock:
            for connection in self._open:
                _close(connection)
            self._open.clear()

    def close(self) -> None:
        """For good."""
        self.set("gone")

    def _listen(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._keep(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _keep(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def _serve(self, client: socket.socket) -> None:
        if self.mode == "hangs":
            return
        if self.mode == "500":
            with contextlib.suppress(OSError):
                client.settimeout(_QUIET)
                with contextlib.suppress(TimeoutError):
                    while client.recv(_CHUNK):
                        pass
                client.sendall(ERROR)
            _close(client)
            return
        try:
            server = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            _close(client)
            return
        self._keep(server)
        for one, other in ((client, server), (server, client)):
            threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    _close(source)
    _close(target)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        connection.close()
