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

"""An open VDI, read and written through one of the sheep.

Long transfers are cut into requests of at most 1 MiB, several of them under
way at once; fewer and shorter ones while answers come late (see ``pace``).
When the sheep dies, the volume is opened again through
another, and what was not answered is sent once more: a write at a fixed
place may be done twice. The lock keeps that safe, since taking it shuts out
whatever the former sheep may still have under way; and where it is the same
sheep, it ends the former connection of the same ``user`` first.

Writes are acknowledged when all copies have them, and durable after
``flush`` or with ``fua``.
"""

import collections
import io
import threading
import time
import uuid

from sheepdog.client import connection as connection_module
from sheepdog.client import pace as pace_module
from sheepdog.client import patience as patience_module
from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.wire import peer as wire

REQUEST_BYTES = 1 << 20
"""One request of a longer transfer."""

REQUEST_MAX_BYTES = limits.VOLUME_REQUEST_MAX_BYTES
"""The most that one request may be about."""

DEPTH = 8
"""Requests under way at once for one transfer."""


class _Request:
    """One read, write or zero, until it is done.

    ``whole``: what is done with it; None for a part that others follow.
    """

    __slots__ = ('opcode', 'flags', 'offset', 'length', 'payload', 'into',
                 'session', 'call', 'patience', 'whole')

    def __init__(self, opcode, offset=0, length=0, payload=b'', into=None,
                 flags=0):
        self.opcode = opcode
        self.flags = flags
        self.offset = offset
        self.length = length
        self.payload = payload
        self.into = into
        self.session = None
        self.call = None
        self.patience = None
        self.whole = self

    @property
    def data_bytes(self):
        """That it brings or asks for."""
        return len(self.payload) or (len(self.into) if self.into else 0)

    def part(self, start, size):
        """Some of its data, the last of it or not."""
        one = _Request(
            self.opcode, self.offset + start, flags=self.flags,
            payload=memoryview(self.payload)[start:start + size],
            into=self.into and self.into[start:start + size])
        if start + size < self.data_bytes:
            one.whole = None
        else:
            one.whole = self
        return one


class _Session:
    """The volume as one sheep has it open."""

    __slots__ = ('connection', 'handle', 'fields')

    def __init__(self, connection, fields):
        self.connection = connection
        self.fields = fields
        self.handle = fields['handle']


