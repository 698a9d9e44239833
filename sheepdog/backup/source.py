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

"""A snapshot of a cluster, that is read."""

from typing import Iterator, NamedTuple

from sheepdog.backup import changes
from sheepdog.backup import faults
from sheepdog.backup import records
from sheepdog.backup import stream
from sheepdog.client import maps
from sheepdog.model import errors

STEP_BYTES = 1 << 30
"""One question where data is."""

WORKING = {'tag': '', 'snap_id': 0}


class Snapshot(NamedTuple):
    """``vdi``: as ``VdiCalls.list`` has it."""

    vdi: dict
    identity: str

    @property
    def object_bytes(self) -> int:
        return 1 << self.vdi['block_size_shift']

    @property
    def which(self) -> dict:
        return {'tag': '', 'snap_id': self.vdi['snap_id']}

    def owners(self, client):
        """Its object map."""
        return maps.owners(client, self.vdi['name'], self.which,
                           -(-self.vdi['size'] // self.object_bytes))

    def open(self, client):
        return client.open(self.vdi['name'], read_only=True, **self.which)


def find(client, name, tag='', snap_id=0) -> Snapshot:
    """
    :raises NoVdi: there is no such VDI
    :raises NoTag: there is no such snapshot of it
    """
    vdis = client.vdis.list(name)
    if not vdis:
        raise errors.NoVdi("there is no VDI '%s'" % name)
    for vdi in vdis:
        if vdi['snapshot'] and (vdi['snap_id'] == snap_id if snap_id
                                else vdi['tag'] == tag):
            return Snapshot(vdi, records.identity(client, vdi))
    raise errors.NoTag("there is no snapshot '%s' of VDI %s"
                       % (snap_id or tag, name))


def handle(client, vdi) -> str:
    """What ``rollback`` and ``clone`` know a snapshot by: they look for a tag
    first, and for a number then.

    :raises NoTag: they would take it for another
    """
    if vdi['tag']:
        return vdi['tag']
    number = str(vdi['snap_id'])
    if any(one['tag'] == number for one in client.vdis.list(vdi['name'])):
        raise errors.NoTag(
            'the snapshot %s of VDI %s has no tag, and another one has this '
            'number for a tag' % (number, vdi['name']))
    return number


def differs(client, name, under: Snapshot, size) -> bool:
    """Has the VDI been written since that snapshot, or another size?"""
    count = -(-size // under.object_bytes)
    before = under.owners(client)
    before.extend([0] * (count - len(before)))
    return (maps.head(client, name, WORKING).vdi_size != size
            or maps.owners(client, name, WORKING, count) != before)


def head(new: Snapshot, old=None) -> stream.Head:
    """Of the stream of ``new``, or of what differs from ``old``.

    :raises WrongBase: both cannot be compared
    """
    vdi = new.vdi
    found = stream.Head(
        vdi['name'], vdi['tag'], new.identity, vdi['size'],
        vdi['block_size_shift'], snapped=int(vdi['snapped']))
    if old is None:
        return found
    if old.object_bytes != new.object_bytes:
        raise faults.WrongBase(
            'both snapshots of VDI %s have objects of different sizes: take '
            'a whole backup' % vdi['name'])
    return found._replace(base=old.identity, base_tag=old.vdi['tag'],
                          base_size=old.vdi['size'])


def differing(client, new: Snapshot, old=None,
              progress=None) -> Iterator[stream.Piece]:
    """What of ``new`` is not as in ``old``, or not zero; in order."""
    places = list(changes.ranges(
        new.owners(client), new.vdi['size'],
        old.owners(client) if old else (), old.vdi['size'] if old else 0,
        new.object_bytes))
    total = sum(place.length for place in places)
    done = 0
    with new.open(client) as ours:
        theirs = old.open(client) if old else None
        try:
            for place in places:
                for piece in in_range(ours, theirs, place):
                    yield piece
                    if progress:
                        progress.update(
                            done + piece.offset - place.offset, total)
                done += place.length
        finally:
            if theirs:
                theirs.close()


def in_range(ours, theirs, place) -> Iterator[stream.Piece]:
    """Where one open volume is not as the other, or not zero."""
    for offset, length, first, second in _segments(ours, theirs, place):
        yield from _compared(ours if first else None,
                             theirs if second else None, offset, length)


def _segments(ours, theirs, place) -> Iterator[tuple]:
    """(offset, length, is there data of ours, and of theirs)"""
    end = place.offset + place.length
    for start in range(place.offset, end, STEP_BYTES):
        length = min(STEP_BYTES, end - start)
        offset = start
        for size, first, second in changes.merged(
                extents(ours if place.is_new else None, start, length),
                extents(theirs if place.is_old else None, start, length)):
            yield offset, size, first, second
            offset += size


def extents(volume, offset, length) -> list:
    """Beyond its end there is nothing."""
    there = max(min(length, volume.size - offset), 0) if volume else 0
    found = volume.extents(offset, there) if there else []
    return list(found) + ([(length - there, False)] if there < length else [])


def _compared(ours, theirs, offset, length):
    if not ours and not theirs:
        return
    streams = [volume.read_stream(offset, length) if volume else None
               for volume in (ours, theirs)]
    done = 0
    while done < length:
        new, old = (bytes(next(one)) if one else None for one in streams)
        yield from changes.differing(offset + done, new, old)
        done += len(new if old is None else old)
