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

"""dog cluster snapshot: VDIs and their snapshots, kept elsewhere."""

import time

from sheepdog.backup import faults
from sheepdog.cmd.dog import command
from sheepdog.cmd import progress
from sheepdog.cmd import signals
from sheepdog.model import sizes
from sheepdog.placement import redundancy


def save(session):
    # (It takes longer to import than most commands run.)
    from sheepdog.backup import depot
    from sheepdog.backup import saving
    tag, place, *names = session.arguments
    done = _watched(session, lambda shown: saving.save(
        session.client, depot.open_depot(place, create=True), tag, names,
        shown))
    session.show(done, [
        '%d snapshots, %d of them saved before; %d new chunks, %s' % (
            done['snapshots'], done['saved_before'], done['new_chunks'],
            sizes.show_size(done['new_bytes']))] if session.is_verbose
        else ())


def load(session):
    from sheepdog.backup import depot
    from sheepdog.backup import loading
    from sheepdog.backup import saving
    tag, place, *names = session.arguments
    manifest = saving.manifest(depot.open_depot(place), tag)

    def run(shown):
        try:
            return loading.load(session.client, depot.open_depot(place),
                                manifest, names, shown)
        except faults.Damaged as error:
            raise faults.Damaged(
                '%s; what was loaded so far stays, and the same command goes '
                'on from there' % error) from None

    done = _watched(session, run)
    if done['before']:
        session.warn('%d of %d snapshots were there from a load that was '
                     'interrupted' % (done['before'], done['snapshots']))
    session.show(done)


def list_snapshots(session):
    from sheepdog.backup import depot
    from sheepdog.backup import saving
    damaged = []
    found = saving.listed(depot.open_depot(session.arguments[0]), damaged)
    for tag, error in damaged:
        session.warn(_printed('%s: %s' % (tag, error)))
    session.show([{'tag': one.tag, 'time': one.time, 'vdis': len(one.heads),
                   'snapshots': len(one.vdis)} for one in found],
                 _lines(found, session.is_raw))


def _lines(found, raw):
    if not raw:
        yield 'Index\t\tTag\t\tSnapshot Time'
    for index, one in enumerate(found, 1):
        if raw:
            yield '%d %s %d' % (index, _printed(one.tag), one.time)
        else:
            yield '%d\t\t%s\t\t%s' % (index, _printed(one.tag),
                                      _shown(one.time))


def show(session):
    from sheepdog.backup import depot
    from sheepdog.backup import saving
    tag, place = session.arguments
    found = saving.manifest(depot.open_depot(place), tag)
    session.show(
        {'tag': found.tag, 'time': found.time, 'heads': found.heads,
         'vdis': [vdi._asdict() for vdi in found.vdis]},
        _table(found, session.is_raw))


def _table(found, raw):
    heads = {identity: name for name, identity in found.heads.items()}
    if not raw:
        yield ('  Name        Id    Size    Creation time   VDI id  Copies  '
               'Tag   Block Size Shift')
    for vdi in found.vdis:
        # What the VDI itself held.
        mark = '=' if heads.get(vdi.identity) == vdi.name else 's'
        copies = redundancy.text_of(vdi.copies, vdi.copy_policy)
        if raw:
            yield '%s %s %d %d %d %x %s %s %d' % (
                mark, _printed(vdi.name), vdi.snap_id, vdi.size, vdi.snapped,
                vdi.vdi_id, copies, _printed(vdi.tag), vdi.block_size_shift)
        else:
            yield '%s %-8s %5d %7s %s   %6x %6s %13s %3d' % (
                mark, _printed(vdi.name), vdi.snap_id,
                sizes.show_size(vdi.size), _shown(vdi.snapped), vdi.vdi_id,
                copies, _printed(vdi.tag),
                vdi.block_size_shift)


def _printed(text):
    """Without what a terminal would obey: others may write to the place."""
    return ''.join(one if one.isprintable() else '?' for one in text)


def _shown(seconds):
    return time.strftime('%Y-%m-%d %H:%M', time.localtime(seconds))


def _watched(session, run):
    shown = progress.Progress(session.streams.stderr)
    try:
        with signals.ending_in_order():
            return run(shown)
    finally:
        shown.end()


COMMANDS = (
    command.Command(
        ('cluster', 'snapshot', 'save'), save,
        'save VDIs and their snapshots to a directory or an object store',
        'TAG PATH [VDI...]', (2, 1 << 20)),
    command.Command(
        ('cluster', 'snapshot', 'list'), list_snapshots,
        'list what was saved there', 'PATH', (1, 1)),
    command.Command(
        ('cluster', 'snapshot', 'show'), show,
        'show which VDIs were saved', 'TAG PATH', (2, 2)),
    command.Command(
        ('cluster', 'snapshot', 'load'), load,
        'make the VDIs anew that were saved, and their snapshots',
        'TAG PATH [VDI...]', (2, 1 << 20)),
)
