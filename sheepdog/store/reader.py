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

"""Reads, each block verified against its checksum."""

import logging
from typing import Callable, Optional

from crc32c import crc32c

from sheepdog.model import errors
from sheepdog.store import applier as store_applier
from sheepdog.store import checksums
from sheepdog.store import objects as store_objects
from sheepdog.store import opening
from sheepdog.store import pulse as store_pulse
from sheepdog.store import state as store_state
from sheepdog.store import turns as store_turns
from sheepdog.store import writer as store_writer
from sheepdog.world import refusals

LOG = logging.getLogger(__name__)

Done = Callable[[Optional[Exception], Optional[bytes]], None]

_BLOCK = checksums.BLOCK_BYTES
_ZERO_CRC = checksums.ZERO_CRC


class Reader:
    def __init__(self, world, objects: store_objects.Objects,
                 opener: opening.Opener, turns: store_turns.Turns,
                 writer: store_writer.Writer,
                 bad: store_applier.BadBlocks,
                 counters: store_state.Counters,
                 pulse: store_pulse.Pulse):
        self._world = world
        self._pulse = pulse
        self._open = objects.open
        self._opener = opener
        self._turns = turns
        self._writer = writer
        self._bad = bad
        self._counters = counters
        self._complaints = refusals.Refusals(world.clock, LOG, logging.ERROR)
        self.on_device_error = None
        """Called with what reading failed for, before who asked is told."""

    def failed(self, obj, error: OSError, what: str):
        """The device refused a read; the error for who asked."""
        self._counters.errors += 1
        self._complaints.note('object %016x' % obj.oid,
                              'reading %s: %s' % (what, error), 'device')
        typed = store_state.typed(error, 'object %016x' % obj.oid)
        if self.on_device_error is not None:
            self.on_device_error(typed)
        return typed

    def read(self, oid: int, offset: int, size: int, done: Done) -> None:
        """See ``Store.read``."""
        obj = self._open.get(oid)
        if obj is not None and size == _BLOCK and not offset % _BLOCK \
                and not obj.is_busy and obj.parked is None \
                and obj.batch != self._writer.batch_number \
                and 0 <= offset < obj.capacity:
            # One block, warm: the commonest read.
            try:
                data = obj.file.pread_warm(_BLOCK, offset)
            except OSError:
                data = None
            if data is not None and crc32c(data) ^ _ZERO_CRC \
                    == obj.table[offset // _BLOCK]:
                obj.is_touched = True
                self._counters.reads += 1
                self._counters.read_bytes += _BLOCK
                done(None, data)
                return
        else:
            obj = self._opener.get(oid)
            if obj is None:
                done(errors.NoObject('object %016x' % oid), None)
                return
        self._counters.reads += 1
        self._counters.read_bytes += size
        self._read(obj, (offset, size, done))

    def _read(self, obj, request: tuple) -> None:
        offset, size, done = request
        end = offset + size
        if (obj.is_busy or obj.parked) and (
                obj.table is None or offset < obj.high and end > obj.low):
            self._turns.park(obj, self._read_now, request, offset, end)
            return
        self._read_now(obj, request)

    def _read_now(self, obj, request: tuple, is_cold: bool = False) -> None:
        """It is this read's turn, or nothing before concerns it."""
        offset, size, done = request
        if not obj.exists:
            done(errors.NoObject('object %016x' % obj.oid), None)
            return
        if obj.damage:
            done(self._opener.unusable(obj), None)
            return
        if offset < 0 or size < 0 or offset + size > obj.capacity:
            done(errors.InvalidParameters(
                '%d bytes from %d are not within object %016x of %d bytes'
                % (size, offset, obj.oid, obj.capacity)), None)
            return
        if not size:
            done(None, b'')
            return
        if obj.batch == self._writer.batch_number:
            self._writer.flush()
            # Its answers may have led to anything.
            oid = obj.oid
            obj = self._opener.get(oid)
            if obj is None:
                done(errors.NoObject('object %016x' % oid), None)
                return
            if obj.is_busy or obj.parked or obj.damage:
                self._read(obj, request)
                return
        first = offset // _BLOCK
        low = first * _BLOCK
        span = -(-(offset + size) // _BLOCK) * _BLOCK - low
        try:
            if is_cold:
                data = obj.file.pread(span, low)
            else:
                data = obj.file.pread_warm(span, low)
        except OSError as error:
            done(self.failed(obj, error, '%d bytes from %d' % (span, low)),
                 None)
            return
        if data is None:
            self._counters.cold_reads += 1
            self._world.spawn(self._read_cold(obj, obj.file, request, low,
                                              span), 'store: cold read')
            return
        wrong = checksums.mismatches(data, obj.table, first) \
            if len(data) == span else range(first, first + span // _BLOCK)
        if wrong:
            self.note_bad(obj, wrong)
            done(checksum_error(obj, wrong), None)
        elif span == size:
            done(None, data)
        else:
            done(None, data[offset - low:offset - low + size])

    async def _read_cold(self, obj, file, request, low: int,
                         span: int) -> None:
        """Have the kernel fetch it; then it is an ordinary read again,
        which sees what was written meanwhile."""
        number = self._pulse.begin()
        try:
            await file.pread_cold(span, low)
        except OSError as error:
            if self._open.get(obj.oid) is not obj or obj.file is not file:
                # It was closed meanwhile.
                self.read(obj.oid, request[0], request[1], request[2])
                return
            request[2](self.failed(obj, error,
                                   '%d bytes from %d' % (span, low)), None)
            return
        finally:
            self._pulse.end(number, store_pulse.READ)
        oid = obj.oid
        obj = self._opener.get(oid)
        if obj is None:
            request[2](errors.NoObject('object %016x' % oid), None)
        elif obj.is_busy or obj.parked:
            self._read(obj, request)
        else:
            self._read_now(obj, request, True)

    def note_bad(self, obj, blocks) -> None:
        """Remember blocks that were found to be wrong."""
        self._counters.bad_reads += 1
        news = set(blocks).difference(self._bad.of(obj.oid))
        self._bad.add(obj.oid, blocks)
        text = 'wrong checksum in blocks %s' % list(blocks)[:20]
        if news:
            LOG.error('object %016x: %s', obj.oid, text)
        else:
            # (What nobody can mend is read, or mended, again and again.)
            self._complaints.note('object %016x' % obj.oid, text, 'checksum')
        self._bad.report(obj.oid)


def checksum_error(obj, blocks) -> errors.ChecksumError:
    return errors.ChecksumError('object %016x: wrong checksum in blocks %s'
                                % (obj.oid, list(blocks)[:20]))
