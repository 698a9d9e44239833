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

"""The calls by subject: cluster, nodes, VDIs.

Each method is one call to the cluster; results are plain dicts and lists as
the sheep answered them. Sizes are bytes, times seconds since 1970. All
raise ``SheepdogError``.
"""

import base64

from sheepdog.client import connection as connection_module
from sheepdog.model import errors
from sheepdog.model import inode

INODE_PIECE_BYTES = 1 << 20
"""One request of a longer one."""


class ClusterCalls:
    def __init__(self, client):
        self._client = client

    def info(self) -> dict:
        """Status, settings, epochs (newest first), leader, who is missing.
        """
        return self._client.call('cluster.info')

    def facts(self) -> list:
        """What each sheep that is known says of itself and of the others:
        ``address``, ``node``, and ``answer`` or ``error``."""
        return self._client.call('cluster.facts')

    def copies(self) -> list:
        """Which objects each sheep has whole; as ``facts``."""
        return self._client.call('cluster.copies')

    def format(self, copies=3, copy_policy=0, block_size_shift=22,
               store='plain', strict=False, vdi_locks=True,
               fixed_vnodes=False, recycle_ids=False, avoid_full=False,
               force=False) -> dict:
        """Begin a new, empty cluster.

        :param force: also when there is one: all its VDIs are gone then
        :raises VdiExists: there is one, and no force
        """
        return self._client.change('cluster.format', {
            'copies': copies, 'copy_policy': copy_policy,
            'block_size_shift': block_size_shift, 'store': store,
            'strict': strict, 'vdi_locks': vdi_locks,
            'fixed_vnodes': fixed_vnodes, 'recycle_ids': recycle_ids,
            'avoid_full': avoid_full, 'force': force})

    def shutdown(self):
        """Stop all sheep in order."""
        try:
            self._client.change('cluster.shutdown')
        except errors.Unreachable as exc:
            # Sheep that stop take their connections with them, the answer
            # perhaps included. Nobody left to ask is how it should be.
            if not _was_lost(exc) or self._is_anyone_there():
                raise

    def check(self, action, name, vdi='', tag='', snap_id=0) -> list:
        """Have all sheep look through their copies, of all objects or of
        one VDI's: 'start', 'show', 'stop' the check of that name. Of each
        sheep ``host``, ``port``, and ``check`` (None: it knows of none) or
        ``error``.

        :raises NoVdi: there is none
        """
        return self._client.call('cluster.check', {
            'action': action, 'name': name, 'vdi': vdi, 'tag': tag,
            'snap_id': snap_id})

    def activity(self) -> dict:
        """``epoch`` and ``nodes``: of each its counters (``stat``,
        ``waits``), ``space`` and ``progress`` of recovery, or ``error``."""
        return self._client.call('cluster.activity')

    def recover_force(self) -> dict:
        """Go on without the members that are missing at a cold start."""
        return self._client.change('cluster.recover', {'action': 'force'})

    def recover_enable(self, is_enabled) -> None:
        """Let recovery run, or postpone it: until it is enabled again only
        what clients ask for is recovered."""
        self._client.change('cluster.recover', {
            'action': 'enable' if is_enabled else 'disable'})

    def recover_now(self) -> None:
        """Wait for no absent node any more: make anew what it held."""
        self._client.change('cluster.recover', {'action': 'now'})

    def reweight(self) -> list:
        """Weigh the nodes by the disks that they have now. Returns those
        that do not answer and keep their weights, as ``host:port``.

        :raises InvalidParameters: the numbers of vnodes are fixed
        """
        return self._client.change('cluster.reweight')['silent']

    def alter_copies(self, copies, copy_policy=0, force=False) -> dict:
        """The redundancy that VDIs get which are made from now on:
        ``before``, ``policy_before``, ``copies`` and ``copy_policy``.

        :param copy_policy: of erasure coding; 0: ``copies`` whole copies
        :param force: also where there are fewer zones
        :raises InvalidParameters: there are, or it is out of range
        """
        return self._client.change('cluster.alter-copy', {
            'copies': copies, 'copy_policy': copy_policy, 'force': force})

    def _is_anyone_there(self):
        try:
            return self.info()['status'] != 'shutdown'
        except errors.ShuttingDown:
            return False
        except errors.Unreachable:
            return False


def _was_lost(error) -> bool:
    """Did the request get out, before things went wrong?"""
    while error is not None:
        if isinstance(error, connection_module.ConnectionLost):
            return not isinstance(error, connection_module.NoAnswer)
        error = error.__cause__
    return False


