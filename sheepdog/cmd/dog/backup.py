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

"""dog vdi: backup, restore."""

from sheepdog.backup import changes
from sheepdog.backup import faults
from sheepdog.backup import landing
from sheepdog.backup import source
from sheepdog.backup import stream
from sheepdog.cmd.dog import cluster
from sheepdog.cmd.dog import command
from sheepdog.cmd import exits
from sheepdog.cmd.options import Option
from sheepdog.cmd import progress
from sheepdog.cmd import signals


def backup(session):
    name, client = session.arguments[0], session.client
    if not session.values.get('snapshot'):
        raise exits.UsageError('of which snapshot? (-s; dog vdi snapshot '
                               'makes one)')
    if session.streams.stdout.isatty():
        raise exits.UsageError('a backup is no text: write it to a file')
    new = source.find(client, name, **session.snapshot())
    old = None
    if session.values.get('from'):
        old = source.find(client, name, **command.snapshot_of(
            session.values['from']))
        if old.vdi['size'] > new.vdi['size']:
            raise exits.Stop('VDI %s was made smaller in between: take a '
                             'whole backup' % name)
    shown = progress.Progress(session.streams.stderr)
    output = session.streams.stdout.buffer
    try:
        with signals.ending_in_order():
            for piece in stream.pack(source.head(new, old), changes.joined(
                    source.differing(client, new, old, shown))):
                output.write(piece)
            output.flush()
    finally:
        shown.end()


def restore(session):
    name, client = session.arguments[0], session.client
    if session.streams.stdin.isatty():
        raise exits.UsageError('a backup is no text: read it from a file')
    reader = stream.Reader(session.streams.stdin.buffer)
    head = reader.head
    goal = landing.Goal(name, head.tag, head.identity, head.size,
                        head.block_size_shift)
    shown = progress.Progress(session.streams.stderr, head.size)
    try:
        with signals.ending_in_order():
            done = landing.restore(
                client, goal, head.base, reader.pieces(), shown,
                _chosen(session, name), may_undo=session.is_forced)
    except faults.Damaged as error:
        raise exits.Stop('%s; nothing of it was restored' % error) from None
    finally:
        shown.end()
    if done['undone']:
        session.warn('a restore that was interrupted before was undone first')
    session.show(dict(done, snapshot=head.tag))


def _chosen(session, name):
    """Whoever names the base has said what may be lost."""
    if not session.values.get('snapshot'):
        return None
    wanted = session.snapshot()

    def check(under, differs):
        vdi = under.vdi
        if (vdi['snap_id'] != wanted['snap_id'] if wanted['snap_id']
                else vdi['tag'] != wanted['tag']):
            raise faults.WrongBase(
                'this is a difference to the snapshot %s of VDI %s, not to '
                'that one' % (vdi['tag'] or vdi['snap_id'], name))
        # Standard input is the backup: nobody can be asked there.
        if differs and not session.is_forced:
            raise exits.Stop(
                'What was written to %s since that snapshot would be lost. '
                'Nothing was done: -f does it' % name)

    return check


COMMANDS = (
    command.Command(
        ('vdi', 'backup'), backup,
        'write a snapshot, or what differs between two, to standard output',
        'NAME', (1, 1),
        (Option('F', 'from', 'only what differs from the snapshot with that '
                'tag or id', 'SNAPSHOT'),
         Option('s', 'snapshot', 'the snapshot with that tag or id',
                'SNAPSHOT'))),
    command.Command(
        ('vdi', 'restore'), restore,
        'make of a backup on standard input what it was made of', 'NAME',
        (1, 1),
        (Option('s', 'snapshot', 'put this content back first, which the '
                'backup is a difference to', 'SNAPSHOT'), cluster.FORCE)),
)
