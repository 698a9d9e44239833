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

"""dog upgrade: stores of the C original become stores of this version.

On each host ``scan``, in one place ``plan`` with all that was scanned, then
on each host ``adopt`` by that plan. The original's directories are read
only.
"""

import fcntl
import json
import logging
import os
import tempfile

from sheepdog.cmd.dog import command
from sheepdog.cmd import exits
from sheepdog.cmd.options import Option
from sheepdog.cmd import progress
from sheepdog.legacy import adoption
from sheepdog.legacy import contents
from sheepdog.legacy import formats
from sheepdog.legacy import plan as plan_module
from sheepdog.legacy import planner
from sheepdog.model import sizes
from sheepdog.store import settings as store_settings

JOURNAL_BYTES = 16 << 20
"""While objects are taken over; a sheep makes its own when it starts."""


def scan(session):
    meta, *disks = _places(session.argument(0))
    target = session.argument(1)
    _check_stopped(meta)

    async def main(world):
        return await contents.Directory(world.disk, meta,
                                        tuple(disks)).scan(
            session.values.get('node', ''))

    found = _run(main)
    _write(target, found.to_dict())
    working, snapshots = _kinds(found)
    session.show({
        'meta': meta, 'created': found.config.created,
        'epoch': found.epochs[-1].number, 'store': found.config.store,
        'objects': sum(count for _, count in found.runs),
        'inodes': len(found.inodes), 'used': found.used,
        'fingerprint': found.fingerprint, 'file': target},
        ['%s: %d objects, %s, inodes of %d VDIs and %d snapshots; epoch %d '
         '-> %s' % (meta, sum(count for _, count in found.runs),
                    sizes.show_size(found.used), working, snapshots,
                    found.epochs[-1].number, target)])


def _kinds(found) -> tuple:
    heads = [formats.read_head(vdi_id << 32 | 1 << 63, bytes.fromhex(
        one.head)) for vdi_id, one in found.inodes.items()]
    snapshots = sum(head.is_snapshot for head in heads)
    return len(heads) - snapshots, snapshots


def plan(session):
    target, *names = session.arguments
    scans = []
    for name in names:
        try:
            scans.append(contents.load(_read(name)))
        except formats.Refused as error:
            raise exits.Stop('%s: %s' % (name, error),
                             error.exit_code) from None
    try:
        made = planner.Planner(scans, session.values.get('leave', ())).make()
    except formats.Refused as error:
        raise exits.Stop(str(error), error.exit_code) from None
    _write(target, made.to_dict())
    session.show(dict(_summary(made), file=target), _told(made, target))


def _summary(made) -> dict:
    return {
        'created': made.settings.created, 'epoch': made.view.epoch,
        'copies': made.settings.copies,
        'nodes': [{'address': one.address, 'node': one.node,
                   'zone': made.view.node(one.node).zone,
                   'vnodes': made.view.node(one.node).vnodes,
                   'meta': one.meta, 'objects': one.count}
                  for one in made.stores],
        'vdis': [{'name': one.name, 'tag': one.tag, 'snap_id': one.snap_id,
                  'vdi_id': one.vdi_id, 'copies': one.copies,
                  'snapshot': one.snapshot} for one in made.vdis],
        'notes': list(made.notes)}


def _told(made, target) -> list:
    lines = ['%d nodes, epoch %d, %d VDIs and snapshots -> %s' % (
        len(made.stores), made.view.epoch, len(made.vdis), target)]
    for one in made.stores:
        member = made.view.node(one.node)
        lines.append('  %s: %s, %d objects; start it with -p %d -z %d' % (
            one.address, one.meta, one.count, member.port, member.zone))
    lines += ['  VDI %06x: %s%s, %d copies' % (
        one.vdi_id, one.name, ', snapshot %d %s' % (one.snap_id, one.tag)
        if one.snapshot else '', one.copies) for one in made.vdis]
    return lines + ['note: ' + note for note in made.notes]


def adopt(session):
    try:
        made = plan_module.load(_read(session.argument(0)))
    except formats.Refused as error:
        raise exits.Stop('%s: %s' % (session.argument(0), error),
                         error.exit_code) from None
    old, new = (_places(session.argument(1)), _places(session.argument(2)))
    _check_stopped(old[0])
    settings = store_settings.StoreSettings(
        meta=new[0], disks=tuple(new[1:]), journal_bytes=JOURNAL_BYTES)
    shown = progress.Progress(session.streams.stderr, unit='objects')
    is_trial = session.values.get('dry_run', False)

    async def main(world):
        work = adoption.Adoption(
            world, contents.Directory(world.disk, old[0], tuple(old[1:])),
            tuple(old[1:]), settings, made, shown.update)
        return await (work.look() if is_trial else work.run())

    try:
        outcome = _run(main)
    finally:
        shown.end()
    words = 'would be' if is_trial else 'are'
    session.show(
        dict(outcome._asdict(), old=old, new=new, dry_run=is_trial),
        ['%s: %d objects %s in %s (%d of them written now)' % (
            outcome.address, outcome.count, words, ','.join(new),
            outcome.moved)])


def _places(text) -> list:
    """META[,DISK...], absolute."""
    parts = text.split(',')
    if not all(parts):
        raise exits.UsageError("'%s' is not META[,DISK...]" % text)
    return [os.path.abspath(part) for part in parts]


def _check_stopped(meta):
    """The lock of a sheep that runs. It is not made where there is none."""
    try:
        number = os.open(meta + '/lock', os.O_RDONLY)
    except OSError:
        return
    try:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.lockf(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise exits.Stop('a sheep runs on %s: shut its cluster down first'
                         % meta, exits.SYSTEM) from None
    finally:
        os.close(number)


def _run(main):
    # Not above: what it brings takes longer than most commands.
    from sheepdog.world import real
    logger = logging.getLogger('sheepdog')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return real.run(main)
    except formats.Refused as error:
        raise exits.Stop(str(error), error.exit_code) from None
    finally:
        logger.setLevel(level)


def _read(path) -> bytes:
    try:
        with open(path, 'rb') as file:
            return file.read()
    except OSError as error:
        raise exits.Stop('%s: %s' % (path, error.strerror or error),
                         exits.MISSING if isinstance(
                             error, FileNotFoundError) else exits.SYSTEM
                         ) from None


def _write(path, fields):
    """In one piece, or not at all."""
    directory = os.path.dirname(os.path.abspath(path))
    try:
        with tempfile.NamedTemporaryFile('w', dir=directory,
                                         delete=False) as file:
            json.dump(fields, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(file.name, path)
    except OSError as error:
        raise exits.Stop('%s cannot be written: %s' % (
            path, error.strerror or error), exits.SYSTEM) from None


COMMANDS = (
    command.Command(
        ('upgrade', 'scan'), scan,
        'look at a store of the C original, and write to FILE what it has',
        'META[,DISK...] FILE', (2, 2),
        (Option('', 'node', 'whose store it is, where that is not clear from '
                'what it has', 'HOST:PORT'),)),
    command.Command(
        ('upgrade', 'plan'), plan,
        'from the scans of all nodes, write to PLAN what becomes of them',
        'PLAN SCAN...', (2, 1 << 16),
        (Option('', 'leave', 'leave this VDI behind; may be repeated', 'VDI',
                is_many=True),)),
    command.Command(
        ('upgrade', 'adopt'), adopt,
        'make a new store from an old one, which stays as it is; may be '
        'repeated, and goes on where it was', 'PLAN META[,DISK...] '
        'NEW-META[,NEW-DISK...]', (3, 3),
        (Option('', 'dry-run', 'only say what would be done'),)),
)
