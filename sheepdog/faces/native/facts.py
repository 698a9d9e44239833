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

"""What one sheep knows of its own state and of the others', for who looks
for the cause of trouble. Facts only: what they mean is judged elsewhere
(``cmd.symptoms``, ``cmd.departure``).

All of it is JSON. Times are seconds since 1970 by the clock of the sheep
that tells; its ``now`` is among them. Can be asked for in every state.
"""

import asyncio
import base64
import struct

from sheepdog.cluster import api
from sheepdog.cluster import entries
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.recovery import recovery as recovery_module
from sheepdog.wire import peer as wire

PEERS_MAX = 64
"""In larger clusters not everybody calls everybody."""

PING_SECONDS = 3.0
REASONS_MAX = 20
LOCKS_MAX = 1000
CLIENTS_MAX = 1000
OBJECTS_AT_ONCE = 512
"""Looked at before others get their turn of the loop."""

WHOLE = struct.Struct('<Q')
"""A whole copy: the object's id."""

PARTIAL = struct.Struct('<QI')
"""Any other: the object's id, and the epoch up to which the copy has every
acknowledged write."""


class Facts:
    """:param sheep: see ``admin.Admin``"""

    def __init__(self, world, sheep, handles, port):
        self.world = world
        self.sheep = sheep
        self.handles = handles
        self.port = port

    async def collect(self, ping=True) -> dict:
        sheep = self.sheep
        cluster = sheep.cluster
        facts = dict(cluster.explain(), **cluster.circumstances())
        state, views = cluster.state, cluster.views
        facts.update(
            address='%s:%s' % (sheep.settings.advertised_host,
                               sheep.settings.port),
            node=sheep.store.node_id, version=sheep.version,
            now=self.world.clock.time(),
            copies=state.settings.copies if state.settings else 0,
            policies=_policies(state),
            strict=bool(state.settings and state.settings.strict),
            view=_view(cluster.view),
            before=_view(views[-2]) if len(views) > 1 else None,
            recovery=self._recovery(), turning=sheep.turner.facts(),
            store=await self._store(facts), locks=self._locks(),
            refused_locks=self._refused_locks(),
            clients=self._clients(), slow=self._slow(),
            exposed=list(sheep.exposed),
            laggards=sorted(sheep.health.slow),
            evicted=[[node, eviction.time, eviction.by_hand]
                     for node, eviction in sorted(state.evicted.items())
                     if eviction.is_out],
            peers=await self._ping_all() if ping else {})
        return facts

    def _recovery(self):
        recovery = self.sheep.recovery
        reasons = {}
        for oid, (since, reason) in sorted(recovery.waiting.items()):
            # "object 00…: why"
            reason = reason.removeprefix(
                'object %s: ' % ids.hex_oid(oid))
            found = reasons.setdefault(reason, {
                'reason': reason, 'count': 0, 'since': since,
                'is_untold': recovery_module.UNTOLD in reason,
                'example': ids.hex_oid(oid)})
            found['count'] += 1
            found['since'] = min(found['since'], since)
        waiting = sorted(reasons.values(), key=lambda one: -one['count'])
        obstacle = recovery.obstacle
        short = recovery.room.short
        return {
            'no_room': short and {'since': short[0], 'reason': short[1]},
            'is_running': recovery.is_running and recovery.total > 0,
            'is_postponed': recovery.is_postponed,
            'grace': recovery.grace.describe(),
            'done': recovery.done, 'total': recovery.total,
            'waiting': waiting[:REASONS_MAX],
            'obstacle': obstacle and {
                'since': obstacle[0], 'reason': obstacle[1],
                'is_untold': recovery_module.UNTOLD in obstacle[1]}}

    async def _store(self, facts):
        store = self.sheep.store
        failure = store.failure or facts['log_failure']
        found = {'failure': failure, 'is_full': False, 'total': 0,
                 'used': 0, 'free': 0, 'kept': 0,
                 'lost_disks': store.lost_paths(),
                 'bad_objects': len(store.bad_blocks()),
                 'irreparable': [ids.hex_oid(oid) for oid in list(
                     self.sheep.recovery.mover.irreparable)[:REASONS_MAX]],
                 'differing': [ids.hex_oid(oid) for oid in list(
                     self.sheep.scrub.differing)[:REASONS_MAX]],
                 'quarantined': store.quarantine.kept}
        try:
            used, free = await store.used_bytes(), store.space().free
            found.update(used=used, free=free, total=used + free,
                         is_full=store.is_full,
                         kept=store.reserve_bytes)
        except OSError as exc:
            found['failure'] = failure or str(exc)
        return found

    def _locks(self):
        """Those that this sheep has for its clients."""
        sheep = self.sheep
        ours = sheep.cluster.incarnation
        volumes = sheep.volumes
        users = volumes.users()
        state = sheep.cluster.state
        return [{'vdi_id': vdi_id, 'name': state.vdis[vdi_id].name,
                 'mode': lock.mode, 'users': users.get(vdi_id, 0),
                 'since': volumes.locked_at.get(vdi_id)}
                for vdi_id, lock in sorted(state.locks.items())
                if ours in lock.owners
                and lock.mode != entries.TURNING][:LOCKS_MAX]

    def _refused_locks(self):
        state = self.sheep.cluster.state
        found = []
        for vdi_id, since in sorted(self.sheep.volumes.refused.items()):
            entry, lock = state.vdis.get(vdi_id), state.locks.get(vdi_id)
            if entry is not None and lock is not None:
                found.append({'vdi_id': vdi_id, 'name': entry.name,
                              'since': since, 'owners': list(lock.owners)})
        return found[:LOCKS_MAX]

    def _clients(self):
        """(kind, address, VDI) of each that uses a VDI through this sheep.
        """
        sheep = self.sheep
        vdis = sheep.cluster.state.vdis
        found = []
        if sheep.nbd is not None:
            found += [('nbd', *one) for one in sheep.nbd.clients()]
        for session in self.port.sessions if self.port else ():
            found += [('native', session.connection.peername,
                       vdis[vdi_id].name if vdi_id in vdis
                       else '%06x' % vdi_id) for vdi_id in session.used]
        if self.handles is not None:
            found += [('tool', *one) for one in self.handles.users()]
        return found[:CLIENTS_MAX]

    def _slow(self):
        watch = self.sheep.watch
        count, requests = watch.slowest() if watch else (0, [])
        return {'count': count, 'requests': requests,
                'seconds': watch.slow_seconds if watch else 0}

    async def _ping_all(self):
        """address → '' or why it cannot be reached."""
        sheep = self.sheep
        ours = sheep.cluster.incarnation
        others = [member for member in sheep.cluster.acquaintances()
                  if member.incarnation != ours]
        if len(others) > PEERS_MAX:
            return {}
        answers = await asyncio.gather(*map(self._ping, others))
        return {'%s:%s' % (member.host, member.port): answer
                for member, answer in zip(others, answers)}

    async def _ping(self, member):
        links = [self.sheep.links.control(member)]
        # (Only members of the view have a second address to be reached at.)
        if getattr(member, 'data_address', links[0].address) != (
                links[0].address):
            links.append(self.sheep.links.data(member))
        for link in links:
            try:
                await link.call(wire.PING, timeout=PING_SECONDS)
            except errors.SheepdogError as exc:
                return str(exc) or type(exc).__name__
        return ''

    # -- copies ---------------------------------------------------------

    async def copies(self) -> dict:
        """Which objects this sheep has, and how it stands with each copy
        (or strip: one of an object, that which is for us): ``whole`` and
        ``partial`` are base64 of the structures above. ``owners``: of
        each form of a VDI, copies and copy policy; ``inodes``: copies of
        each VDI's inode.
        ``is_settled``: nothing changed while it was looked at."""
        sheep = self.sheep
        cluster = sheep.cluster
        view = cluster.view
        standing = sheep.recovery.standing
        bad = sheep.store.bad_blocks()
        vdis = cluster.state.vdis
        whole, partial = [], []
        for number, key in enumerate(sheep.store.oids()):
            if number % OBJECTS_AT_ONCE == 0:
                await asyncio.sleep(0)
                if cluster.view is not view:
                    break
            oid = ids.object_of(key)
            if cluster.state.is_gone(oid):
                continue
            if key != oid and key != sheep.recovery.mover.key(oid):
                continue
            if key not in bad and standing.is_clean(oid):
                whole.append(WHOLE.pack(oid))
            else:
                reach = max(standing.through(oid, view.epoch if view else 0),
                            sheep.store.version(key) or 0, 0)
                partial.append(PARTIAL.pack(oid, reach))
        return {
            'incarnation': cluster.incarnation,
            'epoch': view.epoch if view else 0,
            'term': view.term if view else 0,
            'is_settled': (cluster.view is view and cluster.serving()
                           and cluster.status is api.Status.OK),
            'whole': base64.b64encode(b''.join(whole)).decode(),
            'partial': base64.b64encode(b''.join(partial)).decode(),
            'owners': {'%06x' % ids.owner_of(vdi_id, kept.form):
                       [kept.copies, kept.copy_policy]
                       for vdi_id, entry in vdis.items()
                       if not cluster.state.is_dead(vdi_id)
                       for kept in (entry, *entry.former)},
            'inodes': {'%06x' % vdi_id: entry.whole_copies
                       for vdi_id, entry in vdis.items()
                       if not cluster.state.is_dead(vdi_id)},
        }


def _policies(state) -> list:
    """(copies, copy policy, how many VDIs have it): of what there is, and of
    what is made next."""
    found = {}
    if state.settings:
        found[state.settings.copies, state.settings.copy_policy] = 0
    for entry in state.vdis.values():
        if not state.is_dead(entry.vdi_id):
            for policy in entry.policies():
                found[policy] = found.get(policy, 0) + 1
    return [[*policy, count] for policy, count in sorted(found.items())]


def _view(view):
    return view and {
        'epoch': view.epoch, 'time': view.time,
        'members': [{'node': m.node, 'incarnation': m.incarnation,
                     'host': m.host, 'port': m.port, 'zone': m.zone,
                     'vnodes': m.vnodes} for m in view.members]}
