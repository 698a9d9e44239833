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

"""The walk over all our copies after a change of the view, and the guard
that the replica asks.

One pass per view, bounded in objects at once; an object that a client waits
for is recovered at once and by itself.
"""

import asyncio
import itertools
import logging
from typing import Optional

from sheepdog.cluster import family
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.placement import ring as ring_module
from sheepdog.placement import slots
from sheepdog.recovery import account as account_module
from sheepdog.recovery import grace as grace_module
from sheepdog.recovery import mover
from sheepdog.recovery import past
from sheepdog.recovery import plan
from sheepdog.recovery import proof
from sheepdog.recovery import room
from sheepdog.recovery import settlement
from sheepdog.recovery import space
from sheepdog.recovery import standing
from sheepdog.recovery import throttle as throttle_module
from sheepdog.recovery import wanted as wanted_module
from sheepdog.recovery import wiping
from sheepdog.wire import peer as wire

LOG = logging.getLogger(__name__)

PAUSE_SECONDS = 0.2
PAUSES_MAX = 10
"""A pass that cannot end is begun again after more and more pauses."""

UNTOLD = past.UNTOLD

RINGS_MAX = 40


class Recovery:
    """Implements ``peer.replica.Guard`` and ``ClusterListener``.

    ``done``/``total`` are the objects of the running pass, for operators;
    ``waiting``: object → (since when it cannot be made whole, in seconds
    since 1970, and why); ``obstacle``: the same of the pass, or None.
    """

    def __init__(self, world, cluster, replica, links, order,
                 throttle=None, grace_seconds=0):
        """``throttle``: of the pass; what a client waits for is not held up
        by it."""
        self.world = world
        self.throttle = throttle or throttle_module.Throttle()
        self.grace = grace_module.Grace(world, cluster, order, grace_seconds)
        self.cluster = cluster
        self.replica = replica
        self.links = links
        self.order = order
        self.standing = standing.Standing(
            self._is_target,
            lambda view, oids: self.wanted.are_targets(view, oids))
        self.wanted = wanted_module.Wanted(
            cluster, replica.store, links, order, self.standing, self._ring,
            self._is_target)
        self.mover = mover.Mover(cluster, replica, links, order,
                                 self.standing, self._untold, self._stayed,
                                 self._kept)
        self.wiping = wiping.Wiping(world, cluster, replica.store,
                                    self.mover.adopted)
        self.space = space.Space(cluster, replica, self.standing,
                                 self.mover.is_deleted,
                                 self.wanted.are_targets,
                                 proof.Proof(cluster, order, links,
                                             replica.store))
        self.room = room.Room(world, cluster, replica.store, links,
                              self._holders, self.mover)
        self.mover.settlement = self.settlement = settlement.Settlement(
            cluster, replica, links, order, self.standing, self._untold,
            self._nodes_in, self.wiping.wait, self.check_told,
            self.mover.adopt, self.mover.behind, self._holds_back,
            self._settled)
        self.done = 0
        self.total = 0
        self.waiting = {}
        self.obstacle = None
        self.is_running = False
        self.estimate = account_module.Estimate()
        self.watcher: Optional[account_module.Watcher] = None
        self._running = {}
        self._optional = set()
        self._rings = {}
        self._pass = None
        self._announced = None
        self._inherited = None
        """The number of the event that began a full stop's end, if all was
        whole then."""
        self._renewed = set()
        """Coded objects that were settled, or made, since."""
        self._fresh = None
        self._said = ''
        self._announcing = None

    @property
    def moved_bytes(self):
        """What came from the others, of copies and of strips."""
        return self.mover.moved_bytes + self.settlement.builder.moved_bytes

    # -- the guard ------------------------------------------------------

    @property
    def active(self):
        return self.standing.active

    def needs(self, oid):
        return not self.standing.is_clean(oid)

    @property
    def inherits(self):
        return self._inherited is not None

    def renew(self, oid, key):
        """After a full stop in order the strips go on in the generation of
        before, with a new process to number their updates. Where the lock
        has not changed either, its numbers may be those of before: one
        would be taken for done, or could not be rolled back."""
        if self.cluster.state.fences.get(ids.vdi_of(oid), 0) > \
                self._inherited or oid in self._renewed:
            return
        if self.replica.store.version(key) is None:
            self._renewed.add(oid)
        elif self.standing.is_clean(oid):
            self._doubt(oid)

    async def ensure(self, oid):
        await self._have_whole(oid)

    async def _have_whole(self, oid, is_optional=False):
        """:param is_optional: whoever asks can do without ours while it is
            held back for want of room
        """
        while self.needs(oid):
            running = self._running.get(oid)
            if running is None:
                running = self._running[oid] = (
                    asyncio.get_running_loop().create_future())
                if is_optional:
                    self._optional.add(oid)
                self.world.spawn(self._ensure(oid, running),
                                 'recover an object')
            was_optional = oid in self._optional
            error = await asyncio.shield(running)
            if error is None:
                return
            if is_optional or not was_optional \
                    or not isinstance(error, errors.NoRoom):
                raise error

    async def _ensure(self, oid, running):
        error = errors.NotRecovered('object %s: given up'
                                    % ids.hex_oid(oid))
        try:
            await self.wiping.wait()
            await self.replica.store.noted()
            await self.mover.make_whole(oid)
            error = None
        except errors.SheepdogError as exc:
            error = exc
        finally:
            del self._running[oid]
            self._optional.discard(oid)
            running.set_result(error)

    async def ensure_for(self, oid):
        """As ``ensure``, for another sheep that would follow us.

        :raises NoRoom: it had better not wait
        """
        self._check_room(oid)
        try:
            await self.ensure(oid)
        except errors.NotServing:
            # (A disk that fails: to our clients it is a matter of time.)
            self._check_room(oid)
            raise

    def _check_room(self, oid):
        if oid in self.mover.behind:
            raise errors.NoRoom('object %s does not fit here'
                                % ids.hex_oid(oid))

    async def align(self, oid, settler):
        await self.wiping.wait()
        await self.replica.store.noted()
        await self.mover.align(oid, settler)

    def demote(self, slow):
        """Copies of these incarnations are read last."""
        self.mover.slow = slow

    async def ensure_read(self, oid):
        if await self.room.is_elsewhere(oid):
            raise errors.NotRecovered('object %s is held back: it would not '
                                      'fit here' % ids.hex_oid(oid))
        await self._have_whole(oid, is_optional=True)

    def hasten(self, oid):
        if oid not in self._running and not self.room.spares(oid):
            self.world.spawn(self._hasten(oid), 'recover an object')

    async def _hasten(self, oid):
        try:
            await self.ensure_read(oid)
        except errors.SheepdogError as exc:
            LOG.debug('object %s: %s', ids.hex_oid(oid), exc)

    def have_settled(self, oid):
        """Its strips have answered with several generations; a settlement
        that is under way will do. Not when the walk comes to it: what is
        sent meanwhile would find only ours in need of it, which then would
        be settled behind the others' answers, again and again."""
        if oid not in self._running:
            self.doubt(oid)
            # (The others do without ours, as they can.)
            self.mover.behind.pop(oid, None)
            self.hasten(oid)

    def doubt(self, oid, is_missed=False):
        self.standing.part(oid, self.cluster.view.epoch,
                           self.order.serial(ids.vdi_of(oid)), is_missed)
        self._doubt(oid)

    def _doubt(self, oid):
        if not self._is_target(self.cluster.view, oid):
            # It is not asked for here any more, whatever it may be.
            return
        LOG.info('object %s may differ between its copies',
                 ids.hex_oid(oid))
        self.standing.doubt(oid)
        if self._pass is None or self._pass.done():
            self._start(self.cluster.view)

    def damaged(self, oid):
        """The store has found wrong bytes in our copy, or strip."""
        oid = ids.object_of(oid)
        if self.is_repairable(oid):
            self._doubt(oid)

    def is_repairable(self, oid):
        return self.mover.is_repairable(oid)

    async def describe(self, oid):
        await self.wiping.wait()
        self.check_told()
        return await self.mover.describe(oid)

    def check_told(self):
        """What is not here means nothing as long as nobody knows that a
        disk was lost.

        :raises NotRecovered: it is so
        """
        if self.replica.store.has_untold_loss:
            raise errors.NotRecovered('a disk was lost, and the cluster does '
                                      'not know yet')

    def lose(self, oids):
        """These were on a disk that was given up."""
        oids = {ids.object_of(key) for key in oids}
        self.standing.lose(oids)
        self.settlement.lose(oids)
        for oid in oids:
            self.mover.irreparable.pop(oid, None)
        if self._pass is None or self._pass.done():
            self._start(self.cluster.view)

    def handlers(self):
        """For ``Server.register``."""
        slow = self.replica.slow
        return {**self.settlement.handlers(slow),
                wire.STRIP_RECOVER: slow(self._on_settle)}

    async def _on_settle(self, request):
        """Another target knows a reason; one that is under way will do."""
        oid = request.oid
        running = self._running.get(oid)
        if running is None:
            self.standing.doubt(oid)
            self.mover.behind.pop(oid, None)
        else:
            # Also where ours is settled already: who asks would find the
            # same one under way, each time.
            await asyncio.shield(running)
        await self._have_whole(oid, is_optional=True)
        return b''

    # -- placement ------------------------------------------------------

    def _ring(self, view):
        # A cold start has the epoch of before, in a new term.
        key = view.epoch, view.term
        ring = self._rings.get(key)
        if ring is None:
            ring = self.order.ring
            if ring is None or ring.view is not view:
                ring = ring_module.Ring(view)
            while len(self._rings) >= RINGS_MAX:
                del self._rings[next(iter(self._rings))]
            self._rings[key] = ring
        return ring

    def _is_target(self, view, oid):
        """Of a coded object it takes the same targets as now: else the
        strips are others, or another's."""
        ours = self.cluster.incarnation
        members = view.members
        if self.order.code(oid) is not None:
            targets = self._names(view, oid)
            return ours in targets and (
                view is self.cluster.view
                or targets == self._names(self.cluster.view, oid))
        copies = self.order.copies_at(oid, view.epoch)
        for index in self._ring(view).targets(oid, copies):
            if members[index].incarnation == ours:
                return True
        return False

    def _names(self, view, oid):
        return [member.incarnation for member in self._members(view, oid)]

    def _nodes_in(self, epoch, oid):
        """Stable ids of an object's targets in a past epoch, or None; but
        of those who have lost a disk since: what they lack means nothing.
        """
        lost = self.cluster.state.lost
        for view in self.cluster.views:
            if view.epoch == epoch:
                return frozenset(member.node for member
                                 in self._members(view, oid)
                                 if lost.get(member.node, -1) < epoch)
        return None

    def _holders(self, view, oid):
        """Who may have changed the object in that view."""
        members = self._members(view, oid)
        code = self.order.code(oid)
        return [] if code is not None and len(members) < code[0] else members

    def _members(self, view, oid):
        copies = self.order.copies_at(oid, view.epoch)
        return [view.members[index] for index
                in self._ring(view).targets(oid, copies)]

    def _holds_back(self, oid):
        """A new strip is not to come, and nobody here waits for it."""
        return self.room.may_be_short and (
            oid not in self._running or oid in self._optional)

    def _settled(self, oid):
        if self.inherits:
            self._renewed.add(oid)

    def _untold(self, oid, reach, behind, without, missed=standing.NEVER,
                replaced=past.NOTHING, spoilt=(), strips=None):
        """Who must be waited for (text), when the best copy here has every
        write up to the epoch ``reach``, and the nodes ``without`` have no
        copy; None when there is nobody. ``behind``: see ``past``.
        ``missed``: since which epoch that copy may have missed what was
        read. ``replaced``: node → the epoch up to which it does not know any
        more what its strip was; ``spoilt``: nodes that do not know it at all,
        or whose copy cannot be used. ``strips``: node → indexes of those that
        it has (of a coded object)."""
        cluster = self.cluster
        lost = {node: epoch for node, epoch in cluster.state.lost.items()
                if node in without}
        if strips is not None:
            lost.update(self._lost_strips(oid, strips))
        for node, epoch in replaced.items():
            lost[node] = max(epoch, lost.get(node, 0))
        view = past.untold(
            cluster.views, cluster.view,
            max(cluster.state.settled, reach + 1),
            lambda view: self._holders(view, oid), behind, lost, spoilt)
        if view is None and missed:
            # (A disk that was given up does not come back: it would be
            # waited for in vain.)
            view = past.unheard(
                cluster.views, cluster.view,
                max(cluster.state.settled, missed),
                lambda view: self._holders(view, oid))
        return None if view is None else self._wanting(view)

    def _lost_strips(self, oid, strips):
        """Node → the newest epoch of which it has not the strip that it had
        then, a disk of its being lost. (It may have another, or one that is
        being built in its place.)"""
        found = {}
        for node, epoch in self.cluster.state.lost.items():
            for view in self.cluster.views:
                nodes = [member.node for member in self._members(view, oid)]
                if view.epoch > epoch or node not in nodes:
                    continue
                index = slots.strips_of(nodes, oid, sum(
                    self.order.code(oid)))[nodes.index(node)]
                if index not in strips.get(node, ()):
                    found[node] = max(view.epoch, found.get(node, 0))
        return found

    def _stayed(self, oid, first):
        """See ``past.stayed``."""
        return past.stayed(self.cluster.views, self.cluster.view, first,
                           lambda view: self._holders(view, oid))

    def _kept(self, oid):
        """See ``past.kept``."""
        state = self.cluster.state
        if state.whole < state.settled:
            # What was begun by force since makes nothing whole.
            return {}
        return past.kept(self.cluster.views, self.cluster.view, state.whole,
                         lambda view: self._holders(view, oid), state.lost)

    def _wanting(self, view):
        return 'what epoch %d wrote %s %s' % (
            view.epoch, UNTOLD,
            ', '.join(past.missing(view, self.cluster.view,
                                   self.cluster.state.lost)))

    def _check_hidden(self, view):
        """:raises NotRecovered: there may be objects that nobody lists"""
        state = self.cluster.state
        living = [entry for entry in state.vdis.values()
                  if not state.is_dead(entry.vdi_id)]
        if living:
            before = past.hidden(
                self.cluster.views, view, state.settled,
                lambda view: min(entry.fewest_at(view.epoch)
                                 for entry in living), state.lost,
                # (Each looks for itself, and all must have ended.)
                {view.member(self.cluster.incarnation).node}
                if self.replica.store.journal_damaged else ())
            if before is not None:
                raise errors.NotRecovered(self._wanting(before))

    # -- changes of the cluster -----------------------------------------

    def on_freeze(self):
        pass

    def on_view(self, old, new, cold):
        # The first view of a cluster that was just formatted: there never
        # was a VDI. (A leader that died during a cold start at the first
        # epoch leaves the same signs, but for the VDIs.)
        is_new = old is None and not cold and not self.cluster.state.vdis
        is_trusted = is_new or (cold and self.cluster.clean_start)
        if self.wiping.begin(is_new):
            self.standing.lapse()
            # Its epochs go on, and so may the objects' ids: what was missed
            # of the old ones says nothing of the new.
            self.mover.behind.clear()
            self._fresh = new if is_new else None
            is_trusted = False
        store = self.replica.store
        if store.has_untold_loss or store.journal_damaged \
                or store.journal_torn:
            # (The cluster was stopped in order; the store perhaps was not.)
            is_trusted = False
        self._stop_announcing()
        # Whoever has come may have good copies.
        self.mover.irreparable.clear()
        self.replica.taken_back.clear()
        if old is not None:
            self.standing.drop_recovered(
                lambda oid: self.order.code(oid) is not None
                and self._names(old, oid) != self._names(new, oid))
        if cold:
            self._inherited = (self.cluster.state.sequence if is_trusted
                               else None)
            self._renewed.clear()
        self.standing.begin(new, is_trusted)
        self.grace.look()
        self.done = self.total = 0
        self._start(new)
        self.throttle.wake()

    def on_event(self, event):
        kind = event['kind']
        self.grace.look()
        if family.is_ending(event):
            # (With the last of those that came from others all may go; before
            # that, what none of them can name.)
            deleted = self._deleted()
            if deleted:
                self.world.spawn(self.space.reclaim(deleted), 'reclaim')
        elif kind == 'vdi-turning':
            self._reclaim_turned(event)
        elif kind == 'vdi-turned':
            self.world.spawn(self.space.reclaim([event['vdi_id']]),
                             'reclaim a former form')
        elif kind in ('vdi-create', 'vdi-begin'):
            self._look_for_remains(ids.vdi_oid(event['entry']['vdi_id']))
        elif kind == 'recovered':
            self.world.spawn(self.space.drop_strays(), 'drop stray copies')
        elif kind == 'resume':
            # The pass has ended when a next epoch was prepared.
            self._start(self.cluster.view)
        elif kind == 'settings':
            # Perhaps recovery was disabled, or enabled.
            self.throttle.wake()
            if self._pass is None or self._pass.done():
                self._start(self.cluster.view)

    def _reclaim_turned(self, event):
        entry = self.cluster.state.vdis.get(event['vdi_id'])
        for former in entry.former if entry else ():
            indexes = itertools.chain(event['copied'], range(
                event['begin'], event['below']))
            self.world.spawn(self.space.reclaim_some(
                ids.owner_of(entry.vdi_id, former.form),
                former.copies if former.copy_policy else 0, indexes),
                'reclaim what was turned')

    def _deleted(self):
        """Ids of deleted VDIs. (Of some others may have objects.)"""
        return [vdi_id for vdi_id, entry in self.cluster.state.vdis.items()
                if entry.deleted]

    def _look_for_remains(self, oid):
        """Of a creation that was refused, or cut short, in an earlier view:
        nobody knew what that was until now that there is such a VDI."""
        if (self.replica.store.version(oid) is not None
                and not self._is_target(self.cluster.view, oid)):
            self.space.look_again()
            self.world.spawn(self.space.drop_strays(), 'drop stray copies')

    def on_lapse(self):
        self._stop_announcing()
        self.throttle.wake()
        self.standing.lapse()
        self._inherited = None
        self._rings.clear()

    def on_shutdown(self):
        pass

    # -- the pass -------------------------------------------------------

    def _start(self, view):
        if view is None:
            return
        before, self._pass = self._pass, None
        self._pass = self.world.spawn(self._run(view, before), 'recovery')

    def _is_over(self, view):
        return (self.cluster.view is not view
                or self.replica.epoch != view.epoch)

    @property
    def is_postponed(self):
        """Recovery is disabled, and would have something to do. Then only
        doubtful copies are made whole, and what clients ask for."""
        settings = self.cluster.state.settings
        return (settings is not None and not settings.recovery_enabled
                and not self.standing.is_complete)

    async def _run(self, view, before):
        if before is not None and not before.done():
            # The pass of an earlier view ends by itself at its next step.
            await asyncio.wait([before])
        self.is_running = True
        account = account_module.Account(self.watcher, self.world.clock,
                                         view.epoch)
        attempts = 0
        said = ''
        try:
            while not self._is_over(view):
                try:
                    if self.is_postponed and not self.standing.doubtful():
                        LOG.info('recovery at epoch %d is disabled',
                                 view.epoch)
                        break
                    if await self._walk(view, account):
                        if not self._is_over(view):
                            account.finished()
                        break
                except errors.SheepdogError as exc:
                    self._note_obstacle(str(exc))
                    account.stuck(self.total - self.done, str(exc))
                    if str(exc) != said:
                        said = str(exc)
                        LOG.info('recovery at epoch %d waits: %s',
                                 view.epoch, said)
                if self._can_rest(view):
                    await self._rest(view)
                    continue
                attempts += 1
                for _ in range(min(attempts, PAUSES_MAX)):
                    if not self._is_over(view):
                        await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self.is_running = False
            self.waiting = {}
            self.obstacle = None
            self.room.forget()

    def _can_rest(self, view):
        return (not self._is_over(view) and not self.standing.doubtful()
                and self.grace.is_found((view, self.standing.losses)))

    async def _rest(self, view):
        """Until who is away is not waited for any more, or there is
        something else to do."""
        self.is_running = False
        self.obstacle = None
        said = self.grace.explain()
        if said != self._said:
            self._said = said
            LOG.info('recovery at epoch %d: %s', view.epoch, said)
        while self._can_rest(view) and not self.is_postponed:
            await asyncio.sleep(PAUSE_SECONDS)
        self.is_running = True

    def _note_obstacle(self, reason):
        since = (self.obstacle[0] if self.obstacle
                 else self.world.clock.time())
        self.obstacle = since, reason

    async def _walk(self, view, account):
        """One pass; True when every object is whole."""
        await self.wiping.wait()
        if self._is_over(view):
            return True
        self.check_told()
        losses = self.standing.losses
        if view is self._fresh and not self.standing.is_complete:
            # What anybody has written since waits here.
            self._complete(view)
        doubtful = self.standing.doubtful()
        wanted = dict.fromkeys(doubtful)
        is_postponed = self.is_postponed
        if not self.standing.is_complete and not is_postponed:
            if not self.grace.is_found((view, losses)):
                found = await self.wanted.find(
                    view, lambda: self._is_over(view))
                if self._is_over(view):
                    return True
                wanted.update(dict.fromkeys(found))
                self.grace.take_out(view, wanted, doubtful,
                                    self.standing.has_lost)
        held_back = await self.room.hold_back(view, wanted, doubtful)
        self.total = len(wanted)
        self.done = 0
        self.obstacle = None
        account.found(len(wanted))
        if wanted:
            LOG.info('recovery at epoch %d: %d objects', view.epoch,
                     len(wanted))
        queue = plan.queue([oid for oid in doubtful if oid in wanted],
                           wanted, set(ids.objects_of(
                               self.replica.store.oids())))
        failed = []
        self.estimate.begin(self.world.clock.monotonic())
        await throttle_module.Crew(
            self.world, self.throttle,
            lambda: self._make_next(queue, failed),
            lambda: (queue and not self._is_over(view)
                     and self.is_postponed == is_postponed)).run()
        if self._is_over(view):
            return True
        if failed:
            example = '%s: %s' % (ids.hex_oid(failed[0][0]), failed[0][1])
            LOG.info('recovery at epoch %d: %d objects are left, of them '
                     '%s', view.epoch, len(failed), example)
            account.stuck(len(failed), example)
            return False
        if held_back:
            account.stuck(held_back, self.room.short[1])
            return False
        if queue or is_postponed:
            # Recovery was disabled, or enabled, meanwhile; or it is still.
            return False
        if self.standing.losses != losses:
            # Of more than was looked for.
            return False
        if not self.standing.is_complete and self.grace.postponed:
            self.grace.found((view, losses))
            return False
        if not self.standing.is_complete:
            self._check_hidden(view)
            self._complete(view)
        if self.standing.active:
            # Doubts came up meanwhile.
            return False
        if self._announced is not view:
            await self.replica.store.power_loss_handled()
            self.settlement.forget_damage()
            await self._announce(view)
            self._announced = view
        return not self.standing.active

    def _complete(self, view):
        for oid in self._running:
            # What is under way may still change the copy: nobody may write
            # to it before.
            self.standing.doubt(oid)
        self.standing.complete(view)

    async def _make_next(self, queue, failed):
        oid = queue.pop()
        try:
            await self.ensure(oid)
        except errors.SheepdogError as exc:
            failed.append((oid, exc))
            since = (self.waiting[oid][0] if oid in self.waiting
                     else self.world.clock.time())
            self.waiting[oid] = since, str(exc)
        else:
            self.waiting.pop(oid, None)
            self.done += 1
            self.estimate.note(self.world.clock.monotonic(), self.done)

    async def _announce(self, view):
        """Tell all: when everybody has, copies that nobody needs may go."""
        # (Of what has another form by now, who was away may have the one
        # before.)
        doomed = [v for v, entry in sorted(self.cluster.state.vdis.items())
                  if entry.deleted or entry.form]
        if doomed:
            await self.space.reclaim(doomed)
        self._announcing = task = asyncio.ensure_future(self.cluster.execute(
            'recovered', {'incarnation': self.cluster.incarnation,
                          'epoch': view.epoch}))
        try:
            # (Another view ends it; then nobody is interested any more.)
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
        except errors.SheepdogError as exc:
            if not self._is_over(view):
                raise errors.NotRecovered(
                    'not announced: %s' % exc) from exc
        finally:
            task.cancel()
            self._announcing = None

    def _stop_announcing(self):
        """An earlier life, or view, is over: who would take it?"""
        if self._announcing is not None:
            self._announcing.cancel()
