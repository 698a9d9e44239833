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

"""An append-only file of small records, each durable before it counts.

    frame    u32 length of the payload, u32 CRC-32C, payload (JSON)

Little-endian. The CRC starts from the frame before it (the first one from
the file's number), so what an earlier use or a torn write left behind never
continues the chain. Space is reserved ahead: a full disk does not stop the
cluster's decisions at once.
"""

import errno
import json
import logging
import struct
from typing import Any

from crc32c import crc32c

from sheepdog.model import errors
from sheepdog.world import api as world_api

LOG = logging.getLogger(__name__)

FRAME = struct.Struct('<II')
RESERVE_BYTES = 1 << 18


def encode(entry: Any) -> bytes:
    return json.dumps(entry, separators=(',', ':')).encode()


def is_full(error: OSError) -> bool:
    """Nothing was written; there is no room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


class RecordLog:
    """One file; ``size`` is where the next record goes. ``is_broken``: it
    takes no more records."""

    def __init__(self, file: world_api.File, number: int):
        self._file = file
        self._crc = crc32c(struct.pack('<Q', number))
        self._reserved = 0
        self.is_broken = False
        self.size = 0

    @classmethod
    def open(cls, disk: world_api.Disk, path: str, number: int) -> tuple:
        """→ (the log, its entries). What is torn at the end is cut off.

        :raises OSError: the file cannot be read
        """
        file = disk.open(path, create=True)
        log = cls(file, number)
        entries = log._read(file.pread(file.size(), 0))
        log._reserved = log.size
        return log, entries

    @classmethod
    def create(cls, disk: world_api.Disk, path: str,
               number: int) -> 'RecordLog':
        """An empty one; whatever was there is gone.

        :raises OSError: the file cannot be made
        """
        file = disk.open(path, create=True)
        file.truncate(0)
        return cls(file, number)

    def _read(self, data: bytes) -> list:
        entries = []
        while self.size + FRAME.size <= len(data):
            length, crc = FRAME.unpack_from(data, self.size)
            start = self.size + FRAME.size
            payload = data[start:start + length]
            if not length or len(payload) < length:
                break
            if crc32c(payload, self._crc) != crc:
                break
            self._crc = crc
            self.size = start + length
            entries.append(json.loads(payload))
        return entries

    async def append(self, entries: list) -> None:
        """All of them are durable when this returns, in order.

        :raises NoSpace: there is no room; nothing is written
        :raises StorageError: the disk failed; the log takes no more
        """
        if self.is_broken:
            raise errors.StorageError('the cluster log has failed before')
        crc = self._crc
        frames = []
        for entry in entries:
            payload = encode(entry)
            crc = crc32c(payload, crc)
            frames.append(FRAME.pack(len(payload), crc) + payload)
        data = b''.join(frames)
        try:
            self._reserve(self.size + len(data))
            self._file.pwrite(data, self.size)
            await self._file.sync()
        except OSError as error:
            if is_full(error):
                raise errors.NoSpace(
                    'no room for the cluster log: %s' % error) from error
            # After a failed sync nobody knows what is on the disk.
            self.is_broken = True
            raise errors.StorageError(
                'cannot write the cluster log: %s' % error) from error
        self._crc = crc
        self.size += len(data)

    def _reserve(self, size: int) -> None:
        if size <= self._reserved:
            return
        wanted = -(-size // RESERVE_BYTES) * RESERVE_BYTES
        try:
            self._file.allocate(wanted)
        except OSError as error:
            # A reserve is a comfort; without it each write finds out.
            LOG.info('cannot reserve room for the cluster log: %s', error)
            return
        self._reserved = wanted

    def close(self) -> None:
        self._file.close()
