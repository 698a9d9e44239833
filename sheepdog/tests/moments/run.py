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

"""Guests, snapshots, troubles; then each snapshot is looked at."""

import contextlib
import pathlib
import random
import re
import shutil
import statistics
import tempfile
import threading
import time

from sheepdog.model import errors
from sheepdog.placement import redundancy
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import ordeal
from sheepdog.tests.moments import cut
from sheepdog.tests.moments import files
from sheepdog.tests.moments import numbered
from sheepdog.tests.moments import verified

GUESTS = {one.kind: one for one in (numbered.Numbered, verified.Verified,
                                    files.Files)}
EVERY_SECONDS = 1.0
CALL_SECONDS = 90.0
OBJECT = re.compile('[0-9a-f]{16}(_[0-9a-f]{1,2})?')
PEACE_MEAN_SECONDS = 2.5
DOWN_MEAN_SECONDS = 1.5
WHOLE_SECONDS = 240.0
GONE_SECONDS = 240.0
LOOK_BACK, DELETE, CLONE = 0.2, 0.2, 0.08
"""How often, beside each snapshot, an earlier one is looked at, deleted,
cloned."""
CLONES_MAX = 5
MORE_DONE = 5


class Snapshot:
    """``answered``: when it was there at the latest. ``is_deleted``: None:
    who knows."""

    def __init__(self, tag, asked):
        self.tag = tag
        self.asked = asked
        self.answered = cut.NEVER
        self.is_deleted = False
        self.found = None
        """What was in it when it was looked at first."""


class Photographer:
    """Takes a snapshot of a guest's VDI each second. Now and then it looks
    at one that it has taken before, whose content never changes; deletes one;
    or makes a clone of one, and rolls that back to a snapshot of its own:
    ``clones``, by name, are those that are there."""

    def __init__(self, cluster, guest, seed, tell):
        self.cluster = cluster
        self.guest = guest
        self.tell = tell
        self.chance = random.Random(seed)
        self.taken = []
        self.clones = {}
        self.crash = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True,
                                        name='photographer')

    def start(self):
        self._thread.start()

    def end(self):
        """However it stands."""
        self._is_over.set()

    def stop(self):
        """:raises AssertionError: it hangs; what it crashed with"""
        self._is_over.set()
        self._thread.join(2 * CALL_SECONDS)
        if self._thread.is_alive():
            raise AssertionError('the photographer of %s hangs'
                                 % self.guest.name)
        if self.crash is not None:
            raise self.crash

    def _run(self):
        try:
            due = time.monotonic()
            while not self._is_over.wait(max(0.0, due - time.monotonic())):
                due = time.monotonic() + EVERY_SECONDS
                self._take(Snapshot('s%d' % len(self.taken),
                                    time.monotonic()))
                self._look_after(self.chance.choice(self.taken))
        except BaseException as exc:
            self.crash = exc

    def _look_after(self, snapshot):
        lot = self.chance.random()
        if snapshot.answered == cut.NEVER or snapshot.is_deleted is not False:
            return
        if lot < LOOK_BACK:
            self.look(snapshot)
        elif lot < LOOK_BACK + DELETE:
            snapshot.is_deleted = None
            if self._ask('delete', snapshot, lambda vdis: vdis.delete(
                    self.guest.name, snapshot.tag)):
                snapshot.is_deleted = True
        elif lot < LOOK_BACK + DELETE + CLONE and (
                len(self.clones) < CLONES_MAX):
            self._clone(snapshot)

    def _clone(self, snapshot):
        name = '%s-of-%s' % (self.guest.name, snapshot.tag)
        if name not in self.clones and self._ask(
                'clone', snapshot, lambda vdis: vdis.clone(
                    self.guest.name, snapshot.tag, name)):
            self.clones[name] = snapshot
            self._ask('snapshot a clone of', snapshot,
                      lambda vdis: vdis.snapshot(name, 'again'))
            self._ask('roll back a clone of', snapshot,
                      lambda vdis: vdis.rollback(name, 'again'))

    def _take(self, snapshot):
        self.taken.append(snapshot)
        if self._ask('take', snapshot, lambda vdis: vdis.snapshot(
                self.guest.name, snapshot.tag)):
            snapshot.answered = time.monotonic()

    def _ask(self, what, snapshot, function):
        """Was it done? If not, it may be all the same, also later."""
        sheep = list(self.cluster.sheep)
        self.chance.shuffle(sheep)
        try:
            with self.cluster.client(*sheep, timeout=CALL_SECONDS) as client:
                function(client.vdis)
        except errors.SheepdogError as exc:
            self.tell('%s %s of %s: %.100s' % (what, snapshot.tag,
                                               self.guest.name, exc))
            return False
        return True

    def look(self, snapshot, is_certain=False):
        """:param is_certain: else the sheep may refuse
        :raises Failure: it is not what it was"""
        try:
            found = self.guest.look(
                '%s@%s' % (self.guest.name, snapshot.tag),
                self.chance.choice(self.cluster.running))
        except Exception:
            if is_certain:
                raise
            return
        if snapshot.found is None:
            snapshot.found = found
        elif snapshot.found != found:
            raise ordeal.Failure('%s of %s has changed: %s' % (
                snapshot.tag, self.guest.name,
                _difference(snapshot.found, found)))


