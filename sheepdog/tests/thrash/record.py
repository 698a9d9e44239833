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

"""What users of real sheep asked for and were told, for the checkers.

A register is one block of 4 KiB of one VDI. A block tells of itself which
write it is from: it is filled with the register's number and the write's.
"""

import struct
import threading

from sheepdog.testing import checkers
from sheepdog.testing import history as history_module

BLOCK_BYTES = 4096
RAGGED_BYTES = 1536
_STAMP = struct.Struct('<QII')
_MAGIC = 0x7448726153683031


class Disk:
    """Which blocks of a VDI are in use: ``count`` of them, over all of its
    objects.

    :param is_ragged: two and two of them lie side by side, and none begins
        at a multiple of its size: so those of an erasure-coded VDI share
        stripes
    """

    def __init__(self, name: str, number: int, size: int, count: int,
                 is_ragged: bool = False):
        self.name = name
        self.number = number
        self.size = size
        self.count = count
        self._is_ragged = is_ragged
        self._stride = size // count // BLOCK_BYTES * BLOCK_BYTES

    def offset(self, block: int) -> int:
        if self._is_ragged:
            pair, second = divmod(block, 2)
            # (Two strides are no less than an object's part, so no block
            # lies on two objects.)
            start = 2 * pair * self._stride
            return (start + (pair * 7 * BLOCK_BYTES)
                    % (2 * self._stride - 4 * BLOCK_BYTES)
                    + RAGGED_BYTES + second * BLOCK_BYTES)
        # Not all at the same place of an object.
        return block * self._stride + (
            block * 7 * BLOCK_BYTES) % self._stride

    def content(self, block: int, value: int) -> bytes:
        if value == checkers.ZERO:
            return bytes(BLOCK_BYTES)
        stamp = _STAMP.pack(_MAGIC, self.number << 20 | block, value)
        return stamp * (BLOCK_BYTES // _STAMP.size)

    def value(self, block: int, data: bytes) -> int:
        """Which write a block is from; ``TORN`` where from no single one
        of this block."""
        if not any(data):
            return checkers.ZERO
        value = _STAMP.unpack_from(data)[2]
        if data != self.content(block, value):
            return checkers.TORN
        return value


class Record:
    """A history that threads may write; it starts anew with each phase.

    ``locks`` counts the exclusive opens of each disk.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._history = history_module.History()
        self._locks = 0
        self.writes = 0
        self.reads = 0
        self.refused = {}

    def opened(self) -> int:
        """The number of an exclusive lock that was just given."""
        with self._lock:
            self._locks += 1
            return self._locks

    def note(self, exc: Exception) -> None:
        """A request failed: that is no loss, but counted by kind."""
        with self._lock:
            kind = type(exc).__name__
            self.refused[kind] = self.refused.get(kind, 0) + 1

    def begin_write(self, who: str, disk: Disk, block: int, lock: int = 0,
                    is_zero: bool = False) -> tuple:
        """``(content, write)``; a write that is not ended may take effect
        at any time, or never."""
        with self._lock:
            value = checkers.ZERO if is_zero else self._history.new_value()
            return disk.content(block, value), self._history.begin_write(
                who, [(disk.name, block)], value, lock)

    def end_write(self, write) -> None:
        """It was acknowledged."""
        with self._lock:
            self._history.end_write(write, None, False)
            self.writes += 1

    def read(self, who: str, disk: Disk, block: int, read, lock: int = 0):
        """Have ``read(offset, length)`` read a block."""
        with self._lock:
            begun = self._history.begin_read(who, [(disk.name, block)], lock)
        data = bytes(read(disk.offset(block), BLOCK_BYTES))
        value = disk.value(block, data)
        with self._lock:
            self._history.end_read(begun, [value])
            self.reads += 1
        return value

    def check(self) -> list:
        """(register, violation) of each block whose operations fit no
        order."""
        with self._lock:
            return self._history.check()

    def operations(self, register) -> list:
        return self._history.operations(register)

    def begin_anew(self, values: dict) -> None:
        """Forget all but what the blocks hold now: register → value. (No
        request is under way, and none that was left open can still come.)
        """
        with self._lock:
            old, new = self._history, history_module.History()
            # Values go on: those of before must not come again.
            new.new_value = old.new_value
            for register, value in values.items():
                new.end_write(new.begin_write('before', [register], value),
                              None, True)
            self._history = new


def read_all(record: Record, disk: Disk, client, who: str) -> dict:
    """Register → value, all of a disk by way of ``client``.

    :raises SheepdogError: a block cannot be read
    """
    with client.open(disk.name, read_only=True) as volume:
        return {(disk.name, block): record.read(who, disk, block,
                                                volume.read)
                for block in range(disk.count)}
