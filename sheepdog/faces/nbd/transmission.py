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

"""Requests on a chosen export, from the wire to the volume and back.

The hot path is ``take``, ``_on_read`` and ``_on_written``: no task, no
future and no lock per request, one object (the bound callback). Everything
that is not a plain READ or WRITE takes the long way.

What bounds it: ``inflight_max`` and ``inflight_bytes_max`` of what the
volume has not answered yet, and ``TURN_BYTES`` of what is handled at a
stretch; beyond them reading is paused. The world pauses it too while the
client does not take its answers.
"""

import asyncio
import functools
import logging
from typing import Callable

from sheepdog.faces.nbd import commands
from sheepdog.faces.nbd import counters as counters_module
from sheepdog.faces.nbd import exports
from sheepdog.faces.nbd import settings as settings_module
from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.wire import nbd
from sheepdog.wire import nbd_handshake
from sheepdog.wire import nbd_transmission as wire
from sheepdog.world import api

LOG = logging.getLogger(__name__)

REQUEST_COST_BYTES = 16 << 10
TURN_BYTES = limits.CONNECTION_TURN_BYTES
"""What one connection may ask for before others get their turn, each
request counting REQUEST_COST_BYTES more: 256 small ones, or 4 of 1 MiB."""

LOG_SECONDS = 10.0
"""A connection's failures are logged at most this often."""

_READ = nbd.CMD_READ
_WRITE = nbd.CMD_WRITE
_FUA = nbd.CMD_FLAG_FUA
_NOT_FUA = ~nbd.CMD_FLAG_FUA
_PAYLOAD_MAX_BYTES = nbd.PAYLOAD_MAX_BYTES
_MODIFYING = (nbd.CMD_WRITE, nbd.CMD_TRIM, nbd.CMD_WRITE_ZEROES)

_pack_data = wire.DATA_CHUNK.pack
_pack_simple = wire.SIMPLE.pack


