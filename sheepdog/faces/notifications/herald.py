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

"""Makes notifications of what the other rooms tell.

Every member hears of every event of the cluster, in one order. One of them
sends it: of the members that were also in the view before, the one whose
incarnation is the oldest (in a first view: the oldest of all). Each knows
that from the view alone. It changes only with the view; who comes to send
then sends again what it heard in the REPEAT_SECONDS before, as the one
before it may have died with that unsent. So each event of the cluster is
sent at least once, unless all who heard of it die, and its id tells doubles
apart: all members make the same one.

What is a sheep's own (a lapse, its recovery) it sends itself, once.
"""

import collections
import hashlib
from typing import Optional

from sheepdog.cluster import entries
from sheepdog.cluster import family
from sheepdog.cluster import incarnations
from sheepdog.faces.notifications import events
from sheepdog.model import ids
from sheepdog.world import api

REPEAT_SECONDS = 60.0
"""Longer than the death of a member takes to show in the view."""

REPEAT_MAX = 1000
BLOCKS_MAX = 20


class Herald:
    """A ``ClusterListener``, ``recovery.Watcher`` and ``scrub.Watcher``.

    :param node: our own ``MemberInfo``
    """

    def __init__(self, world: api.World, cluster, node, sink: events.Sink):
        self.sink = sink
        self._clock = world.clock
        self._random = world.random
        self._cluster = cluster
        self._reporter = {'host': node.host, 'port': node.port,
                          'node': node.node}
        self._view = None
        self._is_sender = False
        self._recent: collections.deque = collections.deque(
            maxlen=REPEAT_MAX)
        self._locks: dict = {}
        self._recovered = None

    # -- cluster.api.ClusterListener ------------------------------------

    def on_freeze(self):
        pass

    def on_lapse(self):
        self._own('node.lapsed', reason=self._cluster.reason)
        self._view = None
        self._is_sender = False
        self._recent.clear()

    def on_shutdown(self):
        pass

    def on_view(self, old, new, cold):
        ours = self._cluster.incarnation
        was_sender, self._is_sender = self._is_sender, (
            sender_of(old, new) == ours)
        if self._is_sender and not was_sender and self._view is not None:
            self._repeat()
        self._view = new
        self._locks = dict(self._cluster.state.locks)
        if cold:
            self._of_view('cluster.started', members=len(new.members))
        elif old is None:
            settings = self._cluster.state.settings
            self._of_view('cluster.formatted', members=len(new.members),
                          copies=settings.copies,
                          object_bytes=1 << settings.block_size_shift)
        else:
            self._compare(old, new)

    def _compare(self, old, new):
        # By incarnation: one that was started again has left and joined.
        before = {member.incarnation for member in old.members}
        now = {member.incarnation for member in new.members}
        joined = [m for m in new.members if m.incarnation not in before]
        left = [m for m in old.members if m.incarnation not in now]
        for name, members in (('node.left', left), ('node.joined', joined)):
            for member in members:
                self._of_view(name, member.incarnation,
                              node=_describe(member))
        self._of_view(
            'epoch.changed', previous_epoch=old.epoch,
            members=len(new.members),
            zones=len({m.zone for m in new.members if m.vnodes}),
            joined=len(joined), left=len(left))

    def on_event(self, event):
        handler = self._EVENTS.get(event['kind'])
        if handler is not None:
            handler(self, event)

    def _vdi_create(self, event):
        entry = event['entry']
        self._of_record('vdi.created', name=entry['name'],
                        vdi_id=entry['vdi_id'],
                        size_bytes=event.get('size', 0),
                        copies=entry['copies'])

    def _vdi_delete(self, event):
        vdi_id = event['vdi_id']
        self._locks.pop(vdi_id, None)
        self._of_record('vdi.deleted', name=self._name(vdi_id),
                        vdi_id=vdi_id)

    def _vdi_resize(self, event):
        self._of_record('vdi.resized', name=self._name(event['vdi_id']),
                        vdi_id=event['vdi_id'], size_bytes=event['size'])

    def _lock_changed(self, event):
        vdi_id = event['vdi_id']
        before = self._locks.pop(vdi_id, None)
        now = self._cluster.state.locks.get(vdi_id)
        if now is not None:
            self._locks[vdi_id] = now
        # (One that only gives way when it is asked for takes nothing away.)
        if (event.get('force') and before is not None and self._view
                and before.mode != entries.TURNING):
            owners = map(self._view.member, before.owners)
            self._of_record(
                'vdi.lock_forced', name=self._name(vdi_id), vdi_id=vdi_id,
                mode=before.mode,
                owners=[_describe(m) for m in owners if m is not None])

    def _vdi_commit(self, event):
        """The lock goes from one VDI to the other."""
        for vdi_id in family.relocked(event):
            self._lock_changed({'vdi_id': vdi_id})

    def _member_recovered(self, event):
        if (self._cluster.state.has_recovered()
                and self._recovered is not self._view):
            self._recovered = self._view
            self._of_view('cluster.recovered')

    def _evict(self, event):
        self._of_record('node.evicted', node=self._node(event['node']),
                        is_by_hand=bool(event.get('by_hand')),
                        why=event.get('why', ''))

    def _readmit(self, event):
        self._of_record('node.readmitted', node=self._node(event['node']))

    def _node(self, node) -> dict:
        for member in self._view.members if self._view else ():
            if member.node == node:
                return _describe(member)
        return {'node': node}

    def _shutdown(self, event):
        self._of_record('cluster.shutdown', epoch=self._cluster.state.epoch)

    _EVENTS = {'vdi-create': _vdi_create, 'vdi-delete': _vdi_delete,
               'vdi-resize': _vdi_resize, 'vdi-commit': _vdi_commit,
               'vdi-commit-group': _vdi_commit,
               'lock': _lock_changed,
               'unlock': _lock_changed, 'recovered': _member_recovered,
               'evict': _evict, 'readmit': _readmit,
               'shutdown': _shutdown}

    # -- recovery.Watcher -----------------------------------------------

    def recovery_started(self, epoch, objects):
        self._own('recovery.started', epoch=epoch, objects=objects)

    def recovery_finished(self, epoch, objects, seconds):
        self._own('recovery.finished', epoch=epoch, objects=objects,
                  seconds=round(seconds, 3))

    def recovery_failed(self, epoch, left, reason):
        self._own('recovery.failed', epoch=epoch, objects_left=left,
                  reason=reason)

    # -- scrub.Watcher ---------------------------------------------------

    def object_damaged(self, oid, blocks):
        self._own_of_blocks('object.damaged', oid, blocks)

    def object_irreparable(self, oid, blocks):
        self._own_of_blocks('object.irreparable', oid, blocks)

    def _own_of_blocks(self, name, oid, blocks):
        self._own(name, object=ids.hex_oid(oid),
                  blocks=list(blocks[:BLOCKS_MAX]), count=len(blocks))

    def copies_differ(self, oid, nodes, is_settled):
        self._own('object.copies_differ', object=ids.hex_oid(oid),
                  nodes=nodes, is_settled=is_settled)

    def quarantine_added(self, note):
        self._own('quarantine.added', name=note['name'],
                  object=note['object'] or '', why=note['why'])

    # -- sending --------------------------------------------------------

    def _name(self, vdi_id) -> str:
        entry = self._cluster.state.vdis.get(vdi_id)
        return entry.name if entry is not None else ''

    def _of_record(self, name, /, **fields):
        """What the newest record brought about."""
        self._of_cluster('%d.%d' % self._cluster.state.position, name,
                         fields)

    def _of_view(self, name, about='', /, **fields):
        """What the view brought about. (Not its record's position: who
        joins with it has no record of it.)"""
        view = self._view
        self._of_cluster('epoch.%d.%s.%s%s' % (
            view.epoch, _identity(view), name, '.' + about if about else ''),
            name, dict(fields, epoch=view.epoch))

    def _of_cluster(self, event_id, name, fields):
        state = self._cluster.state
        notification = self._make('%x.%s' % (state.created, event_id), name,
                                  state.time, fields)
        self._recent.append((self._clock.monotonic(), notification))
        if self._is_sender:
            self.sink.send(notification)

    def _own(self, name, /, **fields):
        self.sink.send(self._make(
            '%s.%s' % (self._reporter['node'],
                       self._random.token(8).hex()), name,
            self._clock.time(), fields))

    def _make(self, event_id, name, time, fields) -> events.Notification:
        kind = events.KINDS[name]
        created = self._cluster.state.created
        return events.Notification(kind, events.payload(kind, {
            'event_id': event_id, 'time': round(time, 3),
            'cluster': '%x' % created if created else '',
            'reporter': self._reporter}, fields))

    def _repeat(self):
        since = self._clock.monotonic() - REPEAT_SECONDS
        for when, notification in self._recent:
            if when >= since:
                self.sink.send(notification)


def sender_of(old, new) -> Optional[str]:
    """The incarnation that sends what is the cluster's in the view ``new``,
    the view before being ``old`` (or None)."""
    names = [member.incarnation for member in new.members]
    if old is not None:
        # Who joins just now may not have heard what came with it.
        before = {member.incarnation for member in old.members}
        names = [name for name in names if name in before] or names
    return min(names, key=incarnations.age_key, default=None)


def _identity(view) -> str:
    """Tells a view from all others. The epoch alone does not: a cold start
    goes on with it, and with nothing new but the incarnations."""
    names = ','.join(sorted(member.incarnation for member in view.members))
    return hashlib.sha256(names.encode()).hexdigest()[:12]


def _describe(member) -> dict:
    return {'host': member.host, 'port': member.port, 'zone': member.zone,
            'node': member.node, 'is_gateway': not member.vnodes}
