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

"""Brings the strips of a coded object to one state.

Whatever happened to the object, its first target settles it: halt all
targets and ask what they have, decide (``agreement``), have the usable
strips rolled back to what all share, the others built of them, and then tell
all targets that a new generation begins. Any step may fail; then it begins
anew, perhaps by another. ``doc/source/design-erasure.rst`` says why nothing
is lost by that.
"""

import asyncio
import contextlib
import logging

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.recovery import agreement
from sheepdog.recovery import building
from sheepdog.recovery import calls
from sheepdog.recovery import orders
from sheepdog.recovery import past
from sheepdog.recovery import told
from sheepdog.recovery import torn
from sheepdog.store import history as store_history
from sheepdog.wire import peer as wire

LOG = logging.getLogger(__name__)

BUILD_SECONDS = 30.0


class Settlement:
    """``holders(epoch, oid)``: the stable ids of the object's targets in a
    past epoch, None where it is forgotten."""

    def __init__(self, cluster, replica, links, order, standing, untold,
                 holders, wiped, check_told, adopt, behind, holds_back,
                 settled):
        """``wiped()`` returns when nothing of an earlier cluster is here.
        ``adopt``, ``behind``: see ``Mover``. ``holds_back(oid)``: is it
        held back, as all would not fit (see ``room``)? ``settled(oid)`` is
        called when ours has begun a generation."""
        self.cluster = cluster
        self.replica = replica
        self.store = replica.store
        self.links = links
        self.order = order
        self.standing = standing
        self.untold = untold
        self.holders = holders
        self.wiped = wiped
        self.check_told = check_told
        self.behind = behind
        self.settled = settled
        self._count = 0
        self._halts = 0
        self._halted = {}
        self._halted_view = None
        self._sound = set()
        """Objects whose strips were settled since a journal was found to be
        damaged, or torn."""
        self._turns = {}
        self.builder = building.Builder(self, adopt, behind, holds_back)

    # -- as the first target --------------------------------------------

    async def settle(self, oid):
        """One attempt.

        :raises SheepdogError: not possible just now. NoRoom: it is settled,
            but without us
        """
        view = self.cluster.view
        self.check(view)
        data, parity = self.order.code(oid)
        targets = self._targets(oid, view)
        if len(targets) < data:
            raise errors.NotRecovered(
                'object %s: %d:%d needs storage in %d zones, there are %d'
                % (ids.hex_oid(oid), data, parity, data, len(targets)))
        heard = await self._ask_all(oid, view)
        self.check(view)
        states = self._believed(oid, view, heard)
        strips = [strip.seen_by(view.member(incarnation).node)
                  for incarnation, state in states.items()
                  for strip in state.strips if not strip.is_unknown]
        # (Who has a strip that cannot be told does not say that it has none;
        # nor that nobody has written more.)
        spoilt = {view.member(incarnation).node
                  for incarnation, state in states.items()
                  if any(strip.is_unknown for strip in state.strips)}
        verdict = agreement.decide(
            strips, data,
            frozenset(view.member(incarnation).node
                      for incarnation in states) - spoilt,
            lambda epoch: self.holders(epoch, oid),
            lambda generation: self._is_given_up(generation, view, states))
        if verdict.is_gone and any(state.strips for state in heard.values()):
            self._note_gone(oid, heard)
        wanting = self._waits_for(view, verdict) or self.untold(
            oid, verdict.reach,
            {view.member(incarnation).node: strip.forgotten.epoch
             for incarnation, state in states.items()
             for strip in state.strips if strip.is_left_out},
            (), replaced=verdict.forgetful(strips), spoilt=spoilt,
            # (One that is being built anew is not what was there before.)
            strips={view.member(incarnation).node: {
                strip.index for strip in state.strips
                if strip.generation != agreement.NONE}
                for incarnation, state in states.items()})
        if wanting:
            raise errors.NotRecovered('object %s: %s'
                                      % (ids.hex_oid(oid), wanting))
        await orders.Orders(self, oid, view, targets, states, verdict,
                            self._next(view, heard, verdict)).run()

    def _believed(self, oid, view, heard):
        """The states, where strips that have lost what was done to them last
        are as good as unknown."""
        names = {view.member(incarnation).node: incarnation
                 for incarnation, state in heard.items() if state.is_torn}
        if not names:
            return heard
        data, _ = self.order.code(oid)
        found = torn.forgetful(
            [strip.seen_by(view.member(incarnation).node)
             for incarnation, state in heard.items()
             for strip in state.strips if not strip.is_unknown],
            names, data, lambda epoch: self.holders(epoch, oid))
        states = dict(heard)
        for name in sorted({name for name, _ in found}):
            LOG.warning('object %s: what was done to it last is lost on node '
                        '%s', ids.hex_oid(oid), name)
            state = heard[names[name]]
            states[names[name]] = state._replace(strips=tuple(
                told.unknown(strip.index)
                if {(name, strip.index), (name, None)} & found else strip
                for strip in state.strips) or self._unknown(
                    oid, view, names[name]))
        return states

    def _unknown(self, oid, view, incarnation):
        """Of one that has none: it may have had one."""
        return told.unknown(self._targets(oid, view).get(incarnation, 0)),

    def _waits_for(self, view, verdict):
        """Why, and for whom: text; or ''."""
        if not verdict.wait:
            return ''
        for then in self.cluster.views:
            missing = past.missing(then, view, self.cluster.state.lost)
            if then.epoch == verdict.generation.epoch and missing:
                return '%s, and the others %s %s' % (
                    verdict.wait, past.UNTOLD, ', '.join(missing))
        return verdict.wait

    def _is_given_up(self, generation, view, states):
        """Recovery was forced since, and all who were there then are here
        with what they have. (One that cannot be told will never be known: a
        damaged journal is told of until all is recovered.)"""
        forced = self.cluster.state.forced
        if generation.epoch >= forced or any(
                strip.is_bad and not strip.is_unknown
                for state in states.values() for strip in state.strips):
            return False
        here = {member.node for member in view.members}
        return any(then.epoch == forced and here.issuperset(
            member.node for member in then.members)
            for then in self.cluster.views)

    def _note_gone(self, oid, states):
        forced = self.cluster.state.forced
        strips = [strip.index for state in states.values()
                  for strip in state.strips
                  if 0 < strip.generation.epoch < forced]
        if strips:
            LOG.error('object %s is lost: recovery was forced, and only its '
                      'strips %s were left, which are set aside',
                      ids.hex_oid(oid), sorted(strips))

    def _next(self, view, states, verdict):
        """A generation that nobody has heard of. (Who settled before us in
        this epoch may have been another process of ours.)"""
        self._count = 1 + max([self._count] + [
            generation.count for state in states.values()
            for strip in state.strips for generation in strip.generations()
            if generation.epoch == view.epoch])
        return agreement.Generation(view.epoch, self._count, verdict.is_gone)

    def _targets(self, oid, view):
        """Incarnation → index."""
        places = self.order.targets(oid)
        return dict(zip((view.members[i].incarnation for i in places),
                        self.order.strips(oid, places)))

    def check(self, view):
        calls.check_view(self.cluster, self.replica, view)

    async def _ask_all(self, oid, view):
        """Incarnation → told.State."""
        states = await calls.every(self._ask(view, m.incarnation, oid)
                                   for m in view.members)
        serial = self.order.serial(ids.vdi_of(oid))
        if any(state.serial != serial for state in states):
            raise errors.NotRecovered('object %s: a lock changes'
                                      % ids.hex_oid(oid))
        return {m.incarnation: state
                for m, state in zip(view.members, states)}

    async def _ask(self, view, incarnation, oid):
        if incarnation == self.cluster.incarnation:
            return await self._tell(oid)
        _, _, payload = await self.links.data(view.member(incarnation)).call(
            wire.STRIP_STATE, epoch=view.epoch, oid=oid,
            timeout=calls.CALL_SECONDS)
        return told.unpack_state(payload)

    async def give(self, view, incarnation, oid, opcode, order):
        if incarnation == self.cluster.incarnation:
            await self._obey(opcode, oid, order)
            return
        await self.links.data(view.member(incarnation)).call(
            opcode, epoch=view.epoch, oid=oid,
            payload=told.pack_order(order),
            timeout=BUILD_SECONDS if opcode == wire.STRIP_BUILD
            else calls.CALL_SECONDS)

    # -- as any member ---------------------------------------------------

    def handlers(self, slow):
        """For ``Server.register``."""
        def of(opcode):
            async def handler(request):
                await self._obey(opcode, request.oid,
                                 told.unpack_order(request.payload))
                return b''
            return slow(handler)

        async def state(request):
            return told.pack_state(await self._tell(request.oid))

        return {wire.STRIP_STATE: slow(state),
                **{opcode: of(opcode) for opcode in (
                    wire.STRIP_ALIGN, wire.STRIP_BUILD, wire.STRIP_SETTLE)}}

    @contextlib.asynccontextmanager
    async def _turn(self, oid):
        """One after the other, of each object."""
        turn = self._turns.setdefault(oid, [asyncio.Lock(), 0])
        turn[1] += 1
        try:
            async with turn[0]:
                yield
        finally:
            turn[1] -= 1
            if not turn[1]:
                del self._turns[oid]

    async def _obey(self, opcode, oid, order):
        """:raises SheepdogError: it is not done (to the end)"""
        key = ids.strip_key(oid, order.index)
        async with self._turn(oid):
            view = self.cluster.view
            self.check_halt(oid, order)
            if opcode == wire.STRIP_BUILD:
                await self.builder.build(oid, key, order)
            elif opcode == wire.STRIP_ALIGN:
                await self.store.align(key, order.generation,
                                       set(order.kept))
            else:
                await self._begin(oid, key, order)
            # Tokens are of a view: in another one they name writes of others.
            is_current = self.cluster.view is view
            self.replica.marks.replace(
                oid, order.marks if is_current else [],
                opcode == wire.STRIP_SETTLE)
            if opcode == wire.STRIP_SETTLE:
                self.replica.doomed.discard(oid)
                _, doubt = self._halted.get(oid, (0, None))
                self.settled(oid)
                if self._is_halted(oid, order):
                    del self._halted[oid]
                    self.behind.pop(oid, None)
                    self.builder.forget(oid)
                    if self.store.journal_damaged or self.store.journal_torn:
                        self._sound.add(oid)
                    self.standing.trust(oid, doubt)

    def _is_halted(self, oid, order):
        return self._halted_view is self.cluster.view \
            and self._halted.get(oid, (0,))[0] == order.halt

    def check_halt(self, oid, order):
        if not self._is_halted(oid, order):
            raise errors.NotRecovered(
                'object %s: another settlement has begun, or none'
                % ids.hex_oid(oid))

    def is_damaged(self, oid):
        """Nothing follows from its strips here."""
        return self.store.journal_damaged and oid not in self._sound

    def is_torn(self, oid):
        """Its strips here may lack what was done to them last."""
        return self.store.journal_torn and oid not in self._sound

    def lose(self, oids):
        """What was made anew of them is gone again."""
        self._sound.difference_update(oids)

    def forget_damage(self):
        """No journal is known to be damaged, or torn, any more."""
        self._sound.clear()

    def keys(self, oid):
        return [key for key in (ids.strip_key(oid, index)
                                for index in range(sum(
                                    self.order.code(oid) or ())))
                if self.store.version(key) is not None]

    async def _tell(self, oid):
        """Halt, and say what we have."""
        # What is still here of a cluster of before would count; and what
        # is built would go with it.
        await self.wiped()
        self.check_told()
        view = self.cluster.view
        is_target = self.cluster.incarnation in self._targets(oid, view)
        if is_target:
            self.standing.doubt(oid)
        if self._halted_view is not view:
            self._halted_view = view
            self._halted.clear()
        self._halts = halt = self._halts + 1
        # What is under way for another settlement ends where it is.
        self._halted[oid] = halt, self.standing.doubt_number(oid)
        async with self._turn(oid):
            strips = await self._strips(oid)
            if self.is_damaged(oid):
                # It may lack what it had: also all of it.
                strips = tuple(told.unknown(strip.index) for strip in strips
                               ) or self._unknown(
                                   oid, view, self.cluster.incarnation)
        if not strips and not is_target:
            # No order will come.
            self._halted.pop(oid, None)
        return told.State(strips, self.replica.marks.unstable(oid),
                          self.order.serial(ids.vdi_of(oid)), halt,
                          self.is_torn(oid))

    async def _strips(self, oid):
        """What there is when all that was begun is done: also of a strip
        that is just being made, of which the store has no version yet."""
        strips = []
        bad = self.store.bad_blocks()
        for index in range(sum(self.order.code(oid) or ())):
            key = ids.strip_key(oid, index)
            history = await self.store.history(key)
            state = await self.store.describe(key)
            if state is not None:
                strips.append(told.strip(
                    ids.strip_of(key), history or store_history.History(),
                    state, history is None or key in bad))
        return tuple(strips)

    async def _begin(self, oid, key, order):
        """A new generation; what is out of place goes."""
        generation = order.generation
        is_gone = generation[2]
        for other in self.keys(oid):
            if is_gone and await self._is_of_before_force(other):
                await self.store.set_aside(
                    other, 'too few strips were left when recovery was '
                    'forced', remove=True)
            elif other != key or is_gone:
                await calls.wait_for(self.store.remove, other)
        if is_gone:
            self.replica.births[oid] = generation
        else:
            await self.store.settle(key, generation)

    async def _is_of_before_force(self, key):
        history = await self.store.history(key)
        return history is not None and (
            0 < history.generation[0] < self.cluster.state.forced)
