# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""What every room may ask of the outside world.

Rooms use plain asyncio for tasks, futures and sleeping (both worlds run an
asyncio loop); everything else that touches the machine goes through a
``World``: bytes over connections, files, the clock, chance. No room knows
which world it is in.
"""

import typing
from typing import Any, Callable, Optional, Protocol

from sheepdog.model import pem


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds that also pass while the machine sleeps (BOOTTIME)."""

    def time(self) -> float:
        """Seconds since 1970; may jump."""


class TlsFailed(ConnectionError):
    """No handshake: one side does not believe the other, does not speak
    TLS, or has gone."""


class Tls(Protocol):
    """Files that were read, for any number of connections. Read again for
    the next connection when they have changed; if they cannot be used then,
    the old ones go on serving, and it is logged."""

    files: pem.TlsFiles

    def refresh(self) -> None:
        """Read them now, where they have changed."""


class Connection(Protocol):
    """One connected byte stream, as the session on top of it sees it.

    Sending never blocks: what is sent during one turn of the loop goes out
    together at its end. Buffers handed to ``send`` are the connection's
    until they are gone: never change them afterwards.
    """

    peername: str
    """Where the other side is, for logs: ``host:port`` or ``unix:uid=N``."""

    peer_host: str
    """The other side's address, '' on a unix socket."""

    peer_uid: Optional[int]
    """On a unix socket, the user whom the other side runs as."""

    is_local: bool
    """True on a unix socket."""

    is_encrypted: bool
    """True once TLS is in force: from the first byte on that ``received``
    is given, or from where ``start_tls`` was called."""

    certificates: tuple
    """Under TLS: what we have shown and what the other side has, DER; b''
    where it showed none. (Not to be asked for once it is closed.)"""

    peer_names: tuple
    """Common name and alternative names (DNS, URI, email) of the other
    side's certificate, if it had to show one of ours; else none."""

    def send(self, *buffers) -> None:
        """Queue buffers, in order. A no-op once the connection is lost."""

    @property
    def queued_bytes(self) -> int:
        """Bytes accepted by ``send`` that the kernel has not taken."""

    def pause_reading(self) -> None:
        """Stop calling ``received``; calls nest with ``resume_reading``."""

    def resume_reading(self) -> None: ...

    def start_tls(self, tls: Tls) -> None:
        """Go on under TLS, as its server, behind what was sent so far.

        What is sent from now on is held until the handshake is done. Bytes
        that came in clear and were not used yet end the connection: who
        sits in the middle could have put them there. So does a handshake
        that fails or takes too long, and a stream that ends without TLS's
        own word for the end.
        """

    def close(self) -> None:
        """Send what is queued, then close. ``disconnected`` follows."""

    def abort(self) -> None:
        """Close now, dropping what is queued."""


class Session(Protocol):
    """What a room puts on top of a connection. All calls are in the loop."""

    def connected(self, connection: Connection) -> None: ...

    def received(self, buffer: bytearray, start: int, end: int) -> int:
        """Take whole messages from ``buffer[start:end]``; return the
        position up to which bytes were used.

        The buffer is reused: copy what must outlive the call. When not even
        one message is whole, return ``start``; the world makes the buffer
        grow as far as ``room_bytes`` asks. An exception raised here closes
        the connection (it is logged). What was left unused is offered
        again, with what came meanwhile, when more arrives or when reading
        is resumed after a pause.
        """

    room_bytes: int
    """The session sets this to the length of the message it waits for, so
    that it fits; 0 for no wish. Read after each ``received``."""

    def disconnected(self, error: Optional[BaseException]) -> None:
        """Called exactly once; ``error`` is None for an orderly close."""


class Listener(Protocol):
    address: Any
    """The bound address: (host, port), or the socket's path."""

    async def close(self) -> None:
        """Stop accepting. Accepted connections live on."""


class Network(Protocol):
    def tls(self, files: pem.TlsFiles) -> Tls:
        """:raises TlsRefused: the files cannot be used; it says which"""

    async def listen(self, factory: Callable[[], Session],
                     host: str = '', port: int = 0,
                     path: str = '', mode: int = 0o600,
                     tls: Optional[Tls] = None) -> Listener:
        """Accept on ``host:port``, or on the unix socket ``path``.

        :param tls: a client whose first byte begins a TLS handshake gets
            it (over TCP); others stay in clear
        :raises OSError: the address is in use or not ours
        """

    async def connect(self, factory: Callable[[], Session],
                      host: str, port: int, timeout: float,
                      tls: Optional[Tls] = None) -> Session:
        """Connect over TCP; the session's ``connected`` has been called.

        :param tls: speak TLS, and believe its authorities only. Which host
            a certificate names is not looked at.
        :raises OSError: refused, unreachable, timed out, no TLS
        """


