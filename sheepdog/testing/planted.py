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


"""Bugs to plant: each replaces one function by one that is wrong.

A simulator that finds none of them would be no proof of anything. Each is a
context manager; while it is entered, every sheep that runs has the bug.
"""

import contextlib
import dataclasses
from unittest import mock

from sheepdog.cluster import alteration
from sheepdog.cluster import cluster
from sheepdog.cluster import delivery
from sheepdog.cluster import entries
from sheepdog.cluster import follower
from sheepdog.cluster import leader
from sheepdog.cluster import ledger
from sheepdog.cluster import roster
from sheepdog.cluster import takeover
from sheepdog.gateway import changes
from sheepdog.gateway import coded
from sheepdog.gateway import gateway
from sheepdog.gateway import turns
from sheepdog.model import ids
from sheepdog.peer import link
from sheepdog.peer import marks
from sheepdog.peer import order
from sheepdog.peer import replica
from sheepdog.recovery import agreement
from sheepdog.recovery import compare
from sheepdog.recovery import mover
from sheepdog.recovery import recovery
from sheepdog.recovery import settlement
from sheepdog.store import history
from sheepdog.store import records
from sheepdog.store import scan
from sheepdog.store import store
from sheepdog.store import strips
from sheepdog.testing import disk
from sheepdog.volume import access
from sheepdog.volume import turning


def acknowledge_before_sync():
    """A write is called durable that the next power cut takes away."""
    sync_later = disk.SimFile.sync_later

    def sync_at_once(self, done):
        sync_later(self, lambda error: None)
        self._disk.call(done, None)

    return mock.patch.object(disk.SimFile, 'sync_later', sync_at_once)


def skip_the_lease_check():
    """Who was cut off answers from its copies while the others write."""
    def serving(self):
        return self._follower is not None and self._follower.is_serving

    return mock.patch.object(cluster.Cluster, 'serving', serving)


def read_any_copy():
    """A copy is read without a look at its epoch, nor whether it has been
    recovered in it: what was written meanwhile is not in it."""
    def read(self, epoch, oid, serial, offset, size, done, raw=False):
        self.store.read(oid, offset, size, done)

    return mock.patch.object(replica.Replica, 'read', read)


def no_order():
    """Overlapping changes run at once: copies may apply them in different
    orders, and a read may see half of one."""
    def take(self, entry):
        self.table.setdefault(entry.oid, []).append(entry)
        return True

    return mock.patch.object(turns.Turns, 'take', take)


def forget_to_retry():
    """A change that did not get through is not tried again: whoever asked
    waits for ever."""
    return mock.patch.object(changes.Changes, 'later',
                             lambda self, change: None)


def succeed_instead_of_retrying():
    """A change that not all copies took is acknowledged all the same."""
    def later(self, change):
        self.end(change, None)

    return mock.patch.object(changes.Changes, 'later', later)


class _ByQuestion(dict):
    """Requests under way; what answers one for an object is taken for the
    answer to the oldest one with the same opcode and object."""

    def pop(self, request_id):
        own = self[request_id]
        oldest = request_id
        if own[2]:
            oldest = next(key for key, asked in self.items()
                          if asked[1:] == own[1:])
        taken, self[oldest] = self[oldest], own
        del self[request_id]
        return taken


def match_replies_by_question():
    """Answers may overtake each other, so a read gets the data of another
    one of the same object."""
    init = link.Link.__init__

    def init_by_question(self, *arguments, **keywords):
        init(self, *arguments, **keywords)
        self._pending = _ByQuestion()

    return mock.patch.object(link.Link, '__init__', init_by_question)


def replay_too_far():
    """Behind the end of the journal lie records of an earlier use of its
    file; replayed, they bring back what was overwritten since."""
    async def scan_segment(file, size, number, header):
        window = scan._Window(file, size)
        data = await window.bytes(0, size)
        entries = []
        position = data.find(records.MAGIC_BYTES)
        while position >= 0:
            record = await window.record(position)
            if record is not None:
                entries.append(scan.Entry(record, number,
                                          position + record.data_start))
            position = data.find(
                records.MAGIC_BYTES,
                position + (record.size if record is not None else 1))
        return entries, False, False

    return mock.patch.object(scan, '_scan_segment', scan_segment)


def promise_from_memory():
    """A promised term that is not on disk is forgotten with the process,
    and one that is lower, or claimed twice, is obeyed."""
    async def promise_term(self, term, leader):
        self.promise = (term, leader)

    return mock.patch.object(ledger.Ledger, 'promise_term', promise_term)


def skip_the_epoch_check():
    """What was sent in an earlier epoch, and arrives late, is applied over
    what was written since."""
    check = replica.Replica.check

    def check_less(self, epoch, oid, serial):
        return check(self, self.epoch, oid, serial)

    return mock.patch.object(replica.Replica, 'check', check_less)


def skip_the_serial_check():
    """As ``skip_the_epoch_check``, for what was sent under another lock."""
    check = replica.Replica.check

    def check_less(self, epoch, oid, serial):
        serials = self.cluster.state.fences
        return check(self, epoch, oid, serials.get(
            ids.vdi_of(oid), 0) & order.SERIAL_MASK)

    return mock.patch.object(replica.Replica, 'check', check_less)


def trust_all_copies():
    """Whoever orders an object after another sheep takes its copies for
    equal, though a write may have reached some of them only."""
    return mock.patch.object(marks.Marks, 'unstable_objects',
                             lambda self: [])


def keep_what_a_lost_lock_began():
    """A write goes on under a lock that was taken away."""
    return mock.patch.object(gateway.Gateway, 'abandon_vdi',
                             lambda self, vdi_id, error: None)