class RemoteVolume:
    """Use ``Client.open``. Thread-safe.

    :ivar size: bytes
    :ivar vdi_id: its id; a snapshot of it gives it another, which is known
        here once it was opened again
    :ivar object_bytes: the size of the objects it is cut into
    """

    def __init__(self, client, name, tag='', snap_id=0, read_only=False,
                 alone=False):
        self.name = name
        self.tag = tag
        self.snap_id = snap_id
        self._wants_read_only = read_only
        # (Older sheep do not know it.)
        self._exclusion = {'alone': True} if alone else {}
        self._client = client
        self._user = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._is_closed = False
        self._is_dirty = False
        self._pace = pace_module.Pace(DEPTH * REQUEST_MAX_BYTES)
        patience = patience_module.Patience(client.timeout)
        while True:
            try:
                self._session = self._open(patience)
                break
            except errors.Transient as exc:
                if (isinstance(exc, errors.Unreachable) and not isinstance(
                        exc, connection_module.ConnectionLost)):
                    raise  # There is no sheep that could be asked.
                patience.pause(exc)
        fields = self._session.fields
        self.size = fields['size']
        self.vdi_id = fields['vdi_id']
        self.object_bytes = fields['object_bytes']
        self.read_only = fields['read_only']

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()

    def read(self, offset, length) -> bytearray:
        """:raises InvalidParameters: beyond the end"""
        data = bytearray(length)
        self.read_into(offset, data)
        return data

    def read_into(self, offset, buffer) -> None:
        """Fill ``buffer`` from ``offset`` on."""
        view = memoryview(buffer).cast('B')
        self._check_range(offset, len(view))
        self._run(
            _Request(wire.VOLUME_READ, offset + start, len(piece), into=piece)
            for start, piece in _pieces(view))

    def write(self, offset, data, fua=False) -> None:
        """:param fua: durable when it returns

        :raises InvalidParameters, ReadOnly, NoSpace, SheepdogError:
        """
        view = memoryview(data).cast('B')
        self._check_range(offset, len(view))
        flags = wire.FLAG_DURABLE if fua else 0
        self._is_dirty = True
        self._run(
            _Request(wire.VOLUME_WRITE, offset + start, payload=piece,
                     flags=flags)
            for start, piece in _pieces(view))

    def zero(self, offset, length, fua=False) -> None:
        """Make a range read as zeroes, giving its space back."""
        self._check_range(offset, length)
        flags = wire.FLAG_DURABLE if fua else 0
        self._is_dirty = True
        self._run(
            _Request(wire.VOLUME_ZERO, offset + start,
                     min(REQUEST_MAX_BYTES, length - start), flags=flags)
            for start in range(0, length, REQUEST_MAX_BYTES))

    def flush(self) -> None:
        """All that was acknowledged is durable when this returns."""
        # Before asking, so that a write during the flush marks it again.
        self._is_dirty = False
        try:
            self._run([_Request(wire.VOLUME_FLUSH)])
        except BaseException:
            self._is_dirty = True
            raise

    def read_stream(self, offset, length):
        """Yield the range piece by piece, reading ahead."""
        self._check_range(offset, length)
        requests = (
            _Request(wire.VOLUME_READ, start, into=memoryview(bytearray(
                min(REQUEST_BYTES, offset + length - start))))
            for start in range(offset, offset + length, REQUEST_BYTES))
        for request in self._pipeline(requests):
            yield request.into

    def write_stream(self, offset, pieces, fua=False):
        """Write bytes-like pieces one behind the other, several under way.

        Yields the bytes done so far, after each piece. Each is at most
        ``REQUEST_MAX_BYTES`` long, and not to be changed afterwards.
        """
        def placed():
            place = offset
            for piece in pieces:
                yield place, piece
                place += len(piece)

        return self.write_pieces(placed(), fua)

    def write_pieces(self, pieces, fua=False):
        """As ``write_stream``, for ``(offset, piece)`` anywhere."""
        flags = wire.FLAG_DURABLE if fua else 0
        self._is_dirty = True

        def requests():
            for offset, piece in pieces:
                self._check_range(offset, len(piece))
                yield _Request(wire.VOLUME_WRITE, offset, payload=piece,
                               flags=flags)

        done = 0
        for request in self._pipeline(requests()):
            done += len(request.payload)
            yield done

    def extents(self, offset, length) -> list:
        """``[(length, is_data), …]`` that cover the range; what is no data
        reads as zeroes."""
        self._check_range(offset, length)
        end = offset + length
        found = []
        while offset < end:
            told = self._call('volume.extents', {
                'offset': offset, 'length': end - offset})
            if not told:
                raise errors.CorruptFrame(
                    'a sheep tells nothing of %d bytes at %d of %s'
                    % (end - offset, offset, self.name))
            for size, is_data in told:
                found.append((size, bool(is_data)))
                offset += size
        return found

    def _call(self, method, arguments):
        """An admin call about the open volume, as often as it takes."""
        patience = patience_module.Patience(self._client.timeout)
        while True:
            session = self._current(patience)
            try:
                return session.connection.ask(
                    method, {'handle': session.handle, **arguments},
                    self._client.attempt_seconds(patience))
            except errors.Transient as exc:
                self._drop_if_lost(session)
                patience.pause(exc)

    def file(self) -> 'VolumeFile':
        """A file object over the whole volume, with a place of its own."""
        return VolumeFile(self)

    def close(self) -> None:
        """Flush what was written, and close. The lock is free then."""
        if self._is_closed:
            return
        try:
            if self._is_dirty:
                self.flush()
        finally:
            with self._lock:
                self._is_closed = True
                session = self._session
            if session is not None:
                self._close_session(session)

    def _close_session(self, session):
        try:
            session.connection.ask(
                'volume.close', {'handle': session.handle},
                self._client.timeout)
        except errors.Transient:  # it closes with its connection
            pass
        finally:
            session.connection.close()

    def _check_range(self, offset, length):
        if self._is_closed:
            raise ValueError('%s is closed' % self.name)
        if offset < 0 or length < 0 or offset + length > self.size:
            raise errors.InvalidParameters(
                '%d bytes at %d are beyond the end of %s (%d bytes)'
                % (length, offset, self.name, self.size))

    def _open(self, patience) -> _Session:
        connection = self._client.connect(patience)
        try:
            fields = connection.ask(
                'volume.open', {
                    'name': self.name, 'tag': self.tag,
                    'snap_id': self.snap_id,
                    'read_only': self._wants_read_only,
                    'user': self._user, **self._exclusion},
                self._client.attempt_seconds(patience))
        except BaseException as exc:
            connection.close()
            if isinstance(exc, (errors.Transient, errors.WaitForJoin)):
                self._client.avoid(connection)
            raise
        return _Session(connection, fields)

    # Transfers.

    def _run(self, requests):
        for _request in self._pipeline(requests):
            pass

    def _pipeline(self, requests):
        """Have the requests carried out; yield them in order, as done."""
        window = collections.deque()
        try:
            for part in self._parts(requests):
                while self._is_full(window, part):
                    done = self._finish(window)
                    if done is not None:
                        yield done
                part.patience = patience_module.Patience(
                    self._client.timeout)
                window.append(part)
                self._try_submit(part)
            while window:
                done = self._finish(window)
                if done is not None:
                    yield done
        finally:
            # Nobody may still read into a caller's buffer when we are gone.
            for request in window:
                self._abandon(request)

    def _parts(self, requests):
        """None with more data than may be under way."""
        for request in requests:
            size, start = request.data_bytes, 0
            while size - start > self._pace.allowed_bytes:
                part = request.part(start, self._pace.allowed_bytes)
                start += part.data_bytes
                yield part
            yield request.part(start, size - start) if start else request

    def _is_full(self, window, another):
        return window and (
            len(window) >= DEPTH
            or another.data_bytes + sum(one.data_bytes for one in window)
            > self._pace.allowed_bytes)

    def _finish(self, window):
        """Wait for the oldest, as often as it takes. Returns what is done
        with it, if anything."""
        request = window[0]
        began = time.monotonic()
        while True:
            try:
                if request.call is None:
                    self._submit(request)
                request.session.connection.wait(request.call)
                window.popleft()
                if request.data_bytes:
                    self._pace.answered(time.monotonic() - began)
                return request.whole
            except errors.Transient as exc:
                # The calls of a lost connection have all ended; the other
                # requests of the window notice when it is their turn.
                session, request.session = request.session, None
                request.call = None
                self._drop_if_lost(session)
                request.patience.pause(exc)
            except BaseException:
                window.popleft()
                raise

    def _try_submit(self, request):
        try:
            self._submit(request)
        except errors.Transient:
            # ``_finish`` tries again.
            session, request.session = request.session, None
            request.call = None
            self._drop_if_lost(session)

    def _submit(self, request):
        request.session = None
        request.session = session = self._current(request.patience)
        request.call = session.connection.submit(
            request.opcode, request.flags, session.handle, request.offset,
            request.length or (len(request.into) if request.into else 0),
            request.payload, request.into,
            timeout=self._client.attempt_seconds(request.patience))

    def _abandon(self, request):
        if request.call is None:
            return
        try:
            request.session.connection.wait(request.call)
        except errors.SheepdogError:  # an earlier one counts
            pass

    def _current(self, patience):
        """The session, opened anew where the last one was lost."""
        with self._lock:
            if self._is_closed:
                raise ValueError('%s is closed' % self.name)
            if self._session is not None:
                return self._session
            while True:
                try:
                    session = self._open(patience)
                    break
                except (errors.Transient, errors.VdiLocked,
                        errors.WaitForJoin) as exc:
                    # The lock of a sheep that died is free when the cluster
                    # has gone on without it. A sheep that has just come
                    # back is let in; a cluster waits for one that is away.
                    patience.pause(exc)
            vdi_id = session.fields['vdi_id']
            try:
                if vdi_id != self.vdi_id and not self._went_on(vdi_id):
                    raise errors.NoVdi('%s was deleted, and another one has '
                                       'its name' % self.name)
            except BaseException:
                session.connection.close()
                raise
            self.vdi_id = vdi_id
            self.size = session.fields['size']
            self._session = session
            return session

    def _went_on(self, vdi_id):
        """Whether ours is a snapshot by now, and the VDI goes on as that
        one: then both were created at the same time. (One that was rolled
        back, made smaller, or made anew, was created later.)"""
        found = {one['vdi_id']: one
                 for one in self._client.vdis.list(self.name)}
        ours, new = found.get(self.vdi_id), found.get(vdi_id)
        return (ours is not None and new is not None and ours['snapshot']
                and ours['created'] == new['created'])

    def _drop_if_lost(self, session):
        with self._lock:
            if (session is not None and session is self._session
                    and session.connection.is_lost):
                self._session = None
                self._client.avoid(session.connection)