class NodeCalls:
    def __init__(self, client):
        self._client = client

    def list(self) -> list:
        return self._client.call('node.list')

    def info(self) -> dict:
        """Space of each node, and the virtual size of all VDIs."""
        return self._client.call('node.info')

    def disks(self) -> list:
        """Of the sheep that answers: each with ``path``, ``id``, ``total``,
        ``used`` and ``free`` (bytes), ``objects``, ``state`` ('in use',
        'leaving', 'failing') and ``problem``."""
        return self._client.call('node.disks')['disks']

    def all_disks(self) -> list:
        """Of each node: ``id``, ``host``, ``port`` and ``disks``, or
        ``error``."""
        return self._client.call('node.disks', {'everyone': True})['nodes']

    def plug(self, path: str) -> None:
        """Have the sheep that answers use another disk, a directory there.

        :raises SystemFailure: it cannot be used
        """
        self._client.call('node.plug', {'path': path})

    def unplug(self, path: str) -> None:
        """Have the sheep that answers empty a disk, and then use it no more.

        :raises SystemFailure: it is none of its disks, or the last
        """
        self._client.call('node.unplug', {'path': path})

    def stat(self) -> dict:
        """Counters of the sheep that answers."""
        return self._client.call('node.stat')

    def status(self) -> dict:
        """How the sheep that answers stands, and why."""
        return self._client.call('node.status')

    def recovery(self) -> list:
        """Progress of each node that recovers: objects ``done``, and in
        ``total``; ``seconds_left``: about so long, None: not known yet;
        ``held_back``: for which clients, None: it is not; ``postponed``:
        for which absent ``nodes``, ``until`` when (seconds since 1970), how
        many ``objects``; None: nothing is."""
        return self._client.call('node.recovery')

    def set_vnodes(self, number) -> None:
        """Of the node that answers, where numbers of vnodes are fixed.

        :raises InvalidParameters: they are not, or it is out of range
        """
        self._client.change('node.vnodes', {'vnodes': number})

    def evict(self, node_id, force=False) -> None:
        """It keeps no objects from now on, until it is let in again.

        :param force: also with too few zones left for all copies, without
            room for them there, or while not all is recovered
        :raises InvalidParameters: it cannot be done without now
        """
        self._client.change('node.evict', {'id': node_id, 'force': force})

    def readmit(self, node_id) -> None:
        """:raises InvalidParameters: it was not evicted"""
        self._client.change('node.readmit', {'id': node_id})

    def throttle(self) -> dict:
        """Of recovery on the node that answers: ``max`` objects at once,
        behind each of them ``interval`` milliseconds of rest."""
        return self._client.call('node.throttle', {'action': 'get'})

    def throttles(self) -> list:
        """As ``throttle``, of all nodes: ``address``, and that or an
        ``error``."""
        return self._client.call('node.throttle', {
            'action': 'get', 'everyone': True})['nodes']

    def set_throttle(self, at_once, interval_ms, everyone=False) -> list:
        """Until the node stops, or its configuration changes. ``at_once``
        0: as it thinks fit. Of each node what it has now, or with
        ``everyone`` an ``error``.

        :raises InvalidParameters: out of range
        """
        found = self._client.call('node.throttle', {
            'action': 'set', 'max': at_once, 'interval': interval_ms,
            'everyone': everyone})
        return found['nodes'] if everyone else [found]

    def quarantine(self) -> list:
        """What each store has set aside: ``host``, ``port``, and ``notes``,
        ``kept``, ``used_bytes``, or ``error``."""
        return self._client.call('cluster.quarantine')

    def quarantine_copy(self, oid, node) -> None:
        """Set a node's copy aside, which is the wrong one; it is made anew
        from the others.

        :param oid: of the object, 16 hexadecimal digits
        :param node: ``host:port``
        :raises NoObject: the node has none
        :raises InvalidParameters: no other copy is whole
        """
        self._client.call('cluster.quarantine-add', {'object': oid,
                                                     'node': node})

    def delete_quarantined(self, name) -> None:
        """For good.

        :raises NoObject: nothing of that name is set aside
        """
        self._client.change('cluster.quarantine-delete', {'name': name})

    def kill(self, node_id: int) -> None:
        """Stop the node with this number in ``list``.

        :raises InvalidParameters: there is none
        """
        for node in self.list():
            if node['id'] == node_id:
                break
        else:
            raise errors.InvalidParameters('there is no node %d' % node_id)
        # The numbers shift when a node goes: a second attempt might hit the
        # next one.
        self._kill({'id': node_id}, node.get('incarnation'))

    def kill_local(self) -> None:
        """Stop the sheep that answers."""
        self._kill({'local': True}, None)

    def _kill(self, arguments, incarnation):
        connection = self._client.connection()
        try:
            connection.ask('node.kill', arguments)
        except connection_module.NoAnswer:
            raise
        except connection_module.ConnectionLost:
            # A sheep may go before its answer does.
            if incarnation not in (None, connection.incarnation):
                raise

    def log_level(self) -> str:
        return self._client.call('node.log', {'action': 'get'})['level']

    def log(self, action, level='', logger='') -> list:
        """Have all nodes 'get' or 'set' their levels: of each ``address``,
        ``level`` and ``loggers``, or ``error``."""
        arguments = {'action': action, 'level': level, 'logger': logger}
        return self._client.call('node.log', dict(
            arguments, everyone=True))['nodes']

    def trace(self, action, names=()) -> list:
        """Have all nodes log each step of the requests for these VDIs (all,
        where none is named): 'on', 'off', 'show'. Of each ``address``,
        ``is_on`` and ``names``, or ``error``."""
        return self._client.call('node.trace', {
            'action': action, 'names': ','.join(names),
            'everyone': True})['nodes']

    def log_levels(self) -> list:
        return self._client.call('node.log', {'action': 'list'})['levels']

    def set_log_level(self, level: str) -> None:
        self._client.call('node.log', {'action': 'set', 'level': level})


