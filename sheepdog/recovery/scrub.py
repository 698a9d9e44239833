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

"""Looks through all copies in the background, or when an operator asks.

Each sheep reads the copies that it holds, block by block against the
checksums. The first target of an object also compares its copies
(``compare``), so each object is compared once in a round. A bad block is
mended by recovery, like one that a client has met. A copy that turns out to
be the wrong one is set aside, and recovery makes it anew.

All of it may run while clients write, and gives way to them (``pace``).
"""

import asyncio
import logging
from typing import Optional, Protocol

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.recovery import compare
from sheepdog.recovery import listing
from sheepdog.recovery import pace as pace_module
from sheepdog.recovery import parity
from sheepdog.recovery import tally as tally_module
from sheepdog.wire import peer as wire

LOG = logging.getLogger(__name__)

CHUNK_BYTES = 256 << 10
"""Read at once: 0.15 ms during which nothing else is done."""

START_SECONDS = 60.0
"""Before the first round: a start has other things to do."""

STEP_SECONDS = 1.0
"""How soon a change of the settings is noticed in a pause."""

PAUSES_SECONDS = (0.3, 0.6, 1.2, 2.5, 5.0, 10.0, 20.0)
"""What cannot be said or mended just now is looked at again behind each."""

BLOCKS_SHOWN = 8
UNKNOWN_SECONDS = 3600.0
"""An object of no known VDI that has not changed for so long is none that is
just being made."""

CHECKS_KEPT = 4


class Watcher(Protocol):
    """Is told of what operators should know."""

    def object_damaged(self, oid: int, blocks: list) -> None:
        """New bad blocks in our copy; it is tried to mend them."""

    def object_irreparable(self, oid: int, blocks: list) -> None:
        """No copy is good there."""

    def copies_differ(self, oid: int, nodes: list, is_settled: bool
                      ) -> None: ...

    def quarantine_added(self, note: dict) -> None:
        """See ``store.quarantine``."""


class Check:
    """One look through, under way or done; ``vdi_id`` None: of all."""

    def __init__(self, name, vdi_id, tally, pace):
        self.name = name
        self.pace = pace
        self.vdi_id = vdi_id
        self.tally = tally
        self.mending = set()
        """Objects in which bad blocks were found, and that may be mended."""
        self.is_over = False
        """Somebody, or a change of the settings, puts an end to it."""
        self.task = None

    @property
    def state(self):
        if not self.tally.ended:
            return 'running'
        return 'stopped' if self.is_over else 'done'

    def wants(self, oid):
        return self.vdi_id is None or ids.vdi_of(oid) == self.vdi_id


