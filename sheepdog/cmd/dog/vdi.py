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

"""dog vdi: list, create, resize, alter-copy, delete, read, write, lock."""

from sheepdog.client import volume as volume_module
from sheepdog.cmd.dog import cluster
from sheepdog.cmd.dog import command
from sheepdog.cmd.dog import preallocation
from sheepdog.cmd.dog import tables
from sheepdog.cmd.dog import unbuilt
from sheepdog.cmd import exits
from sheepdog.cmd.options import Option
from sheepdog.cmd import progress
from sheepdog.model import errors
from sheepdog.placement import redundancy

TIMES_LEFT_SAID = 2
"""So few are worth a word."""


def list_vdis(session):
    name = session.argument(0, '')
    vdis = session.client.vdis.list(name)
    if name and not vdis:
        raise errors.NoVdi("there is no VDI '%s'" % name)
    session.show(vdis, tables.vdi_list(vdis, session.is_raw))


def create(session):
    values = session.values
    if values.get('hyper'):
        unbuilt.refuse('hypervolumes (-y)')
    name, size = session.arguments[0], positive_size(session)
    copies = policy = 0
    if 'copies' in values:
        copies, policy = cluster.redundancy_option(values, '')
    made = session.client.vdis.create(
        name, size, copies=copies, copy_policy=policy,
        block_size_shift=cluster.shift_option(values, 0))
    if values.get('prealloc'):
        preallocation.fill_zeroes(session, name)
    session.show(made)


def resize(session):
    name, size = session.arguments[0], positive_size(session)
    vdis = session.client.vdis
    try:
        vdis.resize(name, size, session.is_forced)
    except errors.InvalidParameters as refusal:
        if session.is_forced or not session.streams.stdin.isatty() or not (
                _is_larger(vdis.list(name), size)):
            raise
        session.confirm('%s.' % refusal)
        vdis.resize(name, size, True)
    session.show({})


def _is_larger(listed, size):
    return any(vdi['size'] > size for vdi in listed if not vdi['snapshot'])


def alter_copy(session):
    name, policy = session.arguments[0], cluster.wanted_redundancy(session)
    listed = session.client.vdis.list(name)
    before = [cluster.policy_of(vdi) for vdi in listed
              if not vdi['snapshot']]
    cluster.warn_of_fewer(session, 'VDI %s' % name, policy,
                          before[0] if before else redundancy.Policy(1))
    done = session.client.vdis.alter_copies(name, *policy,
                                            force=session.is_forced)
    before = redundancy.text_of(done['before'], done['policy_before'])
    if done['copy_policy'] == done['policy_before']:
        how = 'they are made and dropped in the background (dog node ' \
            'recovery)'
    else:
        how = 'its objects are copied in the background (dog vdi list)'
        how += _kept(listed) + _times_left(done)
    session.show(done, ['VDI %s: %s instead of %s; %s' % (
        name, redundancy.parts_text(*policy), before, how)])


def _kept(listed):
    count = sum(vdi['snapshot'] for vdi in listed)
    return ('; its snapshot%s what %s' % (
        (' keeps', 'it has') if count == 1 else ('s keep', 'they have'))
        if count else '')


def _times_left(done):
    """…where it matters soon."""
    left = done.get('times_left', TIMES_LEFT_SAID + 1)
    if left > TIMES_LEFT_SAID:
        return ''
    return '; it can be altered so %s more' % (
        'not once' if not left else 'once' if left == 1
        else '%d times' % left)


def delete(session):
    session.client.vdis.delete(session.arguments[0], **session.snapshot())
    session.show({})


def positive_size(session) -> int:
    size = session.size_argument(1)
    if not size:
        raise exits.UsageError('a VDI of size 0 is of no use')
    return size


def read(session):
    with session.client.open(session.arguments[0], read_only=True,
                             **session.snapshot()) as volume:
        offset, length = _range(session, volume)
        shown = progress.Progress(session.streams.stderr, length)
        output = session.streams.stdout.buffer
        done = 0
        try:
            for piece in volume.read_stream(offset, length):
                output.write(piece)
                done += len(piece)
                shown.update(done)
            output.flush()
        finally:
            shown.end()


