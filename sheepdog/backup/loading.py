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

"""A cluster snapshot becomes VDIs and their snapshots again.

One snapshot after the other, each behind its parent: what follows one of the
same VDI is written over it, what follows one of another VDI begins as a
clone of that. Until all are there, each VDI has an attribute that says what
is being loaded, and whether this one is done: so who was interrupted goes on,
and leaves alone what is in use by then.
"""

from sheepdog.backup import documents
from sheepdog.backup import faults
from sheepdog.backup import images
from sheepdog.backup import landing
from sheepdog.backup import records
from sheepdog.backup import source
from sheepdog.model import errors

LOADING = b'sheepdog.loading'
_DONE = b' done'
"""Behind what is being loaded: the VDI holds what it held."""
_ENDING = b' all of '
"""Behind it: so do all of these, and only the attributes are left over."""


def load(client, depot, manifest, names=(), progress=None) -> dict:
    """Make these VDIs (all, where none is named), and their snapshots.

    :param manifest: see ``saving.manifest``
    :returns: ``vdis`` and ``snapshots``: how many there are now, ``before``:
        snapshots that an interrupted load had made
    :raises VdiExists: one of the VDIs is there, and not from such a load
    :raises NoVdi: the cluster snapshot has none of that name
    :raises Damaged: what is in the store; what was made so far stays, and
        loading goes on from there
    """
    chosen = _chosen(manifest, names)
    vdis = [vdi for vdi in manifest.vdis if vdi.name in chosen]
    wanted = {vdi.identity: vdi for vdi in vdis}
    for name in chosen:
        head = manifest.heads.get(name)
        if head and head not in wanted:
            raise faults.BackupError(
                'VDI %s is a clone of a VDI that is not to be loaded: name '
                'that one, too' % name)
    _check_shapes(vdis)
    mark = documents.digest_of(
        documents.pack_manifest(manifest)).hex().encode()
    heads = {name: manifest.heads.get(name) for name in chosen}
    ending = mark + _ENDING + documents.digest_of(
        '\0'.join(sorted(chosen)).encode()).hex().encode()
    have, done = _already(client, heads, wanted, mark, ending)
    before = len(have)
    with images.Store(depot) as store:
        _end_all(client, heads, vdis, have, mark, done)
        for vdi in vdis:
            if vdi.identity not in have and vdi.name not in done:
                have[vdi.identity] = _load(client, store, vdi, wanted, have,
                                           mark, progress)
                _end_all(client, heads, vdis, have, mark, done)
    for name in sorted(chosen):
        if name not in done and heads[name]:
            raise faults.BackupError(
                'a snapshot that VDI %s is to hold was deleted since it was '
                'loaded' % name)
    _end(client, heads, have, ending)
    return {'tag': manifest.tag, 'vdis': len(chosen),
            'snapshots': len(vdis), 'before': before}


def _check_shapes(vdis):
    shifts = {vdi.name: vdi.block_size_shift for vdi in vdis}
    for vdi in vdis:
        if vdi.block_size_shift != shifts[vdi.name]:
            raise faults.BackupError(
                'snapshots of VDI %s have objects of different sizes, since '
                'it was made anew: that cannot be loaded; name the others'
                % vdi.name)


def _chosen(manifest, names) -> set:
    there = {vdi.name for vdi in manifest.vdis} | set(manifest.heads)
    for name in names:
        if name not in there:
            raise errors.NoVdi("the cluster snapshot %s has no VDI '%s'"
                               % (manifest.tag, name))
    return set(names) or there


def _already(client, heads, wanted, mark, ending) -> tuple:
    """What an interrupted load has left: snapshots by identity, and names of
    VDIs that it was done with."""
    for name in heads:
        left = records.marked(client, name)
        is_loaded = left and _attribute(client, name) == mark
        if is_loaded or (left and left['is_ours']
                         and left['identity'] in wanted):
            landing.tidy(client, name, may_undo=is_loaded)
    vdis = [vdi for vdi in client.vdis.list() if vdi['name'] in heads]
    found = (source.Snapshot(vdi, records.identity(client, vdi))
             for vdi in vdis if vdi['snapshot'])
    have = {one.identity: one for one in found if one.identity in wanted}
    there = {name: _attribute(client, name)
             for name in sorted({vdi['name'] for vdi in vdis})}
    if ending in there.values():
        return have, set(heads)
    clones = [name for name in there if there[name] is None and _is_clone_of(
        client, name, vdis, have.get(heads[name]))]
    taken = [name for name in there if name not in clones
             and there[name] not in (mark, mark + _DONE)]
    if taken:
        raise errors.VdiExists(
            'VDIs of these names are there already, and nothing was done: '
            + ', '.join(taken))
    for name in clones:
        client.vdis.set_attribute(name, LOADING, mark)
    return have, {name for name in there if there[name] == mark + _DONE}


def _is_clone_of(client, name, vdis, head) -> bool:
    """…and nothing else: as who was interrupted just behind that leaves
    one."""
    own = [vdi for vdi in vdis if vdi['name'] == name]
    return (head is not None and len(own) == 1
            and own[0]['parent'] == head.vdi['vdi_id']
            and not source.differs(client, name, head, head.vdi['size']))


def _attribute(client, name):
    try:
        return client.vdis.attribute(name, LOADING)
    except (errors.NoObject, errors.NoVdi):
        return None


def _load(client, store, vdi, wanted, have, mark, progress):
    image = store.image(vdi.identity, vdi.image)
    if (image.size, image.block_size_shift) != (vdi.size,
                                                vdi.block_size_shift):
        raise faults.Damaged('the image of VDI %s is of another size'
                             % vdi.name)
    under = _base_of(vdi, wanted, have)
    base = store.image(under.identity, under.image) if under else None
    clone_of = (have[under.identity] if under and under.name != vdi.name
                else None)
    own = client.vdis.list(vdi.name)
    if own:
        _check_untouched(client, vdi.name, have)
        if clone_of and len(own) == 1:
            # Left by who was interrupted before it was marked.
            client.vdis.delete(vdi.name)
    goal = landing.Goal(
        vdi.name, vdi.tag, vdi.identity, vdi.size, vdi.block_size_shift,
        {'copies': vdi.copies, 'copy_policy': vdi.copy_policy}, clone_of,
        {LOADING: mark}, vdi.image)
    done = landing.restore(
        client, goal, under.identity if under else '',
        store.differing(image, base), progress,
        lambda *_: _check_untouched(client, vdi.name, have))
    return source.find(client, vdi.name, snap_id=done['snap_id'])


def _base_of(vdi, wanted, have):
    """What a snapshot is written over; None: nothing.

    It need not be what it followed: that may be no more, and left several
    behind that follow nothing.
    """
    parent = wanted[vdi.parent] if vdi.parent in have else None
    beside = [wanted[identity] for identity in have
              if wanted[identity].name == vdi.name]
    if parent and (parent.name == vdi.name or not beside):
        fitting = [parent]
    else:
        fitting = beside
    fitting = [one for one in fitting + beside if one.size <= vdi.size]
    if fitting:
        return fitting[0]
    if beside:
        raise faults.BackupError(
            'VDI %s was made smaller, which cannot be loaded' % vdi.name)
    return None


def _end_all(client, heads, vdis, have, mark, done):
    """Let each VDI hold what it held, as soon as all of it is there."""
    missing = {vdi.name for vdi in vdis if vdi.identity not in have}
    for name in sorted(set(heads) - missing - done):
        if heads[name] in have:
            _end_at(client, name, vdis, have[heads[name]], have, mark)
            client.vdis.set_attribute(name, LOADING, mark + _DONE)
            done.add(name)


def _end_at(client, name, vdis, head, have, mark):
    working = _working(client, name)
    if working and not source.differs(client, name, head, head.vdi['size']):
        return
    if working:
        _check_untouched(client, name, have)
        if head.vdi['name'] == name:
            client.vdis.rollback(name, source.handle(client, head.vdi))
            return
        # It was made anew as a clone of another one.
        client.vdis.delete(name)
    client.vdis.clone(head.vdi['name'], source.handle(client, head.vdi), name)
    client.vdis.set_attribute(name, LOADING, mark)
    if working:
        # These went with the former one.
        for vdi in vdis:
            if vdi.name == name:
                records.record(client, have[vdi.identity].vdi, vdi.identity,
                               vdi.image)


def _end(client, heads, have, ending):
    """No VDI says any more that it is being loaded. The last one that does
    tells that only this is left to be done."""
    names = sorted(heads, key=lambda name: (heads[name] is not None, name))
    if names:
        client.vdis.set_attribute(names[-1], LOADING, ending)
    for name in names:
        if heads[name]:
            _forget(client, name)
        elif _attribute(client, name):
            # Snapshots of a VDI that was deleted.
            _check_untouched(client, name, have)
            client.vdis.delete(name)


def _working(client, name):
    for vdi in client.vdis.list(name):
        if not vdi['snapshot']:
            return vdi
    return None


def _check_untouched(client, name, have):
    """Nobody but us has written to it.

    :raises VdiExists: somebody has
    """
    working = _working(client, name)
    if working is None or not working['parent']:
        # (Whether a new one is empty is looked at when it is written.)
        return
    for one in have.values():
        if (one.vdi['vdi_id'] == working['parent'] and not source.differs(
                client, name, one, one.vdi['size'])):
            return
    raise errors.VdiExists(
        'VDI %s was loaded in part by a load that was interrupted, and '
        'written since: that would be lost. Delete it first' % name)


def _forget(client, name):
    try:
        client.vdis.delete_attribute(name, LOADING)
    except errors.NoObject:
        pass
