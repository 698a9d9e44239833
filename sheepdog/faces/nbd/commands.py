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

"""The commands that are neither READ nor WRITE, done on a volume.

Each takes a request that was found to be in order and returns its answer, as
one buffer. What a volume cannot do it raises. (Who calls them has waited for
limits of the VDI.)
"""

from sheepdog.faces.nbd import counters as counters_module
from sheepdog.faces.nbd import exports
from sheepdog.wire import nbd
from sheepdog.wire import nbd_options
from sheepdog.wire import nbd_transmission as wire

STATUS_BYTES_MAX = 256 << 20
STATUS_EXTENTS_MAX = 16 << 10
"""Of the volume looked at, and of extents told, by one BLOCK_STATUS. The
client asks on from where the answer ends."""


async def flush(volume: exports.Volume, counters: counters_module.Counters,
                flags: int, cookie: int, offset: int, length: int) -> bytes:
    counters.flushes += 1
    await volume.flush()
    return wire.simple_reply(cookie)


async def trim(volume: exports.Volume, counters: counters_module.Counters,
               flags: int, cookie: int, offset: int, length: int) -> bytes:
    counters.trims += 1
    await volume.discard(offset, length, fua=bool(flags & nbd.CMD_FLAG_FUA),
                         is_due=True)
    return wire.simple_reply(cookie)


async def write_zeroes(volume: exports.Volume,
                       counters: counters_module.Counters, flags: int,
                       cookie: int, offset: int, length: int) -> bytes:
    counters.zeroes += 1
    await volume.zero(
        offset, length, fua=bool(flags & nbd.CMD_FLAG_FUA),
        may_punch=not flags & nbd.CMD_FLAG_NO_HOLE, is_due=True)
    return wire.simple_reply(cookie)


async def block_status(volume: exports.Volume,
                       counters: counters_module.Counters, flags: int,
                       cookie: int, offset: int, length: int) -> bytes:
    counters.statuses += 1
    length = min(length, STATUS_BYTES_MAX)
    if flags & nbd.CMD_FLAG_REQ_ONE:
        extents = await _first_extent(volume, offset, length)
    else:
        extents = wire.merge_extents(
            await volume.extents(offset, length), length, STATUS_EXTENTS_MAX)
    return wire.status_chunk(cookie, nbd_options.CONTEXT_ID, extents)


async def _first_extent(volume: exports.Volume, offset: int,
                        length: int) -> list:
    """What begins at ``offset``, as far as it is all of one kind.

    QEMU asks so, for 2 GiB at a time, and forgets all but the first
    extent of the answer: no more is looked at than that needs.
    """
    object_bytes = volume.object_bytes
    step = object_bytes - offset % object_bytes
    looked_at = 0
    extents = []
    while looked_at < length:
        step = min(step, length - looked_at)
        extents += await volume.extents(offset + looked_at, step)
        merged = wire.merge_extents(extents, length, 2)
        if len(merged) > 1:
            break
        extents = [(size, not state) for size, state in merged]
        looked_at += step
        step *= 2
    return merged[:1]


RARE = {
    nbd.CMD_FLUSH: flush,
    nbd.CMD_TRIM: trim,
    nbd.CMD_WRITE_ZEROES: write_zeroes,
    nbd.CMD_BLOCK_STATUS: block_status,
}
