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

"""Which directories a start is to use, looked at before anything changes.

Each disk carries its own id, whose it is, and how often that sheep had
started (``layout.Identity``); META/disks has the same of all of them. So a
disk is known wherever it is mounted, and what does not fit is refused:

- one that is missing (not mounted, perhaps);
- one of another sheep, or one that was given up as lost;
- two with one id: one of them is a copy;
- one that has missed starts: an old copy came back, or all but it did.
"""

import dataclasses
import logging
from typing import NamedTuple, Optional

from sheepdog.store import diskset
from sheepdog.store import layout
from sheepdog.store import settings as store_settings

LOG = logging.getLogger(__name__)

_REFUSED = store_settings.StoreRefused


class Found(NamedTuple):
    """``disks``: the record, with the paths of now, and without the disks
    that the operator has just given up; ``new``: paths to plug in;
    ``cluster``: the one that the objects are of (see ``Store.cluster``)."""

    disks: Optional[diskset.DiskSet]
    new: tuple
    cluster: int = 0


async def look(disk, settings: store_settings.StoreSettings) -> Found:
    """``disks`` None: META keeps the objects, as the only disk.

    :raises StoreRefused: something does not fit; nothing was changed
    """
    meta = settings.meta
    disks = await diskset.read(disk, meta)
    if disks is None:
        if not settings.disks:
            return Found(None, ())
        await _check_meta(disk, meta, settings.disks)
    named = _checked_names(meta, settings.disks)
    if disks is None:
        identities = await _identities(disk, named)
        for path in named:
            _check_new(disk, path, identities[path], '')
        return Found(None, tuple(named))
    for path in settings.lost_disks:
        entry = disks.at(path)
        if entry is None:
            LOG.info('%s is none of the disks of %s: nothing to give up',
                     path, meta)
        else:
            disks = disks.minus(entry.id, is_lost=True)
    named = _without_gone(disks, named)
    identities = await _identities(disk, named + [
        one.path for one in disks.disks])
    places = _places(disks, identities)
    disks = dataclasses.replace(disks, disks=tuple(
        dataclasses.replace(one, path=_place(meta, disks, one, places,
                                             identities))
        for one in disks.disks))
    if not disks.disks and not named:
        raise _REFUSED('%s has no disk left: name new ones (META,DISK)'
                       % meta)
    clusters = [identities[one.path].cluster for one in disks.disks]
    return Found(disks, tuple(_new(disk, disks, named, identities)),
                 min(filter(None, clusters), default=0))


async def _check_meta(disk, meta: str, named: tuple) -> None:
    if await layout.read_identity(disk, meta) is not None:
        raise _REFUSED(
            '%s keeps objects itself, in %s/obj: start it with META alone, '
            'plug the disks in (dog node md plug %s), then unplug %s, which '
            'moves its objects to them'
            % (meta, meta, ' '.join(named), meta))


def _checked_names(meta: str, paths: tuple) -> list:
    found: list = []
    for path in paths:
        if path in found:
            raise _REFUSED('the disk %s is named twice: name each once'
                           % path)
        if path == meta:
            raise _REFUSED('%s is META and cannot be named as a disk, too'
                           % path)
        found.append(path)
    return found


async def _identities(disk, paths: list) -> dict:
    """path → ``layout.Identity``, or None where there is none."""
    return {path: await identity_at(disk, path) for path in paths}


async def identity_at(disk, path: str) -> Optional[layout.Identity]:
    """:raises StoreRefused: it cannot be told"""
    try:
        disk.list(path)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise _REFUSED('%s is not a directory: name one for the disk'
                       % path) from None
    except OSError as error:
        raise _REFUSED('%s cannot be read (%s): check its owner, its mode '
                       'and its device' % (path, error.strerror or error)
                       ) from None
    return await layout.read_identity(disk, path)


def _places(disks: diskset.DiskSet, identities: dict) -> dict:
    """Disk id → where it is."""
    places: dict = {}
    for path, identity in identities.items():
        if identity is None or disks.entry(identity.node_id) is None:
            continue
        if identity.node_id in places:
            raise _REFUSED(
                '%s and %s are the same disk, or one is a copy of the other '
                '(id %s): name one of them, the one that was used last'
                % (places[identity.node_id], path, identity.node_id))
        places[identity.node_id] = path
    return places


def _place(meta: str, disks: diskset.DiskSet, entry: diskset.Entry,
           places: dict, identities: dict) -> str:
    path = places.get(entry.id)
    if path is None:
        other = identities.get(entry.path)
        raise _REFUSED(
            'the disk %s (id %s) is missing: %s. Bring it back; or, if it is '
            'gone for good, start once with --lost-disk %s: its objects are '
            'then taken from the other sheep'
            % (entry.path, entry.id,
               'what is there is another disk' if other is not None
               else 'there is no store in that directory; is it mounted?',
               entry.path))
    identity = identities[path]
    # (A disk that was META's only one has not counted yet.)
    if not disks.run <= identity.run <= disks.run + 1:
        raise _REFUSED(
            'the disk %s is of start %d of this sheep, %s of start %d: %s is '
            'an old copy. Bring back the right one%s'
            % (path, identity.run, meta, disks.run,
               path if identity.run < disks.run else meta,
               '; or give the disk up with --lost-disk %s' % path
               if identity.run < disks.run else ''))
    if path != entry.path:
        LOG.info('the disk of %s is at %s now', entry.path, path)
    return path


def _without_gone(disks: diskset.DiskSet, named: list) -> list:
    found = []
    for path in named:
        if disks.at(path) is None and disks.is_gone(path):
            LOG.warning('%s was unplugged, or given up: plug it in (dog node '
                        'md plug %s) to use it again', path, path)
        else:
            found.append(path)
    return found


def _new(disk, disks: diskset.DiskSet, named: list, identities: dict):
    for path in named:
        if disks.at(path) is None:
            check_new(disk, path, identities[path], disks)
            yield path


def check_new(disk, path: str, identity, disks: diskset.DiskSet) -> None:
    """:raises StoreRefused: it cannot be plugged in"""
    if identity is not None and disks.has_lost(identity.node_id):
        raise _REFUSED(
            '%s was given up as lost, and what is on it is old: empty it to '
            'use it as a new disk' % path)
    if identity is not None and disks.entry(identity.node_id) is not None:
        raise _REFUSED(
            '%s is the disk that is plugged in as %s, or a copy of it'
            % (path, disks.entry(identity.node_id).path))
    _check_new(disk, path, identity, disks.node)


def _check_new(disk, path: str, identity, node: str) -> None:
    if identity is None:
        return
    if identity.owner != node or not node:
        raise _REFUSED(
            '%s is %s: name an empty directory, or empty this one'
            % (path, 'a disk of another sheep (%s)' % identity.owner
               if identity.owner else 'the store of another sheep (%s)'
               % identity.node_id))
    # Of ours, but not on record: a start or an unplugging was cut short.
    objects = path + '/obj'
    if disk.exists(objects) and disk.list(objects):
        raise _REFUSED(
            '%s has objects that this sheep does not know of: empty it to '
            'use it as a new disk' % path)