class VolumeFile(io.RawIOBase):
    """A volume as a seekable raw file. Closing it leaves the volume open."""

    def __init__(self, volume):
        super().__init__()
        self._volume = volume
        self._place = 0

    def readable(self):
        return True

    def writable(self):
        return not self._volume.read_only

    def seekable(self):
        return True

    def tell(self):
        return self._place

    def seek(self, offset, whence=io.SEEK_SET):
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place,
                io.SEEK_END: self._volume.size}[whence]
        if base + offset < 0:
            raise ValueError('a place before the beginning')
        self._place = base + offset
        return self._place

    def readinto(self, buffer):
        view = memoryview(buffer).cast('B')
        count = max(min(len(view), self._volume.size - self._place), 0)
        if count:
            self._volume.read_into(self._place, view[:count])
            self._place += count
        return count

    def write(self, data):
        view = memoryview(data).cast('B')
        count = max(min(len(view), self._volume.size - self._place), 0)
        if len(view) and not count:
            raise OSError('the volume ends here')
        self._volume.write(self._place, view[:count])
        self._place += count
        return count

    def flush(self):
        if not self.closed and self.writable():
            self._volume.flush()


def _pieces(view):
    """(start, slice) of a memoryview, ``REQUEST_BYTES`` at a time."""
    for start in range(0, len(view), REQUEST_BYTES):
        yield start, view[start:start + REQUEST_BYTES]
