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

"""All snapshots of VDIs become a cluster snapshot."""

import time

from sheepdog.backup import documents
from sheepdog.backup import faults
from sheepdog.backup import images
from sheepdog.backup import records
from sheepdog.backup import source
from sheepdog.model import errors
from sheepdog.model import limits

TAG_PREFIX = 'backup-'


def save(client, depot, tag, names=(), progress=None) -> dict:
    """Save the VDIs of these names (all, where none is named), and their
    snapshots. What a VDI holds now becomes a snapshot, where it is not as
    its last one.

    :returns: what it came to
    :raises Exists: there is one of that tag
    :raises NoVdi: there is no such VDI
    """
    path = documents.manifest_path(tag)
    if depot.exists(path):
        raise faults.Exists('there is a cluster snapshot %s already' % tag)
    names, held = _snapshots(client, tag, set(names))
    waiting = _ordered(source.Snapshot(vdi, '') for vdi in client.vdis.list()
                       if vdi['snapshot'] and vdi['name'] in names)
    theirs = {records.computed(client, one.vdi) for one in waiting}
    by_id, saved, vdis, old = {}, {}, [], 0
    with images.Store(depot) as store:
        for one in waiting:
            snapshot, image, digest = _find(client, store, one.vdi,
                                            theirs | set(saved))
            parent = by_id.get(one.vdi['parent'])
            if image is None:
                base = parent or _beside(one, by_id.values())
                image, digest = store.save(
                    client, snapshot, base,
                    saved[base.identity] if base else None, progress)
            else:
                old += 1
            by_id[one.vdi['vdi_id']] = snapshot
            saved[snapshot.identity] = image
            vdis.append(_described(snapshot, parent, digest))
        heads = {}
        for name, vdi_id in held.items():
            if vdi_id not in by_id:
                raise faults.BackupError(
                    'VDI %s was made anew in this moment, or a snapshot of '
                    'it deleted: save once more' % name)
            heads[name] = by_id[vdi_id].identity
        data = documents.pack_manifest(documents.Manifest(
            tag, int(time.time()), tuple(vdis), heads))
        # What could not be loaded is no backup.
        documents.unpack_manifest(data)
        depot.create(path, data)
        return {'tag': tag, 'snapshots': len(vdis),
                'saved_before': old, 'new_chunks': store.new_chunks,
                'new_bytes': store.new_bytes}


def _find(client, store, vdi, taken) -> tuple:
    """The snapshot as it is called in the store, its image there, and the
    digest of that; None and '' where there is none yet.

    :param taken: identities of others
    """
    shape = vdi['size'], vdi['block_size_shift']
    identity, loaded = records.recorded(client, vdi)
    if loaded and identity not in taken:
        image, digest = store.find(identity)
        if digest == loaded and shape == (image.size, image.block_size_shift):
            return source.Snapshot(vdi, identity), image, digest
    identity = records.computed(client, vdi)
    image, digest = store.find(identity)
    if image and shape != (image.size, image.block_size_shift):
        image, digest = None, ''
    return source.Snapshot(vdi, identity), image, digest


def _beside(snapshot, others):
    """The latest of the same VDI that it may be compared with; None: there
    is none."""
    fitting = [one for one in others
               if one.vdi['name'] == snapshot.vdi['name']
               and one.vdi['size'] <= snapshot.vdi['size']
               and one.object_bytes == snapshot.object_bytes]
    return max(fitting, key=lambda one: one.vdi['snapped'], default=None)


def _snapshots(client, tag, names) -> tuple:
    """
    :returns: the names of all that are meant, and {name of a VDI: the id of
        the snapshot that has what it held}
    """
    listed = client.vdis.list()
    for name in sorted(names):
        if not any(vdi['name'] == name for vdi in listed):
            raise errors.NoVdi("there is no VDI '%s'" % name)
    names = names or {vdi['name'] for vdi in listed}
    listed = [vdi for vdi in listed if vdi['name'] in names]
    working = sorted(vdi['name'] for vdi in listed if not vdi['snapshot'])
    for name in working:
        if records.marked(client, name):
            raise errors.VdiLocked(
                'VDI %s is being restored, or that was interrupted' % name)
    changed = _changed(client, listed)
    held = {vdi['name']: vdi['parent'] for vdi in listed
            if not vdi['snapshot']}
    held.update(_group(client, listed, tag, changed))
    now = [vdi for vdi in client.vdis.list() if vdi['name'] in names]
    if set(_changed(client, now)) & (set(working) - set(changed)):
        # Written since it was looked at: before the others' moment, perhaps.
        held.update(_group(client, client.vdis.list(), tag, working))
    return names, held