class Scrub:
    """``round`` is the last one, or the one that runs, or None;
    ``differing``: object → where its copies are of which nothing tells which
    one is right."""

    def __init__(self, world, cluster, replica, links, order, recovery,
                 settings: pace_module.ScrubSettings, is_busy):
        """``is_busy()``: requests are under way, which go first."""
        self.world = world
        self.cluster = cluster
        self.replica = replica
        self.store = replica.store
        self.links = links
        self.order = order
        self.recovery = recovery
        self.settings = settings
        self.watcher: Optional[Watcher] = None
        self.comparer = compare.Comparer(cluster, links, order, recovery)
        self.parity = parity.Parity(self.comparer)
        self.round: Optional[Check] = None
        self.rounds = 0
        self.read_bytes = 0
        self.objects = 0
        self.differing = {}
        self._unknown = {}
        """Object of no known VDI → (its digest, since when)."""
        self._checks = {}
        self._told = {}
        """Object → its bad blocks that the watcher was told of."""
        self._reading = {}
        """For each copy that is being read: (object, its bad blocks so
        far). They may have been mended before its end is read."""
        recovery.mover.on_irreparable = self._irreparable
        self.store.quarantine.on_kept = self._kept
        self._pace = pace_module.Pace(
            world.clock, lambda: self.settings.bytes_per_second, is_busy)
        self._is_busy = is_busy

    def handlers(self):
        """For ``Server.register``; of sheep."""
        return {wire.SUSPECT: self._on_suspect}

    def describe(self):
        """For operators: the settings, and how the last round stands."""
        found = self.round
        return {'enabled': self.settings.enabled, 'rounds': self.rounds,
                'round': found and dict(found.tally.to_dict(),
                                        state=found.state)}

    # -- what operators are told ----------------------------------------

    def damaged(self, oid):
        """The store has found wrong bytes in our copy."""
        bad = self.store.bad_blocks()
        for reading, found in self._reading.values():
            if reading == oid:
                found.update(bad.get(oid, ()))
        for known in [one for one in self._told if one not in bad]:
            del self._told[known]
        blocks = bad.get(oid, ())
        if set(blocks) - self._told.get(oid, set()):
            self._told[oid] = set(blocks)
            if self.watcher is not None:
                self.watcher.object_damaged(oid, blocks)
        self.recovery.damaged(oid)

    def _irreparable(self, oid, blocks):
        if self.watcher is not None:
            self.watcher.object_irreparable(oid, blocks)

    def _kept(self, note):
        if self.watcher is not None:
            self.watcher.quarantine_added(note)

    # -- rounds ---------------------------------------------------------

    async def run(self):
        """For ever: round after round, as the settings say."""
        await self._rest(min(START_SECONDS, self.settings.pause_seconds))
        while True:
            if self.settings.enabled and self.cluster.serving():
                await self._go_round()
                await self._rest(self.settings.pause_seconds)
            else:
                await asyncio.sleep(STEP_SECONDS)

    async def _go_round(self):
        found = self.round = Check('', None, tally_module.Tally(
            self.world.clock.time()), self._pace)
        await self._look(found)
        self.rounds += not found.is_over
        await self.recovery.space.drop_strays()
        tally = found.tally
        LOG.info('scrub: %d objects, %d bytes read: %d bad blocks, %d '
                 'objects mended, %d settled; left: %s', tally.objects,
                 tally.bytes, tally.bad_blocks, tally.mended, tally.settled,
                 ', '.join('%d %s' % (count, kind) for kind, count
                           in tally.counts.items() if count) or 'nothing')

    async def _rest(self, seconds):
        settings = self.settings
        while seconds > 0 and self.settings == settings:
            await asyncio.sleep(min(seconds, STEP_SECONDS))
            seconds -= STEP_SECONDS

    # -- checks ---------------------------------------------------------

    def start_check(self, name, vdi_id=None):
        """Look now, through all or one VDI's objects. Asked for again under
        the same name it goes on."""
        if name in self._checks:
            return
        for old in [key for key, check in self._checks.items()
                    if check.tally.ended][:-CHECKS_KEPT]:
            del self._checks[old]
        check = self._checks[name] = Check(
            name, vdi_id, tally_module.Tally(self.world.clock.time()),
            pace_module.Pace(self.world.clock, lambda: 0, self._is_busy))
        check.task = self.world.spawn(self._look(check), 'check of copies')

    def check(self, name) -> Optional[Check]:
        return self._checks.get(name)

    def stop_check(self, name):
        check = self._checks.get(name)
        if check is not None:
            check.is_over = True

    # -- looking --------------------------------------------------------

    async def _look(self, check):
        tally = check.tally
        try:
            wanted = await self._wanted(check)
            tally.total = len(wanted)
            later = []
            for oid in wanted:
                if self._must_end(check):
                    return
                try:
                    await self._object(oid, check)
                except compare.Later:
                    later.append(oid)
                else:
                    tally.objects += 1
            await self._look_again(check, later)
        finally:
            tally.ended = self.world.clock.time()

    def _must_end(self, check):
        if check is self.round and not self.settings.enabled:
            check.is_over = True
        return check.is_over

    async def _look_again(self, check, later):
        """What could not be said, or was being mended, with patience."""
        reasons = {}
        for seconds in PAUSES_SECONDS:
            if not later:
                return
            await asyncio.sleep(seconds)
            left = []
            for oid in later:
                if self._must_end(check):
                    return
                try:
                    await self._conclude(oid, check)
                except compare.Later as exc:
                    reasons[oid] = str(exc)
                    left.append(oid)
                else:
                    check.tally.objects += 1
            later = left
        for oid in later:
            check.tally.objects += 1
            check.tally.add(tally_module.UNCHECKED, ids.hex_oid(oid),
                            reasons[oid])

    async def _wanted(self, check):
        """Sorted ids of the objects to look at: those here, and those that
        others have of which this sheep is the first target."""
        found = {ids.object_of(key) for key in self.store.oids()
                 if check.wants(ids.object_of(key))}
        view = self.cluster.view
        if view is not None and self.cluster.serving():
            # (Who does not answer leaves soon, and is recovered from.)
            for oids in await listing.others(self.cluster, self.links, view,
                                             needs_all=False):
                found.update(oid for oid in oids.tolist()
                             if check.wants(oid) and self._place(oid) == 0)
        return sorted(oid for oid in found if not self._is_deleted(oid))

    def _key(self, oid):
        """Of our copy, or strip, in the store; None: no strip is for us."""
        return self.recovery.mover.key(oid)

    def _place(self, oid):
        """Ours among the object's targets, from 0; None: we are none."""
        view = self.cluster.view
        # (While it does not serve, its view may not be that of its ring.)
        if view is not None and self.cluster.serving():
            for place, index in enumerate(self.order.targets(oid)):
                if view.members[index].incarnation == (
                        self.cluster.incarnation):
                    return place
        return None

    def _is_deleted(self, oid):
        return self.cluster.state.is_gone(oid)

    async def _object(self, oid, check):
        """:raises Later: look at it again"""
        key = self._key(oid)
        bad = await self._verify(key, check.tally, check.pace)
        self.objects += 1
        check.tally.bad_blocks += len(bad)
        if bad or await self._is_unusable(key):
            check.mending.add(oid)
            self.damaged(key)
            raise compare.Later('it is being mended')
        await self._conclude(oid, check)

    async def _is_unusable(self, key):
        """Its file is no object's."""
        if key is None:
            return False
        state = await self.store.describe(key)
        return state is not None and not state.capacity

    async def _conclude(self, oid, check):
        """All has been read; what is left to be said?

        :raises Later: not now
        """
        if not self.cluster.serving():
            raise compare.Later('this sheep serves no epoch just now')
        tally = check.tally
        key = self._key(oid)
        bad = self.store.bad_blocks().get(key)
        if bad and not self.recovery.is_repairable(oid):
            check.mending.discard(oid)
            tally.add(tally_module.IRREPARABLE, ids.hex_oid(oid),
                      'blocks %s' % _shown(bad))
            return
        place = self._place(oid)
        if bad or place is not None and self.recovery.needs(oid):
            raise compare.Later('its copy here is not whole yet')
        if oid in check.mending:
            check.mending.discard(oid)
            if await self._is_unusable(key):
                tally.add(tally_module.IRREPARABLE, ids.hex_oid(oid),
                          'its file cannot be used')
                return
            tally.mended += 1
        if ids.vdi_of(oid) not in self.cluster.state.vdis:
            if key == oid:
                await self._meet_unknown(oid, tally)
            return
        self._unknown.pop(oid, None)
        if place == 0 and not self._is_deleted(oid):
            await self._compare(oid, check)

    async def _verify(self, key, tally, pace):
        """Read our copy; the numbers of its blocks that were bad."""
        state = None if key is None else await self.store.describe(key)
        if state is None:
            return ()
        found = set(self.store.bad_blocks().get(key, ()))
        self._reading[id(found)] = key, found
        try:
            for offset in range(0, state.capacity, CHUNK_BYTES):
                size = min(CHUNK_BYTES, state.capacity - offset)
                await pace.take(size)
                error = await self._read(key, offset, size)
                tally.bytes += size
                self.read_bytes += size
                if isinstance(error, errors.ChecksumError):
                    continue
                if error is not None:
                    # It is gone, or of another size; or the device fails, of
                    # which the store tells itself.
                    break
        finally:
            del self._reading[id(found)]
        return found

    async def _read(self, key, offset, size):
        """The error, or None."""
        future = asyncio.get_running_loop().create_future()

        def done(error, data):
            if not future.done():
                future.set_result(error)

        self.store.read(key, offset, size, done)
        return await future

    async def _meet_unknown(self, oid, tally):
        """An object of no known VDI: nobody will ever ask for it, but why is
        it here?"""
        state = await self.store.describe(oid)
        if state is None or not self.cluster.serving():
            return
        now = self.world.clock.monotonic()
        digest, since = self._unknown.get(oid, (None, now))
        if digest != state.digest:
            since = now
        self._unknown[oid] = state.digest, since
        if now - since >= UNKNOWN_SECONDS and await self.store.set_aside(
                oid, 'it is of no VDI that is known', remove=True,
                digest=state.digest):
            del self._unknown[oid]
            return
        tally.add(tally_module.UNKNOWN, ids.hex_oid(oid),
                  'of VDI %06x' % ids.vdi_of(oid))

    # -- comparing ------------------------------------------------------

    async def _compare(self, oid, check):
        """:raises Later: it cannot be said just now"""
        tally = check.tally
        if self.order.code(oid) is None:
            found = await self.comparer.compare(oid)
        else:
            found = await self.parity.compare(oid, check.pace)
        if found is None:
            self.differing.pop(oid, None)
            return
        where = ', '.join('%s:%s' % m.address for m in found.members)
        text = 'blocks %s, at %s' % (_shown(found.blocks), where)
        if compare.WHOLE_OBJECT in found.blocks:
            text = 'in size or in being there, at %s' % where
        if not found.wrong:
            if oid not in self.differing:
                LOG.error('object %s: its copies differ (%s), and nothing '
                          'tells which one is right', ids.hex_oid(oid), text)
                self._tell(oid, found.members, False)
            self.differing[oid] = text
            tally.add(tally_module.DIFFERS, ids.hex_oid(oid), text)
            return
        LOG.error('object %s: its copies differ (%s); wrong are those of %s',
                  ids.hex_oid(oid), text, ', '.join(
                      '%s:%s' % m.address for m in found.wrong))
        self._tell(oid, found.members, True)
        await self._settle(oid, found.wrong, text)
        tally.settled += 1
        raise compare.Later('it is being settled')

    def _tell(self, oid, members, is_settled):
        if self.watcher is not None:
            self.watcher.copies_differ(
                oid, ['%s:%s' % m.address for m in members], is_settled)

    async def _settle(self, oid, members, why):
        view = self.cluster.view
        payload = wire.pack_json({'why': why})
        try:
            await asyncio.gather(*(
                self.suspect(oid, why)
                if m.incarnation == self.cluster.incarnation
                else self.links.data(m).call(
                    wire.SUSPECT, epoch=view.epoch, oid=oid, payload=payload,
                    timeout=compare.CALL_SECONDS)
                for m in members))
        except errors.SheepdogError as exc:
            raise compare.Later(str(exc)) from exc

    async def suspect(self, oid, why):
        """Our copy is the wrong one.

        :raises SheepdogError: it could not be kept, and stays what it is
        """
        await self.store.set_aside(oid, 'it differs from the other copies '
                                   '(%s)' % why)
        LOG.error('object %s: this copy is made anew: it differs (%s)',
                  ids.hex_oid(oid), why)
        self.recovery.doubt(oid)

    async def give_up(self, oid):
        """An operator has decided that our copy is the wrong one.

        :raises NoObject: we have none
        :raises InvalidParameters: no other copy is whole
        """
        if self.store.version(oid) is None:
            raise errors.NoObject('object %s is not here'
                                  % ids.hex_oid(oid))
        if not await self.comparer.is_elsewhere(oid):
            raise errors.InvalidParameters(
                'object %s: no other copy is whole just now, so this one is '
                'needed' % ids.hex_oid(oid))
        await self.suspect(oid, 'an operator has decided so')

    def _on_suspect(self, request):
        self.world.spawn(self._answer_suspect(request), 'suspect a copy')

    async def _answer_suspect(self, request):
        try:
            error = self.replica.check_epoch(request.epoch)
            if error is not None:
                raise error
            why = str(wire.unpack_json(request.payload).get('why', ''))
            await self.suspect(request.oid, why)
        except errors.SheepdogError as exc:
            request(exc)
        else:
            request(None)


def _shown(blocks):
    """The first of them, as text."""
    text = ', '.join(map(str, blocks[:BLOCKS_SHOWN]))
    return text + (', …' if len(blocks) > BLOCKS_SHOWN else '')
