"""The process that writes for another one: `python -m tillport.adapters.sql.sqlite_child FILE BUSY_TIMEOUT_SECONDS`.

Started by `sqlite_process`, never by people. Its standard input is a socket, on which each message asks for one commit
and is answered by another. It ends when the socket does, with whatever it was doing done: so it outlives the other
process, however that ends, by one commit at most. Signals that are meant for the service leave it alone.
"""

import pickle
import signal
import socket
import sys
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

from tillport.adapters.sql.sqlite_file import SqliteFile
from tillport.adapters.sql.sqlite_writer import Write, Writer

LENGTH_BYTES: Final = 8


def head_of(length: int) -> bytes:
    """Return what a message of that length begins with."""
    return length.to_bytes(LENGTH_BYTES, "little")


def length_of(head: bytes) -> int:
    """Return the length of the message that begins so."""
    return int.from_bytes(head[:LENGTH_BYTES], "little")


def serve(writer: Writer, parent: socket.socket) -> None:
    """Commit what `parent` asks for until it has gone."""
    with parent.makefile("rb") as asked:
        while (message := _next(asked)) is not None:
            answers = writer.commit([Write(*one) for one in _pickled(message)])
            told = pickle.dumps(answers)
            try:
                parent.sendall(head_of(len(told)) + told)
            except OSError:
                return  # it has gone meanwhile
            writer.copy_back()


def _next(asked: BinaryIO) -> bytes | None:
    """Return the next message, None when there is no further whole one."""
    try:
        head = asked.read(LENGTH_BYTES)
        length = length_of(head)
        message = asked.read(length)
    except OSError:
        return None
    return message if len(head) == LENGTH_BYTES and len(message) == length else None


def _pickled(message: bytes) -> list[Any]:
    source, found = BytesIO(message), []
    while source.tell() < len(message):
        found.append(pickle.load(source))  # noqa: S301 - from the process that started us
    return found


def main(path: str, busy_timeout_seconds: str) -> None:
    """Serve the process at the other end of standard input."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the other one gets them too, and then ends us in order
        signal.signal(number, signal.SIG_IGN)
    writer = Writer(SqliteFile(Path(path), float(busy_timeout_seconds), creates=False))
    with socket.socket(fileno=sys.stdin.fileno()) as parent:
        try:
            serve(writer, parent)
        finally:
            writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