def _changed(client, listed) -> list:
    """Names of VDIs that are not as the snapshot that they followed."""
    known = {vdi['vdi_id']: vdi for vdi in listed if vdi['snapshot']}
    return sorted(
        vdi['name'] for vdi in listed if not vdi['snapshot'] and (
            vdi['parent'] not in known or source.differs(
                client, vdi['name'],
                source.Snapshot(known[vdi['parent']], ''),
                known[vdi['parent']]['size'])))


def _group(client, listed, tag, names) -> dict:
    """Snapshots of all of them at one moment: their ids by name."""
    made = {}
    tag = _free_tag(listed, names, tag)
    for start in range(0, len(names), limits.SNAPSHOT_GROUP_MAX):
        group = names[start:start + limits.SNAPSHOT_GROUP_MAX]
        done = client.vdis.snapshot_group(group, tag)
        made.update((name, one['snapshot'])
                    for name, one in zip(group, done['vdis']))
    return made


def _free_tag(listed, names, tag) -> str:
    taken = {vdi['tag'] for vdi in listed if vdi['name'] in names}
    wanted = found = TAG_PREFIX + tag
    number = 1
    while found in taken:
        number += 1
        found = '%s.%d' % (wanted, number)
    return found


def _ordered(snapshots) -> list:
    """Each behind the one that it followed, small ones first: so whatever
    follows nothing can be written over another of its VDI."""
    waiting = sorted(snapshots, key=lambda one: (one.vdi['size'],
                                                 one.vdi['snapped']))
    names = {one.vdi['vdi_id'] for one in waiting}
    ordered, placed = [], set()
    while waiting:
        ready = [one for one in waiting if one.vdi['parent'] in placed
                 or one.vdi['parent'] not in names]
        assert ready, 'snapshots that follow each other in a ring'
        ordered += ready
        placed |= {one.vdi['vdi_id'] for one in ready}
        waiting = [one for one in waiting
                   if one.vdi['vdi_id'] not in placed]
    return ordered


def _described(snapshot, parent, digest) -> documents.Vdi:
    vdi = snapshot.vdi
    return documents.Vdi(
        vdi['name'], vdi['tag'], vdi['snap_id'], vdi['vdi_id'],
        snapshot.identity, parent.identity if parent else '', vdi['size'],
        vdi['block_size_shift'], vdi['copies'], vdi['copy_policy'],
        int(vdi['created']), int(vdi['snapped']), digest)


def listed(depot, damaged=None) -> list:
    """The manifests of all cluster snapshots, the oldest first.

    :param damaged: gets (tag, what is wrong) of each that cannot be read
    :raises Damaged: one of them is, and nobody is to be told
    """
    found = []
    for tag in filter(None, map(documents.tag_of,
                                depot.names(documents.SNAPSHOTS))):
        try:
            found.append(manifest(depot, tag))
        except faults.BackupError as error:
            if damaged is None:
                raise
            damaged.append((tag, str(error)))
    return sorted(found, key=lambda one: (one.time, one.tag))


def manifest(depot, tag) -> documents.Manifest:
    """:raises NotThere, Damaged:"""
    try:
        data = depot.read(documents.manifest_path(tag))
    except faults.NotThere:
        raise faults.NotThere('there is no cluster snapshot %s'
                              % tag) from None
    found = documents.unpack_manifest(data)
    if found.tag != tag:
        raise faults.Damaged('the cluster snapshot %s is not where it was '
                             'written' % found.tag)
    return found
