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
    names, made = _snapshots(client, tag, set(names))
    listed = client.vdis.list()
    snapshots = _ordered(
        source.Snapshot(vdi, records.identity(client, vdi)) for vdi in listed
        if vdi['snapshot'] and vdi['name'] in names)
    by_id = {one.vdi['vdi_id']: one for one in snapshots}
    saved, vdis, old = {}, [], 0
    with images.Store(depot) as store:
        for snapshot in snapshots:
            image, digest = store.find(snapshot.identity)
            parent = by_id.get(snapshot.vdi['parent'])
            if image is None:
                image, digest = store.save(
                    client, snapshot, parent,
                    saved[parent.identity] if parent else None, progress)
            else:
                old += 1
            saved[snapshot.identity] = image
            vdis.append(_described(snapshot, parent, digest))
        heads = {}
        for vdi in listed:
            head = by_id.get(made.get(vdi['vdi_id'], vdi['parent']))
            if not vdi['snapshot'] and vdi['name'] in names:
                if head is None:
                    raise faults.BackupError(
                        'VDI %s was made anew in this moment: save once more'
                        % vdi['name'])
                heads[vdi['name']] = head.identity
        depot.create(path, documents.pack_manifest(documents.Manifest(
            tag, int(time.time()), tuple(vdis), heads)))
        return {'tag': tag, 'snapshots': len(vdis),
                'saved_before': old, 'new_chunks': store.new_chunks,
                'new_bytes': store.new_bytes}


def _snapshots(client, tag, names) -> tuple:
    """
    :returns: the names of all that are meant, and of each VDI that has
        changed {the id that it has now: that of its snapshot}
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
    made = _group(client, listed, tag, changed)
    if set(_changed(client, client.vdis.list())) & (
            set(working) - set(changed)):
        # Written since it was looked at: before the others' moment, perhaps.
        made = _group(client, client.vdis.list(), tag, working)
    return names, made


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
    """Snapshots of all of them at one moment."""
    made = {}
    tag = _free_tag(listed, names, tag)
    for start in range(0, len(names), limits.SNAPSHOT_GROUP_MAX):
        done = client.vdis.snapshot_group(
            names[start:start + limits.SNAPSHOT_GROUP_MAX], tag)
        made.update((one['vdi_id'], one['snapshot'])
                    for one in done['vdis'])
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


def listed(depot) -> list:
    """The manifests of all cluster snapshots, the oldest first.

    :raises Damaged: one of them is
    """
    tags = filter(None, map(documents.tag_of,
                            depot.names(documents.SNAPSHOTS)))
    return sorted((manifest(depot, tag) for tag in tags),
                  key=lambda one: (one.time, one.tag))


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