class File(Protocol):
    """An open file. ``pread``/``pwrite`` and the metadata calls go to the
    page cache, are short, and may be called in the loop; whatever may block
    on the device is ``sync``/``sync_later``/``pread_cold``/
    ``write_past_cache``."""

    def pread(self, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes; short only at the end of the file."""

    def pread_warm(self, size: int, offset: int) -> Optional[bytes]:
        """As ``pread`` where no device access is needed, else None."""

    async def pread_cold(self, size: int, offset: int) -> bytes:
        """As ``pread``, off the loop."""

    def pwrite(self, data, offset: int) -> None:
        """All of ``data``, to the page cache.

        :raises OSError: EIO, ENOSPC, EROFS…
        """

    def pwritev(self, buffers: list, offset: int) -> None:
        """All the buffers, one behind the other."""

    async def write_past_cache(self, data, offset: int) -> None:
        """As ``pwrite``, off the loop, of what nobody reads soon: without
        the page cache where that can be, which costs a tenth. Not durable
        by that. Offset and size are multiples of 4096; nobody else writes
        to this file meanwhile.

        :raises OSError: some of it may be written
        """

    def sync_later(self, done: Callable[[Optional[OSError]], None]) -> None:
        """fdatasync what was written before this call, off the loop; then
        ``done(error or None)`` in the loop."""

    async def sync(self) -> None:
        """As ``sync_later``.

        :raises OSError: the device refused
        """

    def truncate(self, size: int) -> None: ...

    def allocate(self, size: int) -> None:
        """Reserve blocks for the first ``size`` bytes.

        :raises OSError: ENOSPC
        """

    def punch(self, offset: int, size: int) -> None:
        """Give the blocks back; the range reads as zeroes afterwards."""

    def size(self) -> int: ...

    def allocated(self) -> int:
        """Bytes the file takes on the device (st_blocks × 512)."""

    def get_attribute(self, name: str) -> Optional[bytes]:
        """An extended attribute (``user.`` is put before the name)."""

    def set_attribute(self, name: str, value: bytes) -> None:
        """Durable with the next ``sync`` of this file.

        :raises OSError: ENOTSUP where the file system has none
        """

    def close(self) -> None: ...


class Space(typing.NamedTuple):
    total: int
    free: int


class Disk(Protocol):
    """Files below one or more directories. Paths are plain strings.

    Names (create, rename, unlink) are durable after ``sync_directory``; in
    a power cut before it they may or may not have happened, one by one.
    """

    boot_id: str
    """New after every power cut or reboot: if it is the one of the last
    run, the page cache was not lost in between."""

    def open(self, path: str, create: bool = False,
             read_only: bool = False) -> File:
        """:raises FileNotFoundError: it is not there and not to be created
        """

    def exists(self, path: str) -> bool: ...

    def list(self, path: str) -> list:
        """Names in a directory, sorted."""

    def make_directory(self, path: str) -> None:
        """With its parents; no error if it is there."""

    def rename(self, old: str, new: str) -> None: ...

    def link(self, old: str, new: str) -> None:
        """Another name for the same file.

        :raises FileExistsError: there is something of that name
        """

    def unlink(self, path: str) -> None: ...

    async def sync_directory(self, path: str) -> None: ...

    def space(self, path: str) -> Space: ...

    async def used_bytes(self, path: str) -> int:
        """What the files of a directory take of the device."""

    def lock(self, path: str) -> Any:
        """Take an exclusive lock on a file, for the process's life; keep
        the result.

        :raises BlockingIOError: another process holds it
        """

    async def read_file(self, path: str) -> bytes:
        """:raises FileNotFoundError: it is not there"""

    async def replace_file(self, path: str, data: bytes) -> None:
        """Atomically and durably: temporary file, fsync, rename, fsync of
        the directory."""

    async def run(self, function: Callable, *arguments) -> Any:
        """Call something that may block, off the loop (in virtual time: at
        once). It must touch no state of the loop's."""


class Random(Protocol):
    def random(self) -> float: ...

    def randrange(self, stop: int) -> int: ...

    def token(self, size: int) -> bytes:
        """Unguessable bytes (from the seed in virtual time)."""


class World(Protocol):
    clock: Clock
    network: Network
    disk: Disk
    random: Random

    def spawn(self, coroutine, name: str = '') -> Any:
        """Start a task and keep a reference until it ends; what it raises
        is logged, and a broken invariant stops the daemon. Returns the
        asyncio task."""

    def call_batched(self, function: Callable[[], None]) -> None:
        """Call once at the end of this turn of the loop, however often it
        was asked for with the same function."""

    def fatal(self, message: str) -> None:
        """Stop this daemon now: log, then exit without clean-up."""
