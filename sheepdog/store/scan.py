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

"""Reading the journal after a crash: which records count.

Each record says up to which number all before it were durable (``synced``).
So a record that is damaged because it never reached the disk can be told
from one that did and has rotted: behind the latter are whole records that
vouch for it.

Of those that were synced last nothing vouches. So where the journal ends with
something that is no record, and not with zeroes, it is *torn*: mostly that was
being written, and nobody was told that it is durable; but nobody can tell
here.
"""

import logging
import typing

from sheepdog.store import records

LOG = logging.getLogger(__name__)

READ_BYTES = 4 << 20
_BEYOND_BYTES = 4 << 20
"""How far behind a damaged record one is looked for that vouches for it;
longer than any record."""


class Entry(typing.NamedTuple):
    """``position``: of the record's data in the file of that segment."""

    record: records.Record
    segment: int
    position: int


class Found(typing.NamedTuple):
    """``entries`` in order; ``is_damaged``: durable records are lost;
    ``is_torn``: some of the last ones may be."""

    entries: list
    is_damaged: bool
    is_torn: bool
    sequence: int
    generation: int
    live: list
    """Numbers of the segments in force, the oldest first."""


async def scan(files: list, sizes: list) -> Found:
    """Read both segments.

    :raises OSError: one cannot be read
    """
    headers = []
    is_damaged = is_torn = False
    for number, file in enumerate(files):
        page = await file.pread_cold(records.HEADER_PAGE_BYTES, 0)
        header = records.unpack_header(page)
        if header is None and page.strip(b'\0'):
            LOG.error('the header of journal segment %d is damaged', number)
            is_damaged = True
        headers.append(header)
    known = [header for header in headers if header is not None]
    sequence = max((max(header.first, header.previous) for header in known),
                   default=0)
    generation = max((header.generation for header in known), default=0)
    live = sorted((number for number, header in enumerate(headers)
                   if header is not None and header.state == records.LIVE),
                  key=lambda number: headers[number].generation)
    entries = []
    last = None
    for number in live:
        header = headers[number]
        # (How the older one ends, the newer one knows.)
        found, is_torn, is_lost = await _scan_segment(
            files[number], sizes[number], number, header)
        is_damaged = is_damaged or is_lost
        if last is not None and header.previous > last:
            # The end of the older segment is missing.
            if not any(entry.record.synced > last for entry in found):
                LOG.info('journal: %d records behind a gap never counted',
                         len(found))
                is_torn = True
                break
            LOG.error('journal: records after number %d are lost', last)
            is_damaged = True
        entries += found
        last = found[-1].record.sequence if found else header.previous
        sequence = max(sequence, last)
    return Found(entries, is_damaged, is_torn, sequence, generation, live)


async def _scan_segment(file, size: int, number: int,
                        header: records.Header) -> tuple:
    """(entries, True where it is torn, True where durable records are lost).
    """
    entries = []
    is_damaged = False
    window = _Window(file, size)
    position = records.HEADER_PAGE_BYTES
    last = header.first - 1
    while True:
        record = await window.record(position)
        if record is None or record.sequence <= last:
            end = position
            position = await _vouched(window, end, last)
            if position is None:
                # (A record of an earlier use was not written over.)
                is_torn = record is None and any(
                    await window.bytes(end, records.HEAD_BYTES))
                return entries, is_torn, is_damaged
            LOG.error('journal segment %d: records after number %d are '
                      'damaged', number, last)
            is_damaged = True
            continue
        entries.append(Entry(record, number, position + record.data_start))
        last = record.sequence
        position += record.size


async def _vouched(window: '_Window', position: int, last: int):
    """Where the next record stands that proves that one behind ``last``
    was durable; None: there is none, here the journal ends."""
    end = min(position + _BEYOND_BYTES, window.size)
    start = position + 1
    while start < end:
        data = await window.bytes(start, end - start)
        found = data.find(records.MAGIC_BYTES)
        if found < 0:
            return None
        start += found
        record = await window.record(start)
        if record is not None and record.sequence > last \
                and record.synced > last:
            return start
        start += 1
    return None


class _Window:
    """A piece of a file at a time."""

    def __init__(self, file, size: int):
        self.size = size
        self._file = file
        self._start = 0
        self._data = b''

    async def bytes(self, position: int, size: int) -> bytes:
        """Fewer at the end of the file."""
        if position < self._start or \
                position + size > self._start + len(self._data):
            self._start = position
            self._data = await self._file.pread_cold(
                max(0, min(max(size, READ_BYTES), self.size - position)),
                position)
        start = position - self._start
        return self._data[start:start + size]

    async def record(self, position: int):
        """The whole record at ``position``, or None."""
        head = await self.bytes(position, records.HEAD_BYTES)
        size = records.plausible_size(head, 0)
        if not size or position + size > self.size:
            return None
        return records.unpack(await self.bytes(position, size))
