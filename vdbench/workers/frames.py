"""Messages over a socket: a length, then a pickle; and now and then an open file beside them."""

from __future__ import annotations

import contextlib
import pickle
import socket
import sys
from collections import deque
from typing import Any

_HEAD = 8
_ROOM = socket.CMSG_SPACE(4) if hasattr(socket, "CMSG_SPACE") else 0
_LARGEST = 2**40


class Broken(Exception):
    """What came over a socket is no message."""


class Link:
    """One end of a socket between two processes of vdbench.

    Nothing that a process writes there can make the other wait: messages are read as far as they have come.
    """

    def __init__(self, end: socket.socket) -> None:
        """Take over an end."""
        self.end = end
        self.over = False
        self.files: deque[int] = deque()
        self._held = bytearray()

    def fileno(self) -> int:
        """Of the socket, for those who wait."""
        return self.end.fileno()

    def send(self, message: Any, file: int | None = None) -> None:
        """Send a message, all of it.

        Raises:
            OSError: The other end is closed.
        """
        content = pickle.dumps(message, protocol=5)
        head = len(content).to_bytes(_HEAD, "little")
        if file is None:
            self.end.sendall(head)
        else:
            socket.send_fds(self.end, [head], [file])
        self.end.sendall(content)

    def receive(self) -> list[Any]:
        """The messages that have come, without waiting; `over` says that no more will come.

        Raises:
            Broken: What came is no message.
        """
        try:
            # socket.recv_fds leaves its flags out
            content, beside, _, _ = self.end.recvmsg(2**20, _ROOM, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            content, beside = b"", []
        for _, _, data in beside:
            self.files.extend(
                int.from_bytes(data[i : i + 4], sys.byteorder) for i in range(0, len(data), 4)
            )
        self.over = not content
        self._held += content
        found = []
        while len(self._held) >= _HEAD:
            size = int.from_bytes(self._held[:_HEAD], "little")
            if size > _LARGEST:
                raise Broken("it is too long")
            if len(self._held) < _HEAD + size:
                break
            part = bytes(self._held[_HEAD : _HEAD + size])
            del self._held[: _HEAD + size]
            try:
                found.append(pickle.loads(part))
            except Exception as error:
                raise Broken("it cannot be read") from error
        return found

    def close(self) -> None:
        """Close the end."""
        with contextlib.suppress(OSError):
            self.end.close()


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of one socket."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
