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

"""A VDI gets the content of a snapshot, and a snapshot that says so.

All or nothing: what cannot be brought to its end is undone, at once, or (by
who was killed) the next time that something is restored to that VDI. The
VDI is open exclusively all the time, so nobody sees half of it.

    open, look at what it holds → mark "writing" → write, flush → mark
    "written" → snapshot → record its identity → no mark

So there is no mark where nothing was to be lost; but whoever finds one cannot
tell what was written since by others, and asks before it undoes that.
"""

import logging
from typing import NamedTuple

from sheepdog.backup import changes
from sheepdog.backup import faults
from sheepdog.backup import records
from sheepdog.backup import source
from sheepdog.client import closing
from sheepdog.client import maps
from sheepdog.model import errors

LOG = logging.getLogger(__name__)

_REQUEST_BYTES = 1 << 20
_WRITING, _WRITTEN = 'writing', 'written'


class Goal(NamedTuple):
    """What the VDI ``name`` is to have: the snapshot ``tag`` with this
    ``identity``. Of a VDI that is made: ``policy`` for ``VdiCalls.create``,
    or the ``source.Snapshot`` of another that it begins as, and
    ``attributes``. ``image``: the digest of what it comes from, in a store.
    """

    name: str
    tag: str
    identity: str
    size: int
    block_size_shift: int
    policy: dict = {}
    clone_of: object = None
    attributes: dict = {}
    image: str = ''


def restore(client, goal: Goal, base: str, pieces, progress=None,
            chosen=None, may_undo=False) -> dict:
    """Bring the VDI there.

    :param base: the identity of what ``pieces`` differ from, '': of nothing
    :param chosen: called with the base, and whether the VDI holds something
        else; returns when that may be lost
    :param may_undo: see ``tidy``
    :returns: ``vdi_id`` and ``snap_id`` of the snapshot, ``written`` bytes,
        ``undone``: something that was interrupted before
    :raises WrongBase, Damaged, SheepdogError: then nothing has changed
    """
    undone = _end(client, goal.name)
    vdis = client.vdis.list(goal.name)
    _check_tag(vdis, goal)
    if base and not goal.clone_of:
        _with_identity(client, goal, vdis, base)
    if tidy(client, goal.name, may_undo):
        undone = True
        vdis = client.vdis.list(goal.name)
    working = _working(vdis)
    under = (goal.clone_of if goal.clone_of and not working
             else _base_of(client, goal, vdis, base))
    if working is None:
        if vdis:
            raise faults.WrongBase(
                'there are snapshots of VDI %s, but no VDI: delete them, or '
                'make one of them (dog vdi clone) under another name'
                % goal.name)
        _make(client, goal)
    elif under:
        differs = source.differs(client, goal.name, under, under.vdi['size'])
        if chosen:
            chosen(under, differs)
        elif differs:
            raise faults.WrongBase(
                'VDI %s was written since its snapshot %s, which this is a '
                'difference to: -s %s puts that content back first' % (
                    goal.name, _shown(under), _shown(under)))
        if differs:
            client.vdis.rollback(goal.name, source.handle(client, under.vdi))
    done = _fill(client, goal, under, pieces, progress, working is None)
    return dict(done, undone=undone)


def tidy(client, name, may_undo=False) -> bool:
    """Undo what was interrupted there, or bring it to its end where it
    nearly was; true if there was something.

    :param may_undo: also in a VDI that was there before, where somebody may
        have written since
    :raises VdiLocked: somebody is at it
    :raises Unfinished: it was there before
    """
    if _end(client, name):
        return True
    left = records.marked(client, name)
    if left is None:
        return False
    if not (may_undo or left['is_ours']):
        raise faults.Unfinished(
            'VDI %s is being restored, or that was interrupted and left it '
            'half restored; nothing was done: -f undoes that first, and with '
            'it what was written since' % name)
    _undo(client, name, left)
    return True


def _end(client, name) -> bool:
    left = records.marked(client, name)
    return left is not None and _finish(client, name, left)


def _finish(client, name, left) -> bool:
    """Where the snapshot was made, only its record may be missing."""
    if left['state'] != _WRITTEN:
        return False
    vdis = client.vdis.list(name)
    for vdi in vdis:
        if vdi['vdi_id'] == left['vdi_id']:
            if not vdi['snapshot']:
                return False
            records.record(client, vdi, left['identity'],
                           left.get('image', ''))
    # (Else it was deleted since, and its VDI is anybody's.)
    records.unmark(client, name)
    return True


def _undo(client, name, left):
    if left['is_ours']:
        client.vdis.delete(name)
        return
    if left['base']:
        base = source.find(client, name, snap_id=left['base'])
        client.vdis.rollback(name, source.handle(client, base.vdi))
    else:
        with client.open(name, alone=True) as volume:
            for place in _places(client, name, volume):
                volume.zero(place.offset, place.length)
    records.unmark(client, name)


def _is_empty(client, name) -> bool:
    """Objects of zeroes count as none."""
    with client.open(name, read_only=True) as volume:
        return not any(
            True for place in _places(client, name, volume)
            for _piece in source.in_range(volume, None, place))


