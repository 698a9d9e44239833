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

"""Copies of objects: an ancestor's becomes the volume's own on its first
write, and one of a former form one of the present form."""

from sheepdog.model import errors

CHUNK_BYTES = 1 << 20
BLOCK = bytes(4096)


async def create_from(gateway, source_oid, oid, offset, data, durable):
    """Create ``oid`` with the content of ``source_oid`` and ``data`` over it
    at ``offset``. Only what ``data`` does not cover is copied, durably,
    whatever ``data`` is: it may have been so before. So may what it covers:
    a power cut must not leave a hole there. May be done again: nothing
    refers to the object before the caller says so.

    :raises NoObject: there is no source (which is damage, where a map names
        it: nothing may make it look well)
    :raises SheepdogError:
    """
    extents = await gateway.extents(source_oid)
    end = offset + len(data)
    await _copy(gateway, gateway, source_oid, oid, extents, offset, end)
    is_over = any(start < end and offset < start + size
                  for start, size in extents)
    await gateway.write_wait(oid, offset, data, durable or is_over,
                             create=True)


async def create_zeroed(gateway, source_oid, oid, offset, size):
    """As ``create_from`` with so many zeroes, of which none is written.

    :raises NoObject, SheepdogError:
    """
    extents = await gateway.extents(source_oid)
    # The object is there when nothing of the source is left, too.
    await gateway.write_wait(oid, 0, BLOCK, True, create=True)
    await _copy(gateway, gateway, source_oid, oid, extents, offset,
                offset + size)
    await gateway.zero_wait(oid, offset, size)


async def create_equal(reader, gateway, source_oid, oid):
    """Create ``oid`` with the content of ``source_oid``, durably.

    :param reader: a gateway, to read the source
    :raises NoObject: there is no source
    :raises SheepdogError:
    """
    extents = await reader.extents(source_oid)
    if not extents:
        await gateway.write_wait(oid, 0, BLOCK, True, create=True)
    await _copy(reader, gateway, source_oid, oid, extents, 0, 0)


async def clear(reader, gateway, oid, size):
    """Of a first write, or a copy, that got no further than the object,
    nothing may come to light with the next one. (Where the volume is open
    elsewhere too, it may be another one's, which is just being made.)

    :param reader: a gateway that is asked whether there is any
    :param size: of a whole object
    :raises SheepdogError:
    """
    try:
        if await reader.extents(oid):
            await gateway.zero_wait(oid, 0, size)
    except errors.NoObject:
        pass


async def _copy(reader, gateway, source_oid, oid, extents, offset, end):
    """All but [offset, end)."""
    for start, size in extents:
        for piece, length in _outside(start, start + size, offset, end):
            content = await reader.read_wait(source_oid, piece, length)
            await gateway.write_wait(oid, piece, content, True,
                                     create=True)


def _outside(start, end, hole_start, hole_end):
    """Chunks of [start, end) that are not in [hole_start, hole_end)."""
    for low, high in ((start, min(end, hole_start)),
                      (max(start, hole_end), end)):
        while low < high:
            length = min(CHUNK_BYTES, high - low)
            yield low, length
            low += length
