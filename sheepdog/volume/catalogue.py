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

"""Names and the volumes behind them: create, delete, resize, list.

The catalogue itself is replicated state (``cluster.state``). Changing it is
an exclusive operation: ``carry_out`` runs on the leader, writes the inode,
and returns the event that makes the change known to all. A leader that dies
in between leaves at most an inode that no name leads to, which the next
attempt overwrites.
"""

import asyncio
import logging

from sheepdog.cluster import api
from sheepdog.cluster import entries
from sheepdog.cluster import family
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.model import limits
from sheepdog.model import shapes
from sheepdog.model import sizes
from sheepdog.placement import redundancy
from sheepdog.volume import description
from sheepdog.volume import inode_map
from sheepdog.volume import pieces

LOG = logging.getLogger(__name__)

LIST_AT_ONCE = 16
ARGUMENTS = {
    'vdi-create': {'name': str, 'size': int, 'copies': int,
                   'copy_policy': int, 'block_size_shift': int},
    'vdi-delete': {'name': str, 'tag': str, 'snap_id': int},
    'vdi-resize': {'name': str, 'size': int}}
"""Of each exclusive operation."""

HEAD_SECONDS = 15.0
"""How long an inode may be out of reach before whoever wants to open the
VDI is told so. (Requests of volumes that are open wait for as long as it
takes.)"""

_WAITING = {
    api.Status.WAIT_FOR_FORMAT: (errors.WaitForFormat,
                                 'the cluster is not formatted'),
    api.Status.WAIT_FOR_JOIN: (errors.WaitForJoin,
                               'this sheep waits for others'),
    api.Status.STARTING: (errors.WaitForJoin, 'this sheep is starting'),
    api.Status.REFUSED: (errors.JoinFailed, 'this sheep may not join'),
    api.Status.SHUTDOWN: (errors.ShuttingDown, 'the cluster shuts down'),
}


def check_up(cluster):
    """:raises SheepdogError: the cluster does not serve, nor will it within
    moments; says what it waits for"""
    waiting = _WAITING.get(cluster.status)
    if waiting is not None:
        error, text = waiting
        raise error(cluster.reason or text)


class DamagedInode(errors.StorageError):
    """What is read back whole is no inode."""