class VdiCalls:
    def __init__(self, client):
        self._client = client

    def list(self, name='') -> list:
        """All VDIs in order of their ids, or those of that name."""
        return self._client.call('vdi.list', {'name': name} if name else {})

    def create(self, name, size, copies=0, copy_policy=0,
               block_size_shift=0) -> dict:
        """Zero for copies or shift: as the cluster was formatted.

        :raises VdiExists: the name is taken
        """
        return self._client.change('vdi.create', {
            'name': name, 'size': size, 'copies': copies,
            'copy_policy': copy_policy, 'block_size_shift': block_size_shift})

    def resize(self, name, size, force=False) -> None:
        """
        :param force: also where it shrinks, and what is beyond is lost
        :raises NoVdi: there is none
        :raises InvalidParameters: it would shrink; tells what would be lost
        :raises VdiLocked: it is to shrink, and is open
        """
        arguments = {'name': name, 'size': size}
        if force:
            arguments['force'] = True
        self._client.change('vdi.resize', arguments)

    def alter_copies(self, name, copies, copy_policy=0, force=False) -> dict:
        """Give a VDI another number of copies, in the background, or turn
        it from copies to strips, or back; returns ``before``,
        ``policy_before``, ``copies``, ``copy_policy``, and ``vdis``, the ids
        of all it concerns.

        :param force: also where there are fewer zones
        :raises NoVdi: there is none
        :raises InvalidParameters: there are, or it is out of range
        :raises VdiLocked: it is open shared, and would be turned
        """
        return self._client.change('vdi.alter-copy', {
            'name': name, 'copies': copies, 'copy_policy': copy_policy,
            'force': force})

    def snapshot(self, name, tag='', only_if_changed=False):
        """Make a snapshot, also of a VDI that is open; returns its id
        (``snapshot``) and the id that the VDI has now (``vdi_id``), or None
        where nothing has changed since the last one.

        :raises NoVdi: there is none
        :raises VdiExists: there is such a snapshot
        :raises VdiLocked: it is being altered
        """
        return self._client.change('vdi.snapshot', {
            'name': name, 'tag': tag, 'only_if_changed': only_if_changed})

    def snapshot_group(self, names, tag='', only_if_changed=False):
        """As ``snapshot``, of several VDIs at one moment: of all, or of
        none. Returns ``vdis``: what ``snapshot`` does, in order of the
        names; or None where nothing has changed in any.

        :raises InvalidParameters: one is named twice, or they are too many
        """
        return self._client.change('vdi.snapshot_group', {
            'names': list(names), 'tag': tag,
            'only_if_changed': only_if_changed})

    def clone(self, source, tag, name, shares_nothing=False,
              timeout=None) -> dict:
        """Make a VDI with the content of a snapshot, by tag or number.

        :param shares_nothing: copy all of it
        :raises NoTag: there is no such snapshot
        :raises VdiExists: the name is taken
        """
        return self._client.change('vdi.clone', {
            'source': source, 'tag': tag, 'name': name,
            'shares_nothing': shares_nothing}, timeout)

    def rollback(self, name, tag) -> None:
        """Give a VDI the content of its snapshot back.

        :raises NoTag: there is no such snapshot
        :raises VdiLocked: it is open
        """
        self._client.change('vdi.rollback', {'name': name, 'tag': tag})

    def delete(self, name, tag='', snap_id=0) -> None:
        """:raises NoVdi, VdiLocked:"""
        self._client.change('vdi.delete', {
            'name': name, 'tag': tag, 'snap_id': snap_id})

    def missing(self, name, tag='', snap_id=0, first=0) -> dict:
        """``missing``: objects from number ``first`` on that the VDI names
        and no sheep has; ``next``: where to go on, None at the end;
        ``total``: how many objects it may have.

        :raises NoVdi: there is none
        """
        return self._client.call('vdi.missing', {
            'vdi': name, 'tag': tag, 'snap_id': snap_id, 'first': first})

    def object(self, name, index=-1, tag='', snap_id=0, object='',
               ask=True) -> dict:
        """Where one object of a VDI is: number ``index`` (-1: its inode), or
        any, by its id. ``object``, ``vdi_id``, ``index``, ``copies``,
        ``strips``, ``members`` (how many there are), ``expected``,
        ``history``, and with ``ask`` ``nodes``.

        :raises NoVdi, NoTag:
        :raises NoObject: it was never written
        :raises InvalidParameters: the VDI ends before
        """
        return self._client.call('vdi.object', {
            'name': name, 'tag': tag, 'snap_id': snap_id, 'index': index,
            'object': object, 'ask': ask})

    def inode(self, name, tag='', snap_id=0, offset=0,
              size=inode.CLIENT_BYTES):
        """Yield bytes of a VDI's inode, as clients read it.

        :raises NoVdi, NoTag:
        """
        end = offset + size
        for start in range(offset, end, INODE_PIECE_BYTES):
            answer = self._client.call('vdi.inode', {
                'name': name, 'tag': tag, 'snap_id': snap_id,
                'offset': start,
                'count': min(INODE_PIECE_BYTES, end - start)})
            yield base64.b64decode(answer['data'])

    def set_attribute(self, name, key: bytes, value: bytes,
                      exclusive=False) -> None:
        """
        :param exclusive: create it; of several who try, one succeeds
        :raises VdiExists: there is one, and it was to be created
        :raises NoVdi:
        :raises InvalidParameters: the key or the value is too long
        :raises NoSpace: there are too many
        """
        self._client.change('vdi.setattr', {
            'name': name, 'key': key.hex(), 'exclusive': exclusive,
            'value': base64.b64encode(value).decode()})

    def delete_attribute(self, name, key: bytes) -> None:
        """:raises NoVdi, NoObject:"""
        self._client.change('vdi.setattr', {
            'name': name, 'key': key.hex(), 'delete': True})

    def attribute(self, name, key: bytes) -> bytes:
        """:raises NoVdi, NoObject:"""
        return base64.b64decode(self._client.call('vdi.getattr', {
            'name': name, 'key': key.hex()})['value'])

    def attributes(self, name) -> list:
        """The keys of all that it has.

        :raises NoVdi:
        """
        return [bytes.fromhex(key) for key in self._client.call(
            'vdi.attributes', {'name': name})['keys']]

    def set_limits(self, name, changes, clear=False) -> dict:
        """Change how much of the cluster's pace a VDI may take: at once, also
        for who has it open. Returns ``limits``, all that it has now.

        :param changes: 'iops', 'read-iops', 'write-iops', 'bytes',
            'read-bytes', 'write-bytes' → (so many a second, so many at once
            after a rest; 0: a tenth of them), or None: without that limit
        :param clear: end the others
        :raises NoVdi, InvalidParameters:
        """
        return self._client.change('vdi.limit', {
            'name': name, 'clear': clear, 'changes': ','.join(
                '%s=%s' % (kind, '%d:%d' % tuple(rate) if rate else 'none')
                for kind, rate in changes.items())})

    def limits(self, name='') -> list:
        """Of all VDIs that have some, or of one: ``name``, ``limits``; and of
        the sheep that answers ``waiting`` (requests), and so far ``delayed``
        and ``delayed_seconds``.

        :raises NoVdi:
        """
        return self._client.call('vdi.limits', {'name': name})

    def locks(self) -> list:
        return self._client.call('vdi.locks')

    def unlock(self, name) -> None:
        """Take the lock from whoever holds it; its writes fail from then.

        :raises NoVdi, VdiNotLocked:
        """
        self._client.change('vdi.unlock', {'name': name})
