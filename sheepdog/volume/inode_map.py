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

"""Reads the object map of an inode: only where it is not zero, since that of
a large VDI mostly is."""

import numpy

from sheepdog.model import ids
from sheepdog.model import inode

WHOLE_BYTES = 8 << 10
"""A map that is no longer is read in one piece, without looking where it is
zero."""

PIECE_BYTES = 1 << 20


async def pieces(gateway, vdi_id, count):
    """Yield (first entry, bytes) of all of the first ``count`` entries that
    may not be zero. What was written before is in it; what is written
    meanwhile may be.

    :param gateway: or an ``access.Access``
    :raises SheepdogError: NoObject: there is no such inode
    """
    oid = ids.vdi_oid(vdi_id)
    whole = inode.MAP_OFFSET, count * inode.MAP_ENTRY_BYTES
    if whole[1] <= WHOLE_BYTES:
        content = bytes(await gateway.read_wait(oid, *whole))
        if any(content):
            yield 0, content
        return
    for start, size in await gateway.extents(oid):
        # (Blocks begin and end where entries do.)
        start, end = (max(start, inode.MAP_OFFSET),
                      min(start + size, inode.map_offset(count)))
        while start < end:
            size = min(PIECE_BYTES, end - start)
            content = await gateway.read_wait(oid, start, size)
            yield ((start - inode.MAP_OFFSET) // inode.MAP_ENTRY_BYTES,
                   bytes(content))
            start += size


async def owners(gateway, vdi_id, count):
    """The first ``count`` entries as an array, see ``pieces``."""
    found = numpy.zeros(count, '<u4')
    async for first, content in pieces(gateway, vdi_id, count):
        part = numpy.frombuffer(content, '<u4')
        found[first:first + len(part)] = part
    return found