def _difference(one, other):
    return [(key, one.get(key), other.get(key)) for key in sorted(
        one.keys() | other.keys()) if one.get(key) != other.get(key)][:5]


class Moments:
    """One cluster, from its birth to its end.

    :param policies: of the VDIs, as operators write them: each kind of guest
        has one of each
    :param tell: gets each line of the story
    """

    def __init__(self, seed, policies=('3',), kinds=tuple(GUESTS), sheep=6,
                 coordination='file', tell=print):
        self.seed = seed
        self.tell = tell
        self.chance = random.Random(seed)
        self._policies = policies
        self._kinds = kinds
        self._count = sheep
        self._server_kind = case.SERVERS[coordination]
        self.guests = []
        self.photographers = []
        self._before = set()
        self._ends = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as ends:
            self.directory = pathlib.Path(tempfile.mkdtemp(
                prefix='sheepdog-moments-'))
            ends.callback(shutil.rmtree, self.directory, ignore_errors=True)
            server = self._server_kind()
            ends.callback(server.close)
            server.start()
            self.cluster = harness.Cluster(self.directory, server.option,
                                           self._count)
            ends.callback(self.cluster.end)
            self.cluster.start()
            self.cluster.form()
            self._before = self._objects()
            for kind in self._kinds:
                for policy in self._policies:
                    self._admit(GUESTS[kind], policy, ends)
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_exc):
        self._ends.close()

    def _admit(self, kind, policy, ends):
        name = '%s-%s' % (kind.kind, policy)
        self.cluster.create(name, kind.size, block_size_shift=kind.shift,
                            **redundancy.parse(policy)._asdict())
        seed = '%d %s' % (self.seed, name)
        guest = kind(self.cluster, name, self.directory, seed)
        ends.callback(guest.end)
        guest.prepare()
        self.guests.append(guest)
        self.photographers.append(Photographer(self.cluster, guest, seed,
                                               self.tell))

    def go_on(self, seconds):
        """:raises Failure:"""
        for one in self.guests + self.photographers:
            one.start()
        self.tell('snapshots begin')
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._sleep(PEACE_MEAN_SECONDS, until)
            self._trouble(until)
            self._check_alive()
        self.cluster.start()
        for photographer in self.photographers:
            photographer.stop()
        self.tell('no more snapshots')
        ordeal.wait(self.cluster.is_whole, WHOLE_SECONDS,
                    self.cluster.describe)
        self.tell('whole')
        done = {guest: guest.done for guest in self.guests}
        ordeal.wait(lambda: self._have_gone_on(done), WHOLE_SECONDS, lambda: (
            'guests to go on: %s; %s' % (
                [(guest.name, guest.done - count)
                 for guest, count in done.items()],
                self.cluster.describe())))
        self.tell('guests go on')
        for guest in self.guests:
            guest.stop()
            guest.end()
        self.tell('guests have stopped')
        ordeal.wait(self.cluster.is_idle, WHOLE_SECONDS, lambda: (
            'nobody to use the VDIs: %s' % self.cluster.describe()))
        self.tell('guests have ended')

    def _have_gone_on(self, done):
        self._check_alive()
        return all(guest.done > count + MORE_DONE
                   for guest, count in done.items())

    def _check_alive(self):
        for one in self.guests + self.photographers:
            if one.crash is not None:
                raise one.crash

    def _sleep(self, mean, until):
        time.sleep(max(0.0, min(4 * mean, self.chance.expovariate(1 / mean),
                                until - time.monotonic())))

    def _trouble(self, until):
        most = self.chance.choices((1, 2, len(self.cluster.sheep)),
                                   (8, 3, 1))[0]
        victims = self.chance.sample(self.cluster.sheep, most)
        self.tell('kill %s' % victims)
        for one in victims:
            one.process.kill()
        for one in victims:
            one.process.wait()
        self._sleep(DOWN_MEAN_SECONDS, until)
        self.cluster.start()

    # -- the judge ------------------------------------------------------

    def judge(self):
        """Each snapshot, and what there is now.

        :raises Failure:
        """
        for photographer in self.photographers:
            guest = photographer.guest
            with self.cluster.client() as client:
                listed = client.vdis.list(guest.name)
            tags = {vdi['tag'] for vdi in listed if vdi['snapshot']}
            for snapshot in photographer.taken:
                if snapshot.tag in tags:
                    if snapshot.is_deleted:
                        raise ordeal.Failure('%s of %s was deleted' % (
                            snapshot.tag, guest.name))
                    photographer.look(snapshot, is_certain=True)
                    self._check(guest, snapshot.tag, guest.judge(
                        snapshot.found, snapshot.asked, snapshot.answered))
                elif snapshot.answered != cut.NEVER and (
                        snapshot.is_deleted is False):
                    raise ordeal.Failure('%s of %s is gone' % (
                        snapshot.tag, guest.name))
            self._judge_clones(photographer)
            now = time.monotonic()
            self._check(guest, 'now', guest.judge(guest.look(
                guest.name, self.chance.choice(self.cluster.sheep)),
                now, cut.NEVER))
            self.tell('%s: %s' % (guest.name, _summary(photographer,
                                                       len(tags))))
        done = self.cluster.dog('cluster', 'check', expect=None)
        if done.returncode:
            raise ordeal.Failure('dog cluster check: exit code %d\n%s%s' % (
                done.returncode, done.stdout, done.stderr))

    def _judge_clones(self, photographer):
        """Each has what its snapshot has, or had."""
        guest = photographer.guest
        for name, snapshot in photographer.clones.items():
            found = guest.look(name, self.chance.choice(self.cluster.sheep))
            if snapshot.found is not None and found != snapshot.found:
                raise ordeal.Failure('%s is not what %s is: %s' % (
                    name, snapshot.tag, _difference(snapshot.found, found)))
            self._check(guest, name, guest.judge(found, snapshot.asked,
                                                 snapshot.answered))
        for snapshot in photographer.taken:
            # (They are large.)
            snapshot.found = None

    @staticmethod
    def _check(guest, what, wrong):
        if wrong:
            raise ordeal.Failure('%s of %s: %s' % (what, guest.name, wrong))

    def give_back(self):
        """Delete all, in any order; what it used must come free.

        :raises Failure:
        """
        with self.cluster.client() as client:
            listed = client.vdis.list()
            self.chance.shuffle(listed)
            for vdi in listed:
                client.vdis.delete(vdi['name'], vdi['tag'], vdi['snap_id'])
        self.tell('deleted %d VDIs and snapshots' % len(listed))

        def left():
            return sorted(self._objects() - self._before)
        ordeal.wait(lambda: not left(), GONE_SECONDS, lambda: (
            'objects of deleted VDIs to go: %s' % left()[:10]))
        self.tell('no object is left')

    def _objects(self):
        """Files of objects: (sheep, name)."""
        return {(sheep.number, path.name) for sheep in self.cluster.sheep
                for path in (sheep.meta / 'obj').iterdir()
                if OBJECT.fullmatch(path.name)}

    def keep(self, directory):
        """Copy logs and stores for whoever wants to look."""
        for one in self.photographers + self.guests:
            one.end()
        self.cluster.kill_all()
        ordeal.copy_stores(self.directory, directory, 'export', 'root')


def _summary(photographer, count):
    taken = sorted(one.answered - one.asked for one in photographer.taken
                   if one.answered != cut.NEVER)
    text = 'each of %d snapshots (%d were taken) is a moment, %d clones' % (
        count, len(photographer.taken), len(photographer.clones))
    if taken:
        text += '; %.3f s in the median to take one, %.3f s at most' % (
            statistics.median(taken), taken[-1])
    waited = getattr(photographer.guest, 'longest_wait', None)
    if waited is not None:
        text += '; no write took longer than %.3f s' % waited
    return text
