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

"""Makes one of our copies whole: finds whom to follow, moves what differs.

Works against concurrent writes: changes for the object wait at the replica
until it is whole, and are applied then; a source that takes part of them
meanwhile hands their marks over with its content.
"""

import asyncio
import logging

import numpy

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import limits
from sheepdog.peer import answers as answers_module
from sheepdog.recovery import calls
from sheepdog.recovery import choice
from sheepdog.recovery import fetch as fetch_module
from sheepdog.recovery import standing as standing_module
from sheepdog.wire import peer as wire
from sheepdog.world import refusals

LOG = logging.getLogger(__name__)

ALIGN_SECONDS = 30.0
ROUNDS = 3


class Mover:
    """``moved_bytes`` counts what came over the wire. ``irreparable``:
    object → numbers of blocks that are bad in our copy and good in none."""

    def __init__(self, cluster, replica, links, order, standing, untold,
                 stayed, kept):
        """``untold(oid, reach, behind, without, missed, spoilt)``: who must be
        waited for (text) although the best copy here has all writes up to
        the epoch ``reach``, or None; ``behind``: see ``past``; ``without``:
        the nodes that have no copy; ``missed``: since which epoch that copy
        may have missed what was read; ``spoilt``: the nodes whose copy cannot
        be used. ``stayed(oid, first)``: see
        ``past.stayed``; ``kept(oid)``: see ``past.kept``."""
        self.cluster = cluster
        self.replica = replica
        self.store = replica.store
        self.links = links
        self.order = order
        self.standing = standing
        self.untold = untold
        self.stayed = stayed
        self.kept = kept
        self.moved_bytes = 0
        self.irreparable = {}
        self.on_irreparable = None
        """Called with an object and its blocks that are bad in all copies.
        """
        self.complaints = refusals.Refusals(replica.world.clock, LOG)
        """Of sources that cannot be read: tried again all the time."""
        self.slow = frozenset()
        """Incarnations that are not followed if others will do."""
        self._aligning = {}
        self._adopting = set()
        self.behind = {}
        """Objects whose copy here is not whole, and cannot be for want of
        room → since which epoch: the others go on without it."""
        self.settlement = None
        """A ``settlement.Settlement``: for what is kept in strips."""

    async def describe(self, oid):
        """What STATE answers about our copy, or strip."""
        state = await self._state(oid)
        standing = self.standing
        through = standing.through(oid, self.replica.epoch)
        more = {}
        apart = standing.apart(oid)
        if apart[2]:
            through = min(through, apart[0] - 1)
        if apart[0]:
            more['apart'] = list(apart)
        if state is not None and not state.capacity or (
                self.store.journal_damaged
                and through == standing_module.NEVER):
            # It cannot be used; or may lack what it had, even all of it.
            more['spoilt'] = True
        if self.store.journal_torn and through == standing_module.NEVER:
            more['torn'] = True
        return {
            **more,
            'exists': state is not None,
            'version': state.version if state else 0,
            'capacity': state.capacity if state else 0,
            'digest': state.digest.hex() if state else '',
            'bad': 0 if state is None or state.whole else 1,
            'uncertain': state.uncertain if state else 0,
            'power_lost': self.store.power_lost,
            'clean': standing.is_clean(oid),
            'through': through,
            'marks': self.replica.marks.unstable(oid),
            'behind': self.behind.get(oid, 0),
            'serial': self.order.serial(ids.vdi_of(oid)),
        }

    async def _state(self, oid):
        key = self.key(oid)
        return None if key is None else await self.store.describe(key)

    def key(self, oid):
        """Under which our copy, or strip, is in the store; None: none of its
        strips is for us."""
        if self.order.code(oid) is None:
            return oid
        if not self.cluster.serving():
            # (Its view may not be that of its ring. Nobody will hear this.)
            return None
        members = self.cluster.view.members
        places = self.order.targets(oid)
        for place, index in zip(places, self.order.strips(oid, places)):
            if members[place].incarnation == self.cluster.incarnation:
                return ids.strip_key(oid, index)
        return None

    async def make_whole(self, oid):
        """One attempt.

        :raises SheepdogError: NotRecovered or another transient one when it
            is not possible just now; NoSpace when it does not fit
        """
        if self.order.code(oid) is not None:
            await self._make_settled(oid)
            return
        for _ in range(ROUNDS):
            view = self.cluster.view
            doubt = self.standing.doubt_number(oid)
            losses = self.standing.losses
            self._check(view)
            try:
                is_whole = await self._fitting(oid, view,
                                               self._attempt(oid, view))
            except errors.NoRoom as exc:
                self._wait_if_failing(exc)
                raise
            if is_whole:
                self._check(view)
                if oid in self._aligning or losses != self.standing.losses:
                    # Whatever we have now is about to be replaced, or gone.
                    continue
                self.standing.trust(oid, doubt)
                self.behind.pop(oid, None)
                if self.standing.doubt_number(oid) is None:
                    self.replica.taken_back.pop(oid, None)
                return
        raise errors.NotRecovered('object %s: no whole copy within reach'
                                  % ids.hex_oid(oid))

    async def _fitting(self, oid, view, attempt):
        """
        :raises NoRoom: there is no room for the copy that the others have,
            nor has ours all that was acknowledged; or the disk fails, and is
            given up only once the others have recovered. Now they know
        """
        try:
            return await attempt
        except errors.NoSpace as exc:
            self._check(view)
            if self.standing.through(oid, view.epoch) == view.epoch:
                raise
            error = exc
        except errors.StorageError as exc:
            self._check(view)
            if self.store.device_error is None:
                raise
            # Ours has what was acknowledged, perhaps, but what others have
            # will be read without it.
            self.standing.part(oid, view.epoch, standing_module.UNSURE, True)
            error = exc
        self.behind.setdefault(oid, view.epoch)
        raise errors.NoRoom(str(error)) from error

    async def _make_settled(self, oid):
        """The same for a coded object: its first target settles it."""
        view = self.cluster.view
        self._check(view)
        if self.is_deleted(oid):
            for key in self.store.oids():
                if ids.object_of(key) == oid:
                    await calls.wait_for(self.store.remove, key)
            self.behind.pop(oid, None)
            self.standing.trust(oid, self.standing.doubt_number(oid))
            return
        targets = [view.members[i] for i in self.order.targets(oid)]
        ours = self.cluster.incarnation
        if all(member.incarnation != ours for member in targets):
            # It is not for us any more.
            self.standing.trust(oid, self.standing.doubt_number(oid))
            return
        try:
            await self._settle_strips(oid, view, targets[0])
        except errors.NoRoom as exc:
            self._wait_if_failing(exc)
            raise

    def _wait_if_failing(self, error):
        """There will be room once the disk that fails is given up.

        :raises NotServing:
        """
        if self.store.device_error is not None:
            raise errors.NotServing(str(error)) from error

    async def _settle_strips(self, oid, view, first):
        for _ in range(ROUNDS):
            if oid in self.behind:
                # (Each attempt halts the others for a moment.)
                await self.settlement.builder.check_room(
                    oid, self.key(oid))
            if first.incarnation == self.cluster.incarnation:
                await self.settlement.settle(oid)
            else:
                await self._have_settled(oid, view, first)
            if self.standing.is_clean(oid):
                return
            self._check(view)
            if oid not in self.behind:
                raise errors.NotRecovered('object %s: not settled yet'
                                          % ids.hex_oid(oid))
            # Without ours, which others could do without when they asked.
        raise errors.NoRoom('object %s does not fit here'
                            % ids.hex_oid(oid))

    async def _have_settled(self, oid, view, first):
        try:
            await self.links.data(first).call(
                wire.STRIP_RECOVER, epoch=view.epoch, oid=oid,
                timeout=ALIGN_SECONDS)
        except errors.SheepdogError:
            # Has it settled ours, and has no room itself, say?
            if not self.standing.is_clean(oid):
                raise

    def _check(self, view):
        calls.check_view(self.cluster, self.replica, view)

    async def _attempt(self, oid, view):
        """True when our copy is whole now."""
        if self.is_deleted(oid):
            await self._drop(oid)
            return True
        epoch = view.epoch
        ours = self.cluster.incarnation
        targets = [view.members[i] for i in self.order.targets(oid)]
        others = [m for m in targets if m.incarnation != ours]
        answers = await self._answers(others, oid, epoch)
        clean = [(m, s) for m, s in zip(others, answers)
                 if isinstance(s, dict) and s['clean']]
        if clean:
            clean = self._without_refused(oid, clean)
            # It has all that counts, whatever the others say. (Whoever is
            # damaged itself comes last; before it, who is slow.)
            clean.sort(key=lambda source: (
                source[1]['bad'], source[0].incarnation in self.slow))
            known = [m for m, _ in clean]
            return await self._follow(oid, view, clean, (
                m for m in view.members
                if m not in known and m.incarnation != ours))
        states = _checked(answers)
        is_target = len(others) < len(targets)
        if is_target and await self._is_settled(oid, view, targets):
            return False
        return await self._settle(oid, view, targets, others, states)

    async def _is_settled(self, oid, view, targets):
        """The first target settles what the others follow, so that all
        come to the same; or the next one, where it has no room. False: it
        is for us to do."""
        ours = self.cluster.incarnation
        for member in targets:
            if member.incarnation == ours:
                if oid not in self.behind:
                    return False
                continue
            try:
                await self.links.data(member).call(
                    wire.RECOVER, epoch=view.epoch, oid=oid,
                    timeout=calls.CALL_SECONDS)
            except errors.NoRoom:
                continue
            return True
        if targets[0].incarnation != ours:
            raise errors.NoRoom('object %s: nobody has room for it'
                                % ids.hex_oid(oid))
        return False

    async def is_whole_elsewhere(self, oid):
        """Another target has a copy that can be read."""
        view = self.cluster.view
        others = [member for member in (
            view.members[i] for i in self.order.targets(oid))
            if member.incarnation != self.cluster.incarnation]
        return any(isinstance(state, dict) and state['clean']
                   and state['exists'] and not state['bad']
                   for state in await self._answers(others, oid, view.epoch))

    def _without_refused(self, oid, clean):
        """Those of the sources that do not hold what is being taken back.
        (Its gateway tells one after the other that others refused a write:
        who hears of it first must not follow who has not heard yet.)

        :raises NotRecovered: there is none as yet
        """
        refused = self.replica.taken_back.get(oid)
        if not refused:
            return clean
        without = [source for source in clean
                   if refused.isdisjoint(source[1]['marks'])]
        if not without:
            raise errors.NotRecovered('object %s: a refused write is being '
                                      'taken back' % ids.hex_oid(oid))
        return without

    async def _settle(self, oid, view, targets, others, states):
        """No target is clean, and the choice is ours: look everywhere."""
        epoch = view.epoch
        ours = self.cluster.incarnation
        known = {m.incarnation for m in targets}
        rest = [m for m in view.members
                if m.incarnation not in known and m.incarnation != ours]
        states = dict(zip([m.incarnation for m in others + rest],
                          states + await self._ask(rest, oid, epoch)))
        states[ours] = await self.describe(oid)
        order = ([m.incarnation for m in targets]
                 + [m.incarnation for m in rest] + [ours])
        until = self.stayed(oid, max(s['version'] for s in states.values()))
        candidates = [
            choice.Candidate(i, s['exists'], s['through'], s['version'],
                             s['bad'], s['uncertain'], order.index(i),
                             s['power_lost'],
                             until.get(view.member(i).node, 0),
                             tuple(s.get('apart', standing_module.TOGETHER)),
                             s['digest'], s.get('torn', False))
            for i, s in states.items()]
        spoilt = {i for i, s in states.items() if s.get('spoilt')}
        best, wanting = self._best(oid, view, states, candidates, spoilt)
        if spoilt and not wanting and not (best and self._is_known(
                oid, view, states, best, spoilt)):
            # All who know better are here, and there is none.
            best, wanting = self._best(oid, view, states, candidates, ())
        if wanting:
            raise errors.NotRecovered('object %s: %s'
                                      % (ids.hex_oid(oid), wanting))
        missed = best.apart[0] if best and best.apart[2] else 0
        if missed:
            kept = self.kept(oid)
            best = choice.instead(best, missed, [
                (c, kept.get(view.member(c.incarnation).node, 0))
                for c in candidates if c.incarnation not in spoilt])
            if best is None:
                raise errors.NotRecovered(
                    'object %s: copies differ, and it cannot be told which '
                    'of them was read since epoch %d'
                    % (ids.hex_oid(oid), missed))
        if best is None:
            await self._drop(oid)
        elif best.incarnation != ours:
            member = view.member(best.incarnation)
            if not await self._follow(
                    oid, view, [(member, states[best.incarnation])],
                    [m for m in others + rest if m is not member]):
                return False
        self.standing.join(oid)
        if not any(s['exists'] and not s['bad']
                   for i, s in states.items() if i != ours):
            # (Else another copy may mend ours when it is clean itself.)
            self._note_damage(oid)
        if len(others) < len(targets):
            await self._align_all(oid, view, others)
        return True

    def _best(self, oid, view, states, candidates, spoilt):
        """The candidate to follow, of those that are not ``spoilt``, and who
        must be waited for (text)."""
        best = choice.choose(choice.weigh([
            candidate for candidate in candidates
            if candidate.incarnation not in spoilt]))
        return best, self._wanting(
            oid, view, states, best,
            spoilt={view.member(i).node for i in spoilt})

    def _is_known(self, oid, view, states, best, spoilt):
        """What was written since that copy's last write is not only on those
        that are spoilt."""
        return not self._wanting(
            oid, view, states, best, replaced={
                view.member(i).node: view.epoch for i in spoilt})

    def _wanting(self, oid, view, states, best, **more):
        return self.untold(
            oid, choice.reach_of(best) if best else 0,
            {view.member(i).node: s['behind']
             for i, s in states.items() if s['behind']},
            {view.member(i).node for i, s in states.items()
             if not s['exists']},
            best.apart[0] if best and best.apart[2] else 0, **more)

    async def _align_all(self, oid, view, others):
        """What was chosen may hold a write that was never acknowledged. A
        read that shows it binds all copies, so it must be on all of them
        before there is one: who is left alone later decides by its own.

        Who has no room for it knows that it is behind, and does not decide.

        :raises SheepdogError: one of them cannot, just now
        """
        answers = await asyncio.gather(
            *(self.links.data(m).call(wire.ALIGN, epoch=view.epoch, oid=oid,
                                      timeout=ALIGN_SECONDS)
              for m in others), return_exceptions=True)
        _checked([answer for answer in answers
                  if not isinstance(answer, errors.NoRoom)])
        self._check(view)

    async def align(self, oid, settler):
        """Make our copy equal to the settler's, without trusting it yet.

        :raises SheepdogError: not possible just now
        """
        view = self.cluster.view
        self._check(view)
        member = view.member(settler)
        if member is None or self.standing.is_clean(oid):
            # Who settles has not heard of all; it will ask again.
            raise errors.NotRecovered('object %s: nothing to align with'
                                      % ids.hex_oid(oid))
        # Nobody may take it for clean until we are done, and write to it.
        self.standing.doubt(oid)
        self._aligning[oid] = self._aligning.get(oid, 0) + 1
        try:
            states = await self._ask([member], oid, view.epoch)
            self._check(view)
            if not await self._fitting(oid, view, self._follow(
                    oid, view, [(member, states[0])], [])):
                raise errors.NotRecovered('object %s changed meanwhile'
                                          % ids.hex_oid(oid))
            self.standing.join(oid)
        finally:
            self._aligning[oid] -= 1
            if not self._aligning[oid]:
                del self._aligning[oid]

    async def _ask(self, members, oid, epoch):
        """STATE of each.

        :raises SheepdogError: one of them cannot answer
        """
        return _checked(await self._answers(members, oid, epoch))

    async def _answers(self, members, oid, epoch):
        """STATE of each, or the error why one cannot answer, or not yet
        with what we know of the VDI's lock."""
        answers = await asyncio.gather(
            *(self.links.data(m).call(wire.STATE, epoch=epoch, oid=oid,
                                      timeout=calls.CALL_SECONDS)
              for m in members), return_exceptions=True)
        serial = self.order.serial(ids.vdi_of(oid))
        states = []
        for answer in answers:
            state = answer
            if not isinstance(answer, BaseException):
                try:
                    state = answers_module.unpack_state(answer[2])
                except errors.CorruptFrame as exc:
                    states.append(exc)
                    continue
                if state['serial'] != serial:
                    # A change of the lock makes copies doubtful.
                    state = errors.NotRecovered('object %s: a lock changes'
                                                % ids.hex_oid(oid))
            states.append(state)
        return states

    def is_deleted(self, oid):
        """Of a deleted VDI, or of a form that it has no objects of: nobody
        needs it any more."""
        return self.cluster.state.is_gone(oid)

    async def _drop(self, oid):
        """It should be nowhere. Of a deleted VDI that is explained; else it
        was removed while we were away, or is the last that is not lost."""
        if self.is_deleted(oid):
            await calls.wait_for(self.store.remove, oid)
        else:
            await self.store.set_aside(oid, 'the copies to follow are not '
                                       'there', remove=True)
        self.replica.marks.replace(oid, [])

    async def _follow(self, oid, view, sources, helpers):
        """Make our copy equal to the first source's; the others help with
        blocks that it cannot read, and so do the ``helpers`` where theirs
        match its checksums. False: it has changed too much meanwhile, try
        again."""
        try:
            return await self._follow_now(oid, view, sources, helpers)
        except errors.NoObject:
            # It was removed there.
            return False

    async def _follow_now(self, oid, view, sources, helpers):
        epoch = view.epoch
        source, state = sources[0]
        if not state['exists']:
            self._check(view)
            await self._drop(oid)
            return True
        capacity = state['capacity']
        pieces, zeroes, lost, is_base = [], [], {}, True
        final = None
        if await self._is_equal(oid, state):
            final = (await self._ask([source], oid, epoch))[0]
        if final is None or final['digest'] != state['digest']:
            pieces, zeroes, lost, is_base = await self._fetch_differing(
                oid, epoch, capacity, [m for m, _ in sources], helpers)
            if state['clean'] and (
                    self.standing.doubt_number(oid) is not None
                    or self.standing.apart(oid)[0]):
                # That one is read, without what ours is doubtful for. (Who
                # was only away lacks nothing that may be read already. What
                # cannot be read for us is not read for anybody.)
                self.standing.part(oid, epoch, standing_module.UNSURE, True)
            # Marks of the writes that came to the source while we copied:
            # they may be in what we have, in part, and make us doubt it
            # likewise.
            final = (await self._ask([source], oid, epoch))[0]
        self._check(view)
        if state['clean'] and not final['clean']:
            return False
        lost = await self._give_up(oid, epoch, lost, is_base, final['bad'])
        state = await self.store.describe(oid)
        if (pieces or zeroes or lost or state is None
                or state.version != final['version']):
            await self.adopt(view, oid, final['version'], capacity, pieces,
                             keep=is_base, zeros=zeroes,
                             lost=sorted(lost.items()))
            if final['clean'] and final['marks']:
                # Nor may we take its place with writes that have come from
                # it, and may not be everywhere (until we are whole).
                self.standing.part(oid, epoch, standing_module.UNSURE, True)
            if self.is_deleted(oid):
                # Whoever gave its space back did not see this yet.
                await self._drop(oid)
                return True
            self._check(view)
        if self.order.serial(ids.vdi_of(oid)) != final['serial']:
            # The change may have made the source doubtful, but not us, who
            # had other marks at that moment.
            return False
        self._note_damage(oid)
        self.replica.marks.replace(oid, final['marks'])
        return True

    async def _give_up(self, oid, epoch, lost, is_base, is_known):
        """Blocks (with the checksums that the source has for them) that
        nobody can read: those that are to be bad in our copy as well. The
        rest of an object is not to wait for them.

        :param is_known: the source has found blocks of its copy to be bad;
            what it cannot read just now may be read again
        :raises NotRecovered:
        """
        is_ours_else = self._is_ours_else(oid, lost)
        if (is_base and self.standing.through(oid, epoch) == epoch
                and (is_known or not is_ours_else)):
            # Ours has all that was acknowledged: it stays as it is.
            return {}
        if lost and not is_known:
            raise errors.NotRecovered(
                'object %s: there is no good copy of blocks %s'
                % (ids.hex_oid(oid), list(lost)[:8]))
        if is_base and is_ours_else:
            await self.store.set_aside(
                oid, 'older than blocks that no copy has')
        return lost

    async def _is_equal(self, oid, state):
        """Our copy has the same checksums as one whose STATE is this."""
        mine = await self.store.describe(oid)
        return (mine is not None and mine.whole
                and mine.capacity == state['capacity']
                and mine.digest.hex() == state['digest'])

    async def _fetch_differing(self, oid, epoch, capacity, sources, helpers):
        """``(pieces, zeroes, lost, is_base)``: (offset, data), (offset,
        size), {block that nobody can read: its checksum}, and whether all
        that is to go over the content that we have."""
        try:
            _, _, table = await self.links.data(sources[0]).call(
                wire.TABLE, epoch=epoch, oid=oid, timeout=calls.CALL_SECONDS)
        except errors.StorageError as exc:
            raise errors.NotRecovered('object %s: %s' % (
                ids.hex_oid(oid), exc)) from exc
        answers_module.check_table(table, capacity)
        theirs = numpy.frombuffer(table, dtype='<u4')
        differing, is_base = await self._differing(oid, capacity, theirs)
        if len(differing) or not is_base:
            self.store.check_room(
                oid, int(numpy.count_nonzero(theirs)) * limits.BLOCK_BYTES,
                capacity, self.cluster.state.settings.avoid_full)
        fetch = fetch_module.Fetch(self, oid, epoch, sources, helpers, theirs)
        zeroes = []
        for first, count, is_zero in fetch_module.runs(differing, theirs):
            offset = first * limits.BLOCK_BYTES
            size = min(count * limits.BLOCK_BYTES, capacity - offset)
            if is_zero:
                zeroes.append((offset, size))
            else:
                await fetch.fetch(offset, size)
        return (fetch.pieces, zeroes,
                {block: int(theirs[block]) for block in fetch.lost}, is_base)

    async def adopt(self, view, *what, **more):
        """``store.adopt``, of what was found out in that view."""
        self._check(view)
        under_way = asyncio.get_running_loop().create_future()
        self._adopting.add(under_way)
        try:
            await self.store.adopt(*what, **more)
            oid = ids.object_of(what[0])
            if ids.strip_of(what[0]) >= 0 and self.is_deleted(oid):
                # Whoever gave its space back did not see this yet.
                await calls.wait_for(self.store.remove, what[0])
        finally:
            self._adopting.discard(under_way)
            under_way.set_result(None)

    async def adopted(self):
        """Returns when what was being adopted is, or is not."""
        if self._adopting:
            await asyncio.wait(list(self._adopting))

    def _is_ours_else(self, oid, blocks):
        """What we have there is good, but not what the source has: kept, it
        would be taken for the same."""
        bad = self.store.bad_blocks().get(oid, ())
        return any(block not in bad for block in blocks)

    def _note_damage(self, oid):
        """Our copy is as good as it can be: what is bad still?"""
        blocks = self.store.bad_blocks().get(oid)
        if blocks:
            if self.irreparable.get(oid) != blocks:
                if self.on_irreparable is not None:
                    self.on_irreparable(oid, blocks)
                LOG.error('object %s: no copy is good in blocks %s: writing '
                          'them anew mends them', ids.hex_oid(oid),
                          blocks[:20])
            self.irreparable[oid] = blocks
        else:
            self.irreparable.pop(oid, None)

    def is_repairable(self, oid):
        """Another copy may be good where ours is known to be bad."""
        return (oid not in self.irreparable
                or self.store.bad_blocks().get(oid) != self.irreparable[oid])

    async def _differing(self, oid, capacity, theirs):
        """``(blocks, is_base)``: sorted numbers of the blocks that we must
        take over, and whether that is over the content that we have."""
        state = await self.store.describe(oid)
        if state is None or state.capacity != capacity:
            return numpy.flatnonzero(theirs), False
        mine = numpy.frombuffer(await self.store.table(oid), dtype='<u4')
        differing = mine != theirs
        for block in self.store.bad_blocks().get(oid, ()):
            differing[block] = True
        return numpy.flatnonzero(differing), True


def _checked(answers):
    """Nothing may be concluded from the others alone."""
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers
