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

"""Strips between sheep: what a request says besides the header of
``wire.peer``.

The strip's index stands in the upper byte of the flags. A write's payload
begins with HEAD; answers to it carry the strip's generation as their value.
"""

import struct

from sheepdog.model import errors

HEAD = struct.Struct('<QQIBB')
"""number, below (updates of the object with smaller ones are complete), bytes
of the strip that are written, data strips of the code, 1 for zeroes (then no
bytes follow)"""

COUNT_BITS = 40
"""An update's number: serial of the lock << COUNT_BITS | count."""

_EXCEPTION = struct.Struct('<QQ')
_BIRTH = 1 << 31
NO_GENERATION = 0


def flags_of(index: int, flags: int) -> int:
    return index << 8 | flags


def index_of(flags: int) -> int:
    return flags >> 8


def pack_write(number: int, below: int, data: int, size: int,
               content) -> bytes:
    """``content``: buffers, one behind the other; None: zeroes."""
    head = HEAD.pack(number, below, size, data, content is None)
    return head if content is None else b''.join((head, *content))


def unpack_write(payload) -> tuple:
    """(number, below, data strips, size, content). The content is a view:
    it is long.

    :raises InvalidParameters: it is none
    """
    if len(payload) < HEAD.size:
        raise errors.InvalidParameters('a strip is written with a head')
    number, below, size, data, is_zero = HEAD.unpack_from(payload)
    content = None if is_zero else memoryview(payload)[HEAD.size:]
    if not data or size != (size if is_zero else len(content)):
        raise errors.InvalidParameters('%d bytes of a strip, not %d'
                                       % (len(content or b''), size))
    return number, below, data, size, content


def pack_exceptions(exceptions: dict) -> bytes:
    """Object → number, of STRIP_STABLE."""
    return b''.join(_EXCEPTION.pack(*item) for item in exceptions.items())


def unpack_exceptions(payload) -> dict:
    """:raises InvalidParameters: it is none"""
    if len(payload) % _EXCEPTION.size:
        raise errors.InvalidParameters('%d bytes of exceptions'
                                       % len(payload))
    return dict(_EXCEPTION.iter_unpack(payload))


def pack_generation(generation) -> int:
    """Never NO_GENERATION of one that is."""
    epoch, count, is_birth = generation
    return epoch << 32 | count | (_BIRTH if is_birth else 0)


def unpack_generation(value: int) -> tuple:
    return value >> 32, value & (_BIRTH - 1), bool(value & _BIRTH)