class Transmission:
    """One connection's, from the choice of an export to its end.

    ``on_over`` is called once: the connection is gone and the volume has
    answered everything.
    """

    __slots__ = ('room_bytes', '_world', '_connection', '_volume',
                 '_is_read_only', '_is_structured', '_has_allocation',
                 '_not_read_flags', '_reader', '_receive', '_send',
                 '_counters', '_inflight', '_inflight_max',
                 '_inflight_bytes', '_inflight_bytes_max', '_budget',
                 '_is_full', '_is_ending', '_is_gone', '_on_over',
                 '_quiet_until', '_begun', '_begun_before', '_half_bound',
                 '_timer')

    def __init__(self, world: api.World, connection: api.Connection,
                 volume: exports.Volume, export: nbd.Export,
                 handshake: nbd_handshake.Handshake,
                 settings: settings_module.NbdSettings,
                 counters: counters_module.Counters,
                 on_over: Callable[[], None]):
        self._world = world
        self._connection = connection
        self._volume = volume
        self._is_read_only = bool(export.flags & nbd.FLAG_READ_ONLY)
        self._is_structured = handshake.structured
        self._has_allocation = handshake.has_allocation
        self._not_read_flags = ~(_FUA | nbd.CMD_FLAG_DF
                                 if handshake.structured else _FUA)
        self._counters = counters
        self._on_over = on_over
        self._reader = wire.RequestReader(self.take)
        self._receive = self._reader.receive
        self._send = connection.send
        self.room_bytes = self._reader.room_bytes
        self._inflight = 0
        self._inflight_max = settings.inflight_max
        self._inflight_bytes = 0
        self._inflight_bytes_max = settings.inflight_bytes_max
        self._budget = 0
        self._is_full = False
        self._is_ending = False
        self._is_gone = False
        self._quiet_until = 0.0
        self._begun = [0]
        """How many were begun in this half of the time that a request may
        take, and are not answered; ``_begun_before``: in those before. What
        waits for limits of the VDI has not begun."""
        self._begun_before = ([0], [0])
        self._half_bound = settings.request_timeout_seconds / 2
        self._timer = None
        if self._half_bound:
            self._set_timer()

    @property
    def peername(self) -> str:
        return self._connection.peername

    # From the connection and the face.

    def received(self, buffer, start: int, end: int) -> int:
        """See ``api.Session``.

        :raises Violation: it is not a request
        """
        self._budget = TURN_BYTES
        used = self._receive(buffer, start, end)
        self.room_bytes = self._reader.room_bytes
        return used

    def drain(self) -> None:
        """Answer what is under way, refuse what comes, then close."""
        self._end()

    def disconnected(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._is_gone = True
        self._end()

    def _end(self) -> None:
        self._is_ending = True
        if self._inflight and self._volume.throttle is not None:
            self._volume.throttle.hasten(self)
        self._settle()

    # The straight way.

    def take(self, flags: int, command: int, cookie: int, offset: int,
             length: int, data) -> bool:
        """Handle one request; whether the next may follow at once.

        :param data: of a WRITE; None where it was too long to be kept
        """
        volume = self._volume
        if (command == _READ and 0 < length <= _PAYLOAD_MAX_BYTES and
                offset + length <= volume.size and
                not flags & self._not_read_flags and
                volume.valid and not self._is_ending):
            counters = self._counters
            counters.reads += 1
            counters.bytes_read += length
            self._inflight += 1
            self._inflight_bytes += length
            if volume.throttle is None:
                begun = self._begun
                begun[0] += 1
                volume.submit_read(offset, length, functools.partial(
                    self._on_read, begun, cookie, offset, length))
            else:
                volume.throttle.submit(False, length, functools.partial(
                    self._read_in_turn, cookie, offset, length),
                    (volume, self))
        elif (command == _WRITE and data and
                offset + length <= volume.size and
                not flags & _NOT_FUA and not self._is_read_only and
                volume.valid and not self._is_ending):
            counters = self._counters
            counters.writes += 1
            counters.bytes_written += length
            self._inflight += 1
            self._inflight_bytes += length
            if volume.throttle is None:
                begun = self._begun
                begun[0] += 1
                volume.submit_write(offset, data, flags == _FUA,
                                    functools.partial(
                                        self._on_written, begun, cookie,
                                        length))
            else:
                volume.throttle.submit(True, length, functools.partial(
                    self._write_in_turn, cookie, offset, data,
                    flags == _FUA), (volume, self))
        else:
            self._take_rare(flags, command, cookie, offset, length, data)
            length = 0
        self._budget -= length + REQUEST_COST_BYTES
        if (self._budget > 0 and self._inflight < self._inflight_max and
                self._inflight_bytes < self._inflight_bytes_max):
            return True
        self._pause()
        return False

    def _read_in_turn(self, cookie: int, offset: int, length: int) -> None:
        """The limits of the VDI let it through; its time begins."""
        begun = self._begun
        begun[0] += 1
        self._volume.submit_read(offset, length, functools.partial(
            self._on_read, begun, cookie, offset, length), is_due=True)

    def _write_in_turn(self, cookie: int, offset: int, data,
                       fua: bool) -> None:
        begun = self._begun
        begun[0] += 1
        self._volume.submit_write(offset, data, fua, functools.partial(
            self._on_written, begun, cookie, len(data)), is_due=True)

    def _on_read(self, begun: list, cookie: int, offset: int, length: int,
                 error, data) -> None:
        begun[0] -= 1
        self._inflight -= 1
        self._inflight_bytes -= length
        if error is not None:
            self._fail(cookie, _READ, error)
        else:
            if self._is_structured:
                header = _pack_data(
                    wire.CHUNK_MAGIC, wire.CHUNK_DONE,
                    wire.CHUNK_OFFSET_DATA, cookie, length + 8, offset)
            else:
                header = _pack_simple(wire.SIMPLE_MAGIC, 0, cookie)
            if type(data) is list:
                assert sum(map(len, data)) == length, 'a read of other length'
                self._send(header, *data)
            else:
                assert len(data) == length, 'a read of another length'
                self._send(header, data)
        if self._is_full or self._is_ending:
            self._settle()

    def _on_written(self, begun: list, cookie: int, length: int,
                    error) -> None:
        begun[0] -= 1
        self._inflight -= 1
        self._inflight_bytes -= length
        if error is not None:
            self._fail(cookie, _WRITE, error)
        else:
            self._send(_pack_simple(wire.SIMPLE_MAGIC, 0, cookie))
        if self._is_full or self._is_ending:
            self._settle()

    def _pause(self) -> None:
        self._connection.pause_reading()
        if (self._inflight >= self._inflight_max or
                self._inflight_bytes >= self._inflight_bytes_max):
            self._is_full = True
        else:
            # Only the others' turn. Where answers pile up meanwhile, the
            # world keeps it paused until the client has taken them.
            asyncio.get_running_loop().call_soon(
                self._connection.resume_reading)

    def _settle(self) -> None:
        """What is under way has become less, or the end has come."""
        if (self._is_full and self._inflight <= self._inflight_max // 2 and
                self._inflight_bytes <= self._inflight_bytes_max // 2):
            self._is_full = False
            self._connection.resume_reading()
        if self._is_ending and not self._inflight:
            if not self._is_gone:
                self._connection.close()
            elif self._on_over is not None:
                on_over, self._on_over = self._on_over, None
                on_over()

    # Time.

    def _set_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(
            self._half_bound, self._on_half_bound)

    def _on_half_bound(self) -> None:
        newer, older = self._begun_before
        if older[0]:
            # Whoever waits can go elsewhere, or tell its user. What was
            # begun is not given up: the volume stays open until it ends.
            self._timer = None
            LOG.warning('%s: %d requests on %s are not answered after %g s: '
                        'closing', self._connection.peername, older[0],
                        self._volume.name, self._half_bound * 2)
            self._connection.abort()
            return
        self._begun_before = self._begun, newer
        self._begun = [0]
        self._set_timer()

    # The long way.

    def _take_rare(self, flags: int, command: int, cookie: int, offset: int,
                   length: int, data) -> None:
        """All other commands, and whatever is wrong with a request."""
        if command == nbd.CMD_DISC:
            self.drain()
            return
        error, text = self._refusal(flags, command, offset, length, data)
        if error:
            self._counters.requests_refused += 1
            self._answer_error(cookie, command, error, text)
            if not self._volume.valid and not self._is_ending:
                # Nothing will work here again; elsewhere it may.
                LOG.warning('%s: the lock on %s is lost: closing',
                            self._connection.peername, self._volume.name)
                self.drain()
        elif length or command == nbd.CMD_FLUSH:
            self._inflight += 1
            self._world.spawn(
                self._run(flags, command, cookie, offset, length),
                'nbd request')
        elif command == _READ and self._is_structured:
            self._send(wire.none_chunk(cookie))
        else:
            self._send(wire.simple_reply(cookie))

    def _refusal(self, flags: int, command: int, offset: int, length: int,
                 data):
        """(error, text), the error 0 for a request in order."""
        if self._is_ending:
            return nbd.ESHUTDOWN, 'shutting down'
        if not self._volume.valid:
            return nbd.ESHUTDOWN, 'the lock on the volume is lost'
        if command not in wire.FLAGS_ALLOWED:
            return nbd.EINVAL, 'command %d is unknown' % command
        if flags & ~wire.FLAGS_ALLOWED[command]:
            return nbd.EINVAL, 'flags 0x%x do not fit the command' % flags
        if flags & nbd.CMD_FLAG_DF and not self._is_structured:
            return nbd.EINVAL, 'DF without structured replies'
        if self._is_read_only and command in _MODIFYING:
            return nbd.EPERM, 'the export is read-only'
        if data is None or (command == _READ and
                            length > _PAYLOAD_MAX_BYTES):
            return nbd.EINVAL, '%d bytes are over the limit of %d' % (
                length, _PAYLOAD_MAX_BYTES)
        if command == nbd.CMD_FLUSH:
            return 0, ''
        if offset + length > self._volume.size:
            return (nbd.ENOSPC if command in (_WRITE, nbd.CMD_WRITE_ZEROES)
                    else nbd.EINVAL), 'beyond the end of the export'
        if command == nbd.CMD_BLOCK_STATUS and not (
                length and self._has_allocation):
            return nbd.EINVAL, 'no extents of nothing, or no context chosen'
        if (flags & nbd.CMD_FLAG_FAST_ZERO and
                flags & nbd.CMD_FLAG_NO_HOLE):
            # Without a hole each zero is written: no faster than a WRITE.
            return nbd.ENOTSUP, 'not fast without a hole'
        return 0, ''

    async def _run(self, flags: int, command: int, cookie: int, offset: int,
                   length: int) -> None:
        volume = self._volume
        begun = None
        try:
            if volume.throttle is not None and command in _MODIFYING:
                # (It brings no bytes.)
                await volume.throttle.wait(True, 0, (volume, self))
            begun = self._begun
            begun[0] += 1
            self._send(await commands.RARE[command](
                volume, self._counters, flags, cookie, offset, length))
        except errors.SheepdogError as error:
            self._fail(cookie, command, error)
        finally:
            if begun is not None:
                begun[0] -= 1
            self._inflight -= 1
            self._settle()

    # Errors.

    def _fail(self, cookie: int, command: int, error: BaseException) -> None:
        """The volume could not do it. The true cause goes to the log, the
        nearest of the protocol's errors to the client."""
        self._counters.requests_failed += 1
        number = nbd.errno_of(error)
        now = self._world.clock.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + LOG_SECONDS
            LOG.warning('%s: command %d on %s: %s: %s: %s',
                        self._connection.peername, command,
                        self._volume.name, nbd.ERROR_NAMES[number],
                        type(error).__name__, error)
        self._answer_error(cookie, command, number, str(error))

    def _answer_error(self, cookie: int, command: int, number: int,
                      text: str) -> None:
        if self._is_structured:
            self._send(wire.error_chunk(cookie, number, text))
        else:
            self._send(wire.simple_reply(cookie, number))