class Catalogue:
    """Also ``cluster.api.Operations``."""

    def __init__(self, world, cluster, gateway):
        self.world = world
        self.cluster = cluster
        self.gateway = gateway

    # -- asked on any sheep ---------------------------------------------

    async def create(self, name, size, copies=0, copy_policy=0,
                     block_size_shift=0, operation_id=''):
        """Make a VDI of ``size`` bytes; returns it as ``list`` does.

        :raises VdiExists, InvalidParameters, NoSpace:
        """
        entry = await self.cluster.execute(
            'vdi-create', {'name': name, 'size': size, 'copies': copies,
                           'copy_policy': copy_policy,
                           'block_size_shift': block_size_shift},
            operation_id)
        # Not from our own state: we may have lost our place meanwhile.
        return await self._describe(entries.VdiEntry.from_dict(entry))

    async def delete(self, name, tag='', snap_id=0, operation_id=''):
        """Delete; space comes back in the background.

        :raises NoVdi: there is none
        :raises VdiLocked: a sheep has it open
        """
        await self.cluster.execute(
            'vdi-delete', {'name': name, 'tag': tag, 'snap_id': snap_id},
            operation_id)

    async def resize(self, name, size, operation_id=''):
        """Grow to ``size`` bytes, also while it is open.

        :raises NoVdi: there is none
        :raises InvalidParameters: it would become too large; or shrink, and
            lose what is told
        """
        try:
            await self.cluster.execute('vdi-resize',
                                       {'name': name, 'size': size},
                                       operation_id)
        except errors.InvalidParameters as error:
            raise errors.InvalidParameters('%s%s' % (
                error, await self._loss(name, size))) from None

    async def _loss(self, name, size):
        """What would be lost if a VDI ended there: as text, '' for nothing,
        or where it cannot be said now."""
        try:
            entry = self.find(name)
            head = await self.head(entry.vdi_id)
            if not isinstance(size, int) or not 0 < size < head.vdi_size:
                return ''
            async with asyncio.timeout(HEAD_SECONDS):
                owners = await inode_map.owners(
                    self.gateway, entry.vdi_id,
                    -(-head.vdi_size // head.object_bytes))
        except (errors.SheepdogError, TimeoutError):
            return ''
        # (Of the one in which it would end a part.)
        beyond = owners[size // head.object_bytes:].nonzero()[0]
        if not len(beyond):
            return '; nothing was ever written beyond that'
        last = size % head.object_bytes and not beyond[0]
        lost = head.object_bytes * len(beyond) - (
            size % head.object_bytes if last else 0)
        return ('; %d of its objects beyond that have data, %s at most%s' % (
            len(beyond), sizes.show_size(lost),
            ' (of one the end only)' if last else ''))

    async def alter_copies(self, name, copies, force=False,
                           operation_id='', copy_policy=0):
        """Another number of copies for a VDI and its snapshots, in the
        background; or from copies to strips, between codes, or back, for the
        VDI alone. ``force``: also where zones for so many are missing.
        Returns a dict: ``before``, ``policy_before``, ``copies``,
        ``copy_policy``, ``vdis`` (ids), perhaps ``times_left``.

        :raises NoVdi: there is none
        :raises InvalidParameters: out of range, or of the cluster's zones
        :raises VdiLocked: it is open shared, and would get another form
        """
        result = await self.cluster.execute(
            'alter-vdi', {'name': name, 'copies': copies,
                          'copy_policy': copy_policy, 'force': force},
            operation_id)
        for vdi_id in result['vdis']:
            self.world.spawn(self._note_copies(vdi_id), 'note copies')
        return result

    async def _note_copies(self, vdi_id):
        """In the inode, for clients to look at: what counts is the
        catalogue. So it may be late, or fail."""
        noted = None
        try:
            while True:
                entry = self.cluster.state.vdis.get(vdi_id)
                if entry is None or entry.deleted:
                    return
                policy = entry.newest_policy
                if policy == noted:
                    return
                for offset, value in zip(
                        (inode.COPIES_OFFSET, inode.POLICY_OFFSET), policy):
                    await self.gateway.write_wait(
                        ids.vdi_oid(vdi_id), offset, bytes([value]))
                noted = policy
        except errors.SheepdogError as exc:
            LOG.info('the copies of VDI %06x in its inode: %s', vdi_id, exc)

    def find(self, name, tag='', snap_id=0):
        """The catalogue's entry.

        :raises NoVdi, NoTag:
        :raises WaitForJoin, WaitForFormat: the cluster does not serve
        """
        check_up(self.cluster)
        entry = self.cluster.state.lookup(name, tag, snap_id)
        if entry is None:
            if tag or snap_id:
                raise errors.NoTag('there is no snapshot %s of VDI %s'
                                   % (tag or snap_id, name))
            raise errors.NoVdi('there is no VDI %s' % name)
        return entry

    def names(self):
        """Of all working VDIs, sorted."""
        return sorted(e.name for e in self.cluster.state.vdis.values()
                      if not (e.deleted or e.snapshot or e.pending))

    async def list(self, name=''):
        """Dictionaries, in order of VDI id (see ``description``).

        :raises NotServing: this sheep lost its place, and may not have
            heard of the latest
        """
        identity = self.cluster.incarnation
        vdis = [e for _, e in sorted(self.cluster.state.vdis.items())
                if not (e.deleted or e.pending)
                and (not name or e.name == name)]
        described = []
        for start in range(0, len(vdis), LIST_AT_ONCE):
            described += await pieces.gather(
                [self._describe(e)
                 for e in vdis[start:start + LIST_AT_ONCE]])
        if self.cluster.incarnation != identity or not (
                self.cluster.serving()):
            raise errors.NotServing('this sheep lost its place in the '
                                    'cluster: try again')
        return [d for d in described if d is not None]

    async def head(self, vdi_id):
        """The head of a VDI's inode.

        :raises NoObject: it was deleted meanwhile
        :raises NotServing: it is out of reach
        :raises DamagedInode: its client wrote nonsense into it
        """
        try:
            head = await asyncio.wait_for(self.gateway.read_wait(
                ids.vdi_oid(vdi_id), 0, inode.HEAD_BYTES), HEAD_SECONDS)
        except asyncio.TimeoutError:
            raise errors.NotServing(
                'the inode of VDI %06x is out of reach: "dog cluster info" '
                'and the log say why' % vdi_id) from None
        try:
            return _checked(inode.InodeHead.unpack(head))
        except errors.InvalidParameters as error:
            raise DamagedInode('the inode of VDI %06x is damaged: %s'
                               % (vdi_id, error)) from None

    async def _describe(self, entry):
        """See ``description``; None when it is gone."""
        try:
            try:
                head = await self.head(entry.vdi_id)
            except DamagedInode as error:
                # Its owner's affair: the others want their list.
                LOG.warning('%s', error)
                head = inode.InodeHead(
                    entry.name, block_size_shift=entry.block_size_shift)
            objects = -(-head.vdi_size // head.object_bytes)
            tally = description.Tally(entry)
            async for _, owners in inode_map.pieces(
                    self.gateway, entry.vdi_id, objects):
                tally.add(owners)
        except errors.NoObject:
            return None
        return description.of(entry, head, tally, self.cluster.state)

    # -- on the leader --------------------------------------------------

    async def carry_out(self, kind, arguments):
        """``cluster.api.Operations``."""
        function = {'vdi-create': self._create, 'vdi-delete': self._delete,
                    'vdi-resize': self._resize}.get(kind)
        if function is None:
            raise errors.InvalidParameters('unknown operation %.40r' % kind)
        wanted = ARGUMENTS[kind]
        shapes.check(arguments, wanted, kind)
        if len(arguments) != len(wanted):
            raise errors.InvalidParameters('%s takes %s' % (
                kind, ', '.join(wanted)))
        return await function(**arguments)

    async def _create(self, name, size, copies, copy_policy,
                      block_size_shift):
        settings = self.cluster.state.settings
        if not copies and not copy_policy:
            copies, copy_policy = settings.copies, settings.copy_policy
        shift = block_size_shift or settings.block_size_shift
        _check_new(name, size, shift)
        copies, copy_policy = self._policy(copies, copy_policy)
        if self.cluster.state.lookup(name) is not None:
            raise errors.VdiExists('a VDI %s exists already' % name)
        vdi_id = family.free_id(self.cluster.state.vdis, name)
        now = self.world.clock.time()
        created = int(now) << 32 | int(now % 1 * 1e9)
        head = inode.InodeHead(
            name, create_time=created, vdi_size=size, nr_copies=copies,
            copy_policy=copy_policy, block_size_shift=shift, vdi_id=vdi_id)
        oid = ids.vdi_oid(vdi_id)
        # All of the head: a leader that died may have left another one.
        packed = head.pack().ljust(inode.HEAD_BYTES, b'\0')
        whole = redundancy.whole_copies(copies, copy_policy)
        epoch = None
        while epoch != self.cluster.state.epoch:
            # All in one epoch: what got to the places of one is not sent to
            # those of the next, who do not know yet that they have a copy.
            epoch = self.cluster.state.epoch
            await self.gateway.write_wait(oid, 0, packed, durable=True,
                                          create=True, copies=whole)
        entry = {'vdi_id': vdi_id, 'name': name, 'tag': '', 'snap_id': 0,
                 'parent': 0, 'created': created, 'copies': copies,
                 'copy_policy': copy_policy, 'block_size_shift': shift,
                 'deleted': False, 'snapshot': False}
        return {'kind': 'vdi-create', 'entry': entry, 'size': size}, entry

    def _policy(self, copies, copy_policy):
        """:raises InvalidParameters: there is none such, or not here"""
        for what, number in (('copies', copies),
                             ('copy_policy', copy_policy)):
            if not isinstance(number, int):
                raise errors.InvalidParameters(
                    '%s of a VDI is a whole number, not %r' % (what, number))
        policy = redundancy.checked(copies, copy_policy)
        needed = redundancy.zones_needed(*policy)
        zones = len({member.zone for member in self.cluster.view.members
                     if member.vnodes})
        if policy.copy_policy and zones < needed:
            raise errors.InvalidParameters(
                '%s needs storage in at least %d zones, there are %d'
                % (redundancy.text_of(*policy), needed, zones))
        return policy

    async def _delete(self, name, tag, snap_id):
        entry = self.find(name, tag, snap_id)
        family.check_unused(entry, self.cluster.state.locks.get(
            entry.vdi_id))
        return {'kind': 'vdi-delete', 'vdi_id': entry.vdi_id}, None

    async def _resize(self, name, size):
        entry = self.find(name)
        check_size(size, entry.block_size_shift)
        head = await self.head(entry.vdi_id)
        if size < head.vdi_size:
            raise errors.InvalidParameters(
                'VDI %s has %d bytes: it does not shrink to %d unless that '
                'is forced' % (name, head.vdi_size, size))
        await self.gateway.write_wait(
            ids.vdi_oid(entry.vdi_id), inode.SIZE_OFFSET,
            size.to_bytes(8, 'little'))
        return ({'kind': 'vdi-resize', 'vdi_id': entry.vdi_id,
                 'size': size}, None)


def check_name(name):
    """Of a new VDI.

    :raises InvalidParameters:
    """
    if not isinstance(name, str) or not name:
        raise errors.InvalidParameters('a VDI needs a name')
    inode.encode_name(name)


def _check_new(name, size, shift):
    check_name(name)
    if not isinstance(shift, int):
        raise errors.InvalidParameters('block_size_shift of a VDI is a whole '
                                       'number, not %r' % (shift,))
    if not limits.OBJECT_SHIFT_MIN <= shift <= limits.OBJECT_SHIFT_MAX:
        raise errors.InvalidParameters(
            'the object size is 2^%s bytes: the shift must be %d to %d'
            % (shift, limits.OBJECT_SHIFT_MIN, limits.OBJECT_SHIFT_MAX))
    check_size(size, shift)


def check_size(size, shift):
    """Of a VDI with such objects.

    :raises InvalidParameters:
    """
    largest = limits.VDI_OBJECTS_MAX << shift
    if not isinstance(size, int) or not 0 < size <= largest:
        raise errors.InvalidParameters(
            'the size of a VDI with objects of 2^%d bytes is 1 to %d bytes, '
            'not %s' % (shift, largest, size))


def _checked(head):
    """Native clients write inodes themselves, so they may say anything.

    :raises InvalidParameters: no VDI can be so
    """
    shift = head.block_size_shift
    if (not limits.OBJECT_SHIFT_MIN <= shift <= limits.OBJECT_SHIFT_MAX
            or head.vdi_size > limits.VDI_OBJECTS_MAX << shift):
        raise errors.InvalidParameters('%d bytes in objects of 2^%d'
                                       % (head.vdi_size, shift))
    return head
