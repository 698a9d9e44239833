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

"""Opening a store: from a directory to objects that can be used."""

import dataclasses
import itertools
import logging
from typing import Any, Callable, NamedTuple, Optional

from sheepdog.model import ids
from sheepdog.store import adopting
from sheepdog.store import ballast
from sheepdog.store import history
from sheepdog.store import journal as store_journal
from sheepdog.store import layout as store_layout
from sheepdog.store import objects as store_objects
from sheepdog.store import quarantine as store_quarantine
from sheepdog.store import records
from sheepdog.store import replay
from sheepdog.store import scan
from sheepdog.store import settings as store_settings
from sheepdog.store import state as store_state

LOG = logging.getLogger(__name__)

_REFUSED = store_settings.StoreRefused
NODE_ID_BYTES = 8


@dataclasses.dataclass
class Started:
    """What a start found and made. ``journal`` None: it is not used."""

    layout: store_layout.Layout
    identity: store_layout.Identity
    objects: store_objects.Objects
    journal: Optional[store_journal.Journal]
    take_number: Callable[[], int]
    counters: store_state.Counters
    uncertain: dict
    bad: dict
    quarantine: store_quarantine.Quarantine
    histories: dict


class Owner(NamedTuple):
    """The sheep that has this disk, as one of several: ``node`` and ``run``
    as ``diskset.DiskSet`` has them; ``cluster``: that of its other disks.
    """

    node: str
    run: int
    cluster: int


async def start(world, settings: store_settings.StoreSettings,
                owner: Optional[Owner] = None,
                counters: Optional[store_state.Counters] = None) -> Started:
    """:raises StoreRefused: it cannot be used as things stand"""
    layout = await store_layout.open_layout(world.disk, settings)
    try:
        return await _start(world, settings, layout, owner,
                            counters or store_state.Counters())
    except OSError as error:
        if store_state.is_full(error):
            raise _REFUSED('%s is full (%s): give back some space'
                           % (settings.meta, error), store_layout.EXIT_FULL)
        raise _REFUSED('%s cannot be used: %s' % (settings.meta, error))


async def _start(world, settings, layout, owner, counters) -> Started:
    disk = world.disk
    identity = layout.identity or store_layout.Identity(
        world.random.token(NODE_ID_BYTES).hex())
    if owner is not None:
        identity = dataclasses.replace(
            identity, owner=owner.node, run=owner.run,
            cluster=identity.cluster or owner.cluster)
    old = _old_segments(disk, layout, identity)
    await store_layout.make_directories(disk, layout)
    quarantine = store_quarantine.Quarantine(world, layout.quarantine_dir)
    if layout.identity is None:
        # So that the next start, if this one is cut short, knows what it
        # finds.
        await disk.replace_file(layout.identity_path, identity.pack())
    power_lost = identity.power_lost or (
        not identity.clean and identity.boot_id != disk.boot_id)
    journal_damaged = identity.journal_damaged
    journal_torn = identity.journal_torn
    sequence, generation = identity.sequence, identity.generation
    outcome = replay.Outcome()
    kept_open = await _kept_open(disk, layout)
    if kept_open is None:
        LOG.error('%s is damaged: nothing follows from the strips here until '
                  'they have been recovered', layout.open_path)
        journal_damaged = True
        kept_open = {}
    found = None
    if not identity.clean and old:
        # Records that only the page cache has count too: durable first,
        # here as everywhere.
        for file in old:
            await file.sync()
        found = await scan.scan(old, [identity.segment_bytes] * 2)
        if found.is_damaged:
            power_lost = journal_damaged = True
        if found.is_torn and not identity.nosync:
            journal_torn = True
        if (journal_damaged, journal_torn) != (identity.journal_damaged,
                                               identity.journal_torn):
            # A replay leaves no trace of it.
            await disk.replace_file(
                layout.identity_path, dataclasses.replace(
                    layout.identity, power_lost=power_lost,
                    journal_damaged=journal_damaged,
                    journal_torn=journal_torn).pack())
    elif not identity.clean:
        await _sync_all(disk, layout.objects_dir)
    if found is None and kept_open:
        found = scan.Found([], False, False, sequence, generation, [])
    if found is not None:
        names = disk.list(layout.objects_dir)
        outcome = await replay.Replay(
            world, layout.objects_dir, names, old, found,
            not identity.clean and identity.boot_id != disk.boot_id,
            identity.sync_failed, counters, quarantine,
            kept_open).run()
        sequence = max(sequence, found.sequence)
        generation = max(generation, found.generation)
        if outcome.histories or kept_open:
            await disk.replace_file(
                layout.open_path, history.pack_open(outcome.histories))
        for number in found.live:
            await _free(old[number], generation, sequence)
    is_other_boot = identity.boot_id != disk.boot_id
    if not identity.clean and (not old or identity.nosync and is_other_boot):
        await _forget_changes(disk, layout.objects_dir)
    names = disk.list(layout.objects_dir)
    await _drop_leftovers(disk, layout.objects_dir, names)
    await _set_strangers_aside(disk, layout.objects_dir, names, quarantine)
    sequence += store_journal.SEQUENCE_LEAP
    generation += 1
    objects = store_objects.Objects(disk, layout.objects_dir,
                                    settings.open_objects_max, counters)
    for name in names:
        oid = store_objects.oid_of(name)
        if oid is not None:
            objects.versions[oid] = store_objects.UNKNOWN_VERSION
    identity = dataclasses.replace(
        identity, boot_id=disk.boot_id, clean=False, power_lost=power_lost,
        journal_damaged=journal_damaged, journal_torn=journal_torn,
        sync_failed=False, nosync=settings.nosync,
        sequence=sequence, generation=generation,
        journal_dir='' if settings.journal_skip else layout.journal_dir,
        segment_bytes=0 if settings.journal_skip
        else settings.segment_bytes)
    files = await _new_segments(disk, layout, identity, old)
    if settings.reserve_bytes:
        await ballast.lay(disk, layout.meta)
    await disk.sync_directory(layout.meta)
    await disk.replace_file(layout.identity_path, identity.pack())
    journal = None
    take_number = itertools.count(sequence + 1).__next__
    if files:
        journal = store_journal.Journal(
            files, settings.segment_bytes, generation, sequence,
            settings.nosync, counters)
        take_number = journal.take_number
    return Started(layout, identity, objects, journal, take_number, counters,
                   outcome.uncertain, outcome.bad, quarantine,
                   outcome.histories)


