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
import logging

from sheepdog.erasure import codec as codecs
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.recovery import agreement
from sheepdog.recovery import calls
from sheepdog.store import history as store_history
from sheepdog.wire import peer as wire
from sheepdog.wire import strips as strips_wire

LOG = logging.getLogger(__name__)

CALL_SECONDS = 10.0
BUILD_SECONDS = 30.0
PIECE_BYTES = 64 << 10
"""Of each strip, decoded at once: see ``erasure.codec``."""


class Settlement:
    """``holders(epoch, oid)``: the stable ids of the object's targets in a
    past epoch, None where it is forgotten."""

    def __init__(self, cluster, replica, links, order, standing, untold,
                 holders):
        self.cluster = cluster
        self.replica = replica
        self.store = replica.store
        self.links = links
        self.order = order
        self.standing = standing
        self.untold = untold
        self.holders = holders
        self.moved_bytes = 0
        self._count = 0
        self._halted = {}

    # -- as the first target --------------------------------------------

    async def settle(self, oid):
        """One attempt.

        :raises SheepdogError: not possible just now
        """
        view = self.cluster.view
        self.check(view)
        data, parity = self.order.code(oid)
        targets = self._targets(oid, view)
        if len(targets) < data:
            raise errors.NotRecovered(
                'object %s: %d:%d needs storage in %d zones, there are %d'
                % (ids.hex_oid(oid), data, parity, data, len(targets)))
        told = await self._ask_all(oid, view)
        self.check(view)
        found = {}
        for member, answer in told:
            for strip in answer['strips']:
                found[member.incarnation, strip['index']] = strip
        verdict = agreement.decide(
            [_strip_of(view.member(incarnation), strip)
             for (incarnation, _), strip in found.items()
             if not strip['bad']], data,
            frozenset(m.node for m, _ in told),
            lambda epoch: self.holders(epoch, oid))
        wanting = verdict.wait or self.untold(oid, verdict.generation.epoch)
        if wanting:
            raise errors.NotRecovered('object %s: %s'
                                      % (ids.hex_oid(oid), wanting))
        self._count += 1
        generation = [view.epoch, self._count, verdict.is_gone]
        marks = _common([answer['marks'] for m, answer in told
                         if m.incarnation in targets])
        if not verdict.is_gone:
            await self._align(oid, view, targets, verdict, found, generation)
        await self._each(view, [(incarnation, wire.STRIP_SETTLE, {
            'index': index, 'generation': generation, 'marks': marks})
            for incarnation, index in targets.items()], oid)

    def _targets(self, oid, view):
        """Incarnation → index."""
        places = self.order.targets(oid)
        return dict(zip((view.members[i].incarnation for i in places),
                        self.order.strips(oid, places)))

    def check(self, view):
        if view is None or self.cluster.view is not view:
            raise errors.StaleEpoch('the view has changed')
        error = self.replica.check_epoch(view.epoch)
        if error is not None:
            raise error

    async def _ask_all(self, oid, view):
        answers = await asyncio.gather(
            *(self._call(view, m.incarnation, wire.STRIP_STATE, oid, {})
              for m in view.members), return_exceptions=True)
        serial = self.order.serial(ids.vdi_of(oid))
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            if answer['serial'] != serial:
                raise errors.NotRecovered('object %s: a lock changes'
                                          % ids.hex_oid(oid))
        return list(zip(view.members, answers))

    async def _align(self, oid, view, targets, verdict, found, generation):
        usable = {}
        orders = []
        by_holder = {m.node: m.incarnation for m in view.members}
        for strip in verdict.usable:
            incarnation = by_holder[strip.holder]
            usable[incarnation, strip.index] = found[incarnation,
                                                     strip.index]
            kept = [number for number in strip.numbers
                    if number in verdict.kept or number < verdict.floor
                    or strip.generation != verdict.generation]
            orders.append((incarnation, wire.STRIP_ALIGN, {
                'index': strip.index, 'kept': kept,
                'generation': generation if targets.get(incarnation)
                == strip.index else list(store_history.NONE)}))
        await self._each(view, orders, oid)
        self.check(view)
        sources = [[incarnation, index] for incarnation, index in usable]
        some = next(iter(usable.values()))
        version = max(strip['version'] for strip in usable.values())
        await self._each(view, [(incarnation, wire.STRIP_BUILD, {
            'index': index, 'generation': generation, 'sources': sources,
            'capacity': some['capacity'], 'version': version})
            for incarnation, index in targets.items()
            if (incarnation, index) not in usable], oid, BUILD_SECONDS)
        self.check(view)

    async def _each(self, view, orders, oid, seconds=CALL_SECONDS):
        answers = await asyncio.gather(
            *(self._call(view, incarnation, opcode, oid, message, seconds)
              for incarnation, opcode, message in orders),
            return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def _call(self, view, incarnation, opcode, oid, message,
                    seconds=CALL_SECONDS):
        if incarnation == self.cluster.incarnation:
            return await self._here(opcode, oid, message)
        _, _, payload = await self.links.data(view.member(incarnation)).call(
            opcode, epoch=view.epoch, oid=oid,
            payload=wire.pack_json(message), timeout=seconds)
        return wire.unpack_json(payload) if payload else {}

    # -- as any member ---------------------------------------------------

    def handlers(self, slow):
        """For ``Server.register``."""
        def of(opcode):
            async def handler(request):
                message = wire.unpack_json(request.payload)
                try:
                    answer = await self._here(opcode, request.oid, message)
                except (KeyError, TypeError, ValueError) as exc:
                    raise errors.InvalidParameters(repr(exc)) from exc
                return wire.pack_json(answer) if answer else b''
            return slow(handler)

        return {opcode: of(opcode) for opcode in (
            wire.STRIP_STATE, wire.STRIP_ALIGN, wire.STRIP_BUILD,
            wire.STRIP_SETTLE)}

    async def _here(self, opcode, oid, message):
        if opcode == wire.STRIP_STATE:
            return await self._tell(oid)
        key = ids.strip_key(oid, message['index'])
        generation = tuple(message['generation'])
        if opcode == wire.STRIP_ALIGN:
            await self.store.align(key, generation, set(message['kept']))
        elif opcode == wire.STRIP_BUILD:
            await self._build(oid, key, generation, message)
        else:
            await self._begin(oid, key, generation, message['marks'])

    def _keys(self, oid):
        return [key for key in (ids.strip_key(oid, index)
                                for index in range(sum(
                                    self.order.code(oid) or ())))
                if self.store.version(key) is not None]

    async def _tell(self, oid):
        """Halt, and say what we have."""
        if self.cluster.incarnation in self._targets(oid, self.cluster.view):
            self.standing.doubt(oid)
        self._halted[oid] = self.standing.doubt_number(oid)
        strips = []
        bad = self.store.bad_blocks()
        for key in self._keys(oid):
            history = await self.store.history(key)
            state = await self.store.describe(key)
            if state is None:
                continue
            known = history or store_history.History()
            strips.append({
                'index': ids.strip_of(key), 'generation': known.generation,
                'nexts': known.nexts, 'forgotten': known.forgotten,
                'floor': known.floor, 'numbers': sorted(known.open),
                'version': state.version, 'capacity': state.capacity,
                'bad': history is None or key in bad})
        return {'strips': strips,
                'marks': self.replica.marks.unstable(oid),
                'serial': self.order.serial(ids.vdi_of(oid))}

    async def _build(self, oid, key, generation, message):
        """Our strip, of the sources' strips."""
        view = self.cluster.view
        self.check(view)
        code = codecs.codec_of(*self.order.code(oid))
        index = ids.strip_of(key)
        capacity = message['capacity']
        sources = {}
        for incarnation, number in message['sources']:
            if view.member(incarnation) is not None:
                sources.setdefault(number, incarnation)
        if index in sources:
            sources = {index: sources[index]}
        else:
            sources = dict(sorted(sources.items())[:code.data])
        pieces = []
        for start in range(0, capacity, PIECE_BYTES):
            size = min(PIECE_BYTES, capacity - start)
            parts = dict(zip(sources, await asyncio.gather(*(
                self._fetch(oid, view, incarnation, number, start, size)
                for number, incarnation in sources.items()))))
            piece = code.restore(parts, [index])[index]
            if any(piece):
                pieces.append((start, piece))
            self.check(view)
        before = await self.store.history(key)
        history = store_history.History()
        history.nexts = (generation,)
        if before is not None:
            history.forgotten = max((before.forgotten, before.generation)
                                    + before.nexts)
        await self.store.adopt(key, message['version'], capacity, pieces,
                               keep=False, history=history)
        self.check(view)

    async def _fetch(self, oid, view, incarnation, index, offset, size):
        if incarnation == self.cluster.incarnation:
            return await calls.read(self.store, ids.strip_key(oid, index),
                                    offset, size)
        _, _, data = await self.links.data(view.member(incarnation)).call(
            wire.STRIP_READ, epoch=view.epoch, oid=oid, offset=offset,
            aux=size, flags=strips_wire.flags_of(index, wire.FLAG_RECOVERY),
            timeout=CALL_SECONDS)
        if len(data) != size:
            raise errors.CorruptFrame('%d bytes instead of %d'
                                      % (len(data), size))
        self.moved_bytes += size
        return bytes(data)

    async def _begin(self, oid, key, generation, marks):
        """A new generation; what is out of place goes."""
        if oid not in self._halted:
            raise errors.NotRecovered('object %s: it was not halted'
                                      % ids.hex_oid(oid))
        halted = self._halted[oid]
        is_gone = generation[2]
        for other in self._keys(oid):
            if other != key or is_gone:
                await calls.wait_for(self.store.remove, other)
        if is_gone:
            self.replica.births[oid] = generation
        else:
            await self.store.settle(key, generation)
        self.replica.marks.replace(oid, marks)
        self.standing.trust(oid, halted)
        self._halted.pop(oid, None)


def _strip_of(member, strip):
    return agreement.Strip(
        member.node, strip['index'], agreement.Generation(
            *strip['generation']),
        tuple(agreement.Generation(*g) for g in strip['nexts']),
        strip['floor'], frozenset(strip['numbers']),
        agreement.Generation(*strip['forgotten']))


def _common(lists):
    """What is in all of them, in the order of the first."""
    if not lists:
        return []
    others = [set(one) for one in lists[1:]]
    return [token for token in lists[0]
            if all(token in other for other in others)]
