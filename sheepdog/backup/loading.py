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
is being loaded: so who was interrupted goes on.
"""

from sheepdog.backup import documents
from sheepdog.backup import faults
from sheepdog.backup import images
from sheepdog.backup import landing
from sheepdog.backup import records
from sheepdog.backup import source
from sheepdog.model import errors

LOADING = b'sheepdog.loading'


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
    mark = documents.digest_of(documents.pack_manifest(manifest)).hex()
    have = _already(client, chosen, wanted, mark.encode())
    before = len(have)
    with images.Store(depot) as store:
        for vdi in vdis:
            if vdi.identity not in have:
                have[vdi.identity] = _load(client, store, vdi, wanted, have,
                                           mark.encode(), progress)
    for name in sorted(chosen):
        _end_at(client, name, have.get(manifest.heads.get(name)))
    for name in sorted(chosen):
        if name in manifest.heads:
            _forget(client, name)
        else:
            # Snapshots of a VDI that was deleted.
            client.vdis.delete(name)
    return {'tag': manifest.tag, 'vdis': len(chosen),
            'snapshots': len(vdis), 'before': before}


def _chosen(manifest, names) -> set:
    there = {vdi.name for vdi in manifest.vdis} | set(manifest.heads)
    for name in names:
        if name not in there:
            raise errors.NoVdi("the cluster snapshot %s has no VDI '%s'"
                               % (manifest.tag, name))
    return set(names) or there


def _already(client, chosen, wanted, mark) -> dict:
    """Snapshots that an interrupted load has made, by identity."""
    for name in chosen:
        left = records.marked(client, name)
        is_loaded = left and _attribute(client, name) == mark
        if is_loaded or (left and left['is_ours']
                         and left['identity'] in wanted):
            landing.tidy(client, name, may_undo=is_loaded)
    vdis = [vdi for vdi in client.vdis.list() if vdi['name'] in chosen]
    there = sorted({vdi['name'] for vdi in vdis})
    taken = [name for name in there if _attribute(client, name) != mark]
    if taken:
        raise errors.VdiExists(
            'VDIs of these names are there already, and nothing was done: '
            + ', '.join(taken))
    found = (source.Snapshot(vdi, records.identity(client, vdi))
             for vdi in vdis if vdi['snapshot'])
    return {one.identity: one for one in found if one.identity in wanted}


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
    goal = landing.Goal(
        vdi.name, vdi.tag, vdi.identity, vdi.size, vdi.block_size_shift,
        {'copies': vdi.copies, 'copy_policy': vdi.copy_policy}, clone_of,
        {LOADING: mark})
    done = landing.restore(
        client, goal, under.identity if under else '',
        store.differing(image, base), progress, lambda *_: None)
    return source.find(client, vdi.name, snap_id=done['snap_id'])


def _base_of(vdi, wanted, have):
    """What a snapshot is written over; None: nothing.

    It need not be what it followed: that may be no more, and left several
    behind that follow nothing.
    """
    parent = wanted.get(vdi.parent)
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


def _end_at(client, name, head):
    """Let the VDI hold what it held."""
    if head is None:
        return
    if not any(not vdi['snapshot'] for vdi in client.vdis.list(name)):
        client.vdis.clone(head.vdi['name'], str(head.vdi['snap_id']), name)
    elif source.differs(client, name, head, head.vdi['size']):
        client.vdis.rollback(name, str(head.vdi['snap_id']))


def _forget(client, name):
    try:
        client.vdis.delete_attribute(name, LOADING)
    except errors.NoObject:
        pass