async def _kept_open(disk, layout) -> Optional[dict]:
    """Open updates of strips that the last run left in a file; None: it is
    damaged."""
    try:
        return history.unpack_open(await disk.read_file(layout.open_path))
    except FileNotFoundError:
        return {}


def _old_segments(disk, layout, identity) -> list:
    """The files of the journal of the last run; [] where it had none."""
    if not identity.journal_dir:
        return []
    paths = store_layout.segment_paths(identity.journal_dir, identity.node_id)
    try:
        return [disk.open(path) for path in paths]
    except FileNotFoundError as error:
        if identity.clean:
            return []
        raise _REFUSED(
            'the journal of %s is missing (%s), and the last run did not end '
            'orderly: bring %s back, or empty the store and let it recover '
            'from the other sheep'
            % (layout.meta, error.filename, identity.journal_dir))


async def _new_segments(disk, layout, identity, old: list) -> list:
    """The files of the journal of this run, both void."""
    before = layout.identity or identity
    if old and before.journal_dir == identity.journal_dir \
            and before.segment_bytes == identity.segment_bytes:
        return old
    for file in old:
        file.close()
    if not identity.journal_dir:
        return []
    files = []
    for path in store_layout.segment_paths(identity.journal_dir,
                                           identity.node_id):
        file: Any = disk.open(path, create=True)
        files.append(file)
        file.truncate(0)
        file.allocate(identity.segment_bytes)
        await _free(file, identity.generation, identity.sequence)
    await disk.sync_directory(identity.journal_dir)
    LOG.info('a journal of 2 × %d MiB in %s', identity.segment_bytes >> 20,
             identity.journal_dir)
    return files


async def _sync_all(disk, directory: str) -> None:
    """Where no journal tells what was written: whatever only the page cache
    has gets to disk, or a sync of this run could not vouch for it."""
    names = disk.list(directory)
    LOG.info('%d objects to sync after a run without a journal', len(names))
    for name in names:
        file = disk.open('%s/%s' % (directory, name))
        try:
            await file.sync()
        finally:
            file.close()
    await disk.sync_directory(directory)


async def _forget_changes(disk, directory: str) -> None:
    """What changed in strips is known no more: no journal, or none on disk,
    tells what was written."""
    for name in disk.list(directory):
        key = store_objects.oid_of(name)
        if key is None or ids.strip_of(key) < 0:
            continue
        file = disk.open('%s/%s' % (directory, name))
        try:
            known = history.unpack_attribute(
                file.get_attribute(history.ATTRIBUTE))
            if known is not None:
                known.forget_changes()
                store_objects.save_history(file, known)
                await file.sync()
        finally:
            file.close()


async def _free(file, generation: int, sequence: int) -> None:
    file.pwrite(records.pack_header(records.Header(
        records.FREE, generation, sequence, sequence)), 0)
    await file.sync()


async def _drop_leftovers(disk, directory: str, names: list) -> None:
    """Contents for adoption that the journal knows nothing of."""
    for name in names:
        if adopting.oid_of_new(name) is not None:
            disk.unlink('%s/%s' % (directory, name))


async def _set_strangers_aside(disk, directory: str, names: list,
                               quarantine) -> None:
    """Whatever has the name of no object."""
    for name in names:
        if (store_objects.oid_of(name) is not None
                or adopting.oid_of_new(name) is not None):
            continue
        path = '%s/%s' % (directory, name)
        try:
            await quarantine.keep(path, 'this is the name of no object')
            disk.unlink(path)
        except OSError as error:
            # (A directory, say.) It harms nobody where it is.
            LOG.warning('%s is no object, and stays there: %s', path, error)