def never_ask_for_the_lock_again():
    """What takes the long way (a first write, zeroes over objects) goes on
    to its next step though the lock was lost since its last one."""
    return mock.patch.object(access.Access, 'check', lambda self: None)


def forget_what_was_prepared():
    """A new leader gives the number of an epoch that one member has heard
    of as decided to another one."""
    return mock.patch.object(takeover, '_pending',
                             lambda answers, position: ())


def forget_what_was_done():
    """An operation that is asked for again is done again."""
    ask = leader.Leader.ask

    async def ask_afresh(self, operation, kind, arguments):
        self._sequencer.state.operations.clear()
        return await ask(self, operation, kind, arguments)

    return mock.patch.object(leader.Leader, 'ask', ask_afresh)


def start_without_the_missing():
    """A cold start waits for nobody, though those who are away may have
    gone on alone."""
    return mock.patch.object(takeover, 'missing',
                             lambda nodes, present: [])


def admit_everybody():
    """Sheep with the objects of another cluster join."""
    return mock.patch.object(roster, 'refusal', lambda *arguments: '')


def never_take_yourself_for_cut_off():
    """A leader that reaches nobody fences all the others."""
    def suspect(self, incarnation):
        now = self._clock.monotonic()
        since = self._suspects.setdefault(incarnation, now)
        if now - since > self._patience:
            self.fence(incarnation, 'cannot be reached')

    return mock.patch.object(delivery.Delivery, 'suspect', suspect)


def obey_every_leader():
    """Who has promised to obey a later leader obeys an earlier one, too."""
    obey = follower.Follower._obey

    async def obey_all(self, message):
        if message['term'] < self._ledger.promise[0]:
            self._ledger.promise = (0, '')
        return await obey(self, message)

    return mock.patch.object(follower.Follower, '_obey', obey_all)


def compare_no_digests():
    """The scrub finds all copies equal that are there."""
    return mock.patch.object(compare, '_content',
                             lambda answer: answer['exists'])


def take_copies_for_equal():
    """Who comes back, or begins to hold an object, keeps what it has."""
    async def is_equal(self, oid, state):
        return await self.store.describe(oid) is not None

    return mock.patch.object(mover.Mover, '_is_equal', is_equal)


@contextlib.contextmanager
def keep_the_version():
    """A write leaves the object's version as it is: of copies that were away
    for different times, all look equally new."""
    def kept(change):
        def change_quietly(self, oid, version, *arguments, **keywords):
            if self.version(oid) is not None:
                version = 0
            change(self, oid, version, *arguments, **keywords)
        return change_quietly

    with mock.patch.multiple(store.Store, write=kept(store.Store.write),
                             zero=kept(store.Store.zero)):
        yield


def number_all_updates_alike():
    """An update of strips takes the number that the last one had."""
    number = coded.Coded._number

    def the_same(self, change, route):
        self._count = 0
        return number(self, change, route)

    return mock.patch.object(coded.Coded, '_number', the_same)


def use_generations_again():
    """A settlement takes the name of another one of its epoch: strips that
    it has not reached look as if."""
    def the_first(self, view, states, verdict):
        return agreement.Generation(view.epoch, 1, verdict.is_gone)

    return mock.patch.object(settlement.Settlement, '_next', the_first)


def drop_stray_copies_too_early():
    """Who has a copy that belongs elsewhere from now on drops it at once,
    whatever the others have."""
    on_view = recovery.Recovery.on_view

    async def drop(self, view):
        for oid in await self.space._strays(view):
            await self.space._remove(oid)

    def on_view_and_drop(self, old, new, cold):
        on_view(self, old, new, cold)
        self.world.spawn(drop(self, new), 'drop stray copies')

    return mock.patch.object(recovery.Recovery, 'on_view', on_view_and_drop)


def take_new_copies_for_whole():
    """Who held an object in earlier epochs is found out with the number of
    copies of now: who has just been given one takes it for whole."""
    return mock.patch.object(entries.VdiEntry, 'copies_at',
                             lambda self, oid, epoch: self.kept(oid).copies)


def alter_without_an_epoch():
    """Each sheep goes on with another number of copies when it hears of it,
    while others, and what is under way, go on with the one before."""
    def noted(entry, policy):
        return dataclasses.replace(entry, copies=policy.copies)

    return mock.patch.object(alteration, 'noted', noted)


def let_clients_wait_for_the_throttle():
    """An object that a client waits for has its turn like all others."""
    ensure = recovery.Recovery._ensure

    async def ensure_slowly(self, oid, running):
        await self.throttle.rest()
        await ensure(self, oid, running)

    return mock.patch.object(recovery.Recovery, '_ensure', ensure_slowly)


def take_all_strips_for_equal():
    """A settlement builds nothing of new: what is there will do."""
    decide = agreement.decide

    def all_usable(strips, *more):
        verdict = decide(strips, *more)
        return verdict._replace(usable=tuple(strips)) if verdict.usable \
            else verdict

    return mock.patch.object(agreement, 'decide', all_usable)


def undo_nothing():
    """A strip forgets the updates that others lack; their bytes stay."""
    async def restored(self, obj, updates):
        return []

    return mock.patch.object(strips.Strips, '_restored', restored)


def note_no_changes():
    """A strip that comes back gets nothing of what it or the others have
    changed since."""
    return mock.patch.object(history.History, 'note',
                             lambda self, event, sequence: None)


@contextlib.contextmanager
def nothing():
    """No bug: all must be well then."""
    yield


def tell_of_one_too_many():
    """A former object goes that is to be turned next."""
    progress = turning.Turning.progress

    def progress_and_one(self, end):
        below, left = progress(self, end)
        return min(below + bool(below), len(self.map.owners)), left

    return mock.patch.object(turning.Turning, 'progress', progress_and_one)