def _places(client, name, volume):
    return changes.ranges(
        maps.owners(client, name, source.WORKING,
                    -(-volume.size // volume.object_bytes)),
        volume.size, (), 0, volume.object_bytes)


def _make(client, goal):
    if goal.clone_of:
        client.vdis.clone(goal.clone_of.vdi['name'],
                          source.handle(client, goal.clone_of.vdi),
                          goal.name)
    else:
        client.vdis.create(
            goal.name, goal.size, block_size_shift=goal.block_size_shift,
            **goal.policy)
    for key, value in goal.attributes.items():
        client.vdis.set_attribute(goal.name, key, value)


def _check_tag(vdis, goal):
    for vdi in vdis:
        if vdi['snapshot'] and goal.tag and vdi['tag'] == goal.tag:
            raise errors.VdiExists(
                'there is a snapshot %s of VDI %s already'
                % (goal.tag, goal.name))


def _working(vdis):
    for vdi in vdis:
        if not vdi['snapshot']:
            return vdi
    return None


def _base_of(client, goal, vdis, base):
    """The snapshot that has this identity; None: there is to be none.

    :raises WrongBase: there is none such
    :raises VdiExists: the VDI holds something
    """
    if base:
        return _with_identity(client, goal, vdis, base)
    working = _working(vdis)
    if working and (len(vdis) > 1 or not _is_empty(client, goal.name)):
        raise errors.VdiExists(
            'VDI %s is there already, and not empty: a whole backup makes a '
            'new one, or fills an empty one' % goal.name)
    if working and (
            working['size'] > goal.size
            or working['block_size_shift'] != goal.block_size_shift):
        raise faults.WrongBase(
            'VDI %s is larger than what is to be restored (%d bytes), or has '
            'objects of another size' % (goal.name, goal.size))
    return None


def _with_identity(client, goal, vdis, base):
    for vdi in vdis:
        if (vdi['snapshot'] and vdi['size'] <= goal.size
                and vdi['block_size_shift'] == goal.block_size_shift):
            found = source.Snapshot(vdi, records.identity(client, vdi))
            if found.identity == base:
                return found
    raise faults.WrongBase(
        'this is the difference to a snapshot that VDI %s does not have: '
        'restore that one first' % goal.name)


def _shown(snapshot) -> str:
    return snapshot.vdi['tag'] or str(snapshot.vdi['snap_id'])


def _fill(client, goal, under, pieces, progress, is_ours):
    """:param is_ours: we have made the VDI, and nobody misses it"""
    name = goal.name
    mark = {'base': under.vdi['snap_id'] if under else 0,
            'identity': goal.identity, 'state': _WRITING,
            'is_ours': is_ours, 'image': goal.image}
    volume = _locked(client, goal, under, mark)
    try:
        with volume:
            written = _write(volume, pieces, progress)
            volume.flush()
            # (Others may have made snapshots of it while it was open.)
            vdi = _working(client.vdis.list(name))
            mark.update(state=_WRITTEN, vdi_id=vdi['vdi_id'])
            records.mark(client, name, mark)
            # (Where another one was quicker even now, it has the same.)
            made = client.vdis.snapshot(name, goal.tag)
        vdi, = [vdi for vdi in client.vdis.list(name)
                if vdi['vdi_id'] == made['snapshot']]
        records.record(client, vdi, goal.identity, goal.image)
        records.unmark(client, name)
    except BaseException:
        # Also when the operator does not want to wait any more.
        _give_up(client, name, mark)
        raise
    return {'name': name, 'vdi_id': vdi['vdi_id'],
            'snap_id': vdi['snap_id'], 'written': written}


def _locked(client, goal, under, mark):
    """The VDI, open, as large as it is to be, and marked.

    Whatever goes wrong here, nothing was written yet, and no mark stays: by
    that one the next restore would undo what others write.
    """
    name = goal.name
    size = maps.head(client, name, source.WORKING).vdi_size
    volume = client.open(name, alone=True)
    is_marked = False
    try:
        _check_lock(client, goal, under, volume, size)
        is_marked = True
        records.mark(client, name, mark)
        if size < goal.size:
            client.vdis.resize(name, goal.size)
            # (Clients learn the size when they open it.)
            volume.close()
            volume = client.open(name, alone=True)
            _check_lock(client, goal, under, volume, goal.size)
    except BaseException:
        try:
            if is_marked:
                records.unmark(client, name)
        finally:
            volume.close()
        raise
    return volume


def _check_lock(client, goal, under, volume, size):
    """Nobody was quicker than our lock."""
    if volume.size != size or size > goal.size:
        is_well = False
    elif under:
        is_well = not source.differs(client, goal.name, under, size)
    else:
        is_well = _is_empty(client, goal.name)
    if not is_well:
        raise errors.VdiLocked('somebody else was just at VDI %s'
                               % goal.name)


def _write(volume, pieces, progress) -> int:
    def data():
        for offset, length, content in pieces:
            if content is None:
                volume.zero(offset, length)
            else:
                yield from _cut(offset, content)
            if progress:
                progress.update(offset + length, volume.size)

    written = 0
    for written in volume.write_pieces(data()):
        pass
    return written


def _cut(offset, content):
    view = memoryview(content)
    for start in range(0, len(view), _REQUEST_BYTES):
        yield offset + start, view[start:start + _REQUEST_BYTES]


def _give_up(client, name, mark):
    def finish_or_undo():
        if not _finish(client, name, mark):
            _undo(client, name, mark)

    try:
        closing.once_closed(finish_or_undo)
    except errors.SheepdogError as error:
        LOG.error('VDI %s is left as it is, half restored (%s); the next '
                  'restore to it (with -f, where the VDI was there before) '
                  'begins with undoing that', name,
                  str(error) or type(error).__name__)