def write(session):
    with session.client.open(session.arguments[0]) as volume:
        offset, length = _range(session, volume)
        must_be_all = session.argument(2) is not None
        shown = progress.Progress(session.streams.stderr,
                                  length if must_be_all else 0)
        source = session.streams.stdin.buffer
        done = 0
        try:
            for done in volume.write_stream(
                    offset, _pieces(source, length),
                    fua=not session.values.get('writeback', False)):
                shown.update(done)
            volume.flush()
        finally:
            shown.end()
        if must_be_all and done < length:
            raise exits.Stop('standard input ended after %d of %d bytes'
                             % (done, length))
        if not must_be_all and done == length and source.read(1):
            raise exits.Stop(
                '%d bytes were written, and there the VDI ends; standard '
                'input has more' % done, exits.FULL)
    session.show({'bytes': done})


def _range(session, volume):
    """OFFSET and LEN, of which the VDI has that much."""
    offset = session.size_argument(1, 0)
    length = session.size_argument(2, max(volume.size - offset, 0))
    if offset + length > volume.size or offset > volume.size:
        raise exits.Stop('%d bytes at %d are beyond the end of %s, which has '
                         '%d' % (length, offset, volume.name, volume.size))
    return offset, length


def _pieces(source, length):
    """Up to ``length`` bytes of a file, piece by piece."""
    while length:
        piece = source.read(min(volume_module.REQUEST_BYTES, length))
        if not piece:
            return
        length -= len(piece)
        yield piece


def lock_list(session):
    locks = session.client.vdis.locks()
    session.show(locks, tables.lock_list(locks, session.is_raw))


def lock_unlock(session):
    name = session.arguments[0]
    warning = ('Whoever has %s open cannot write it any more, and whatever '
               'was not flushed is lost.' % name)
    if session.streams.stdin.isatty():
        session.confirm(warning)
    elif not session.is_forced:
        session.warn(warning)
    session.client.vdis.unlock(name)
    session.show({})


SNAPSHOT = Option('s', 'snapshot', 'the snapshot with that tag or id',
                  'SNAPSHOT')
RANGE = ('NAME [OFFSET [LEN]]', (1, 3))

COMMANDS = (
    command.Command(('vdi', 'list'), list_vdis, 'list the VDIs', '[NAME]',
                    (0, 1)),
    command.Command(
        ('vdi', 'create'), create, 'create a VDI', 'NAME SIZE', (2, 2),
        (Option('P', 'prealloc', 'allocate all of it now'),
         Option('y', 'hyper', 'a hypervolume (not built yet)'),
         cluster.COPIES, cluster.SHIFT)),
    command.Command(
        ('vdi', 'resize'), resize, 'make a VDI larger, or smaller',
        'NAME SIZE', (2, 2), (Option(
            'f', 'force', 'make it smaller, and lose what is beyond'),)),
    command.Command(('vdi', 'alter-copy'), alter_copy,
                    'change how many copies of a VDI there are', 'NAME',
                    (1, 1), (cluster.COPIES, cluster.FORCE)),
    command.Command(('vdi', 'delete'), delete, 'delete a VDI', 'NAME',
                    (1, 1), (SNAPSHOT,)),
    command.Command(('vdi', 'read'), read, 'write a VDI to standard output',
                    *RANGE, (SNAPSHOT,)),
    command.Command(
        ('vdi', 'write'), write, 'fill a VDI from standard input', *RANGE,
        (Option('w', 'writeback', 'durable at the end only: faster'),)),
    command.Command(('vdi', 'lock', 'list'), lock_list,
                    'list the VDIs that are open, and where'),
    command.Command(('vdi', 'lock', 'unlock'), lock_unlock,
                    'take the lock of a VDI from whoever has it', 'NAME',
                    (1, 1), (cluster.FORCE,)),
)
