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

"""What goes wrong with real sheep, and what ends it.

Each trouble is a method of ``Troubles``; ``heal`` ends all of them. What
takes data away for good (a store wiped, a file system that forgets what was
not synced, one of several disks) happens only while everything else is whole:
redundancy bears that many losses, and no more.
"""

import contextlib
import json
import pathlib
import random
import shutil
import time

from sheepdog.model import errors
from sheepdog.placement import redundancy
from sheepdog.tests.functional import harness
from sheepdog.tests.thrash import loops
from sheepdog.tests.thrash import volumes

LOOP_BYTES = 512 << 20
SHARED_BYTES = 1 << 30
WHOLE_SECONDS = 240.0
GIVEN_UP_SECONDS = 180.0
PULLED_SECONDS = 10.0
SUSPENDED_MEAN_SECONDS = 2.0
CALL_SECONDS = 20.0


class Troubles:
    """``tell`` gets a line about each. ``losses``: how many sheep may lose
    all they have at once, with nothing lost. ``altered``: VDIs whose number
    of copies is altered; ``turned``: VDI → the policies it is turned into.
    """

    def __init__(self, cluster, server, seed, tell):
        self.cluster = cluster
        self.server = server
        self.tell = tell
        self.chance = random.Random(seed)
        self.losses = 1
        self.altered = []
        self.turned = {}
        self.disks = []
        self.pulled = []
        self.copies = {}
        """Name → what was asked for last; None: who knows."""
        self._shared = None
        self._missed = set()
        """Sheep that were away since all was whole."""
        self._left_others_unwhole = False
        """One of them went while the others were being made whole."""

    # -- disks ----------------------------------------------------------

    def give_disks(self, with_one, with_several):
        """File systems of their own for sheep that have not been started:
        ``with_one`` have META on it, ``with_several`` two beside META.

        The others share one: a sheep has a part of the objects in proportion
        to the size of its disk. Where this user may not mount, all go
        without.
        """
        for one in with_several:
            one.disks = [one.meta.with_name('%s-disk-%d' % (
                one.meta.name, number)) for number in (1, 2)]
            for path in one.disks:
                path.mkdir()
        places = [(one, one.meta) for one in with_one]
        places += [(one, path) for one in with_several for path in one.disks]
        try:
            self._mount(places)
        except harness.HarnessError as exc:
            self.tell('no disks that fail: %s' % exc)
            self.end()
            self.disks.clear()
            return
        for one in self.cluster.sheep:
            if one not in with_one:
                one.meta = self._shared.directory / one.meta.name

    def _mount(self, places):
        directory = self.cluster.directory
        self._shared = loops.LoopDisk(directory / 'shared.img',
                                      directory / 'shared', SHARED_BYTES)
        self._shared.mount()
        for one, path in places:
            disk = loops.LoopDisk(path.with_name(path.name + '.img'), path,
                                  LOOP_BYTES, one)
            disk.mount()
            self.disks.append(disk)

    def end(self):
        for disk in self.disks:
            disk.end()
        if self._shared is not None:
            self._shared.end()

    def directories(self):
        """All that have objects."""
        return [path for one in self.cluster.sheep
                for path in one.disks or [one.meta]]

    # -- one after the other, for some time -----------------------------

    def go_on(self, seconds, meanwhile):
        """:param meanwhile: called now and then; raises to end it"""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            trouble = self.chance.choices(
                (self.kill, self.stop, self.suspend, self.kill_some,
                 self.kill_all, self.hurt_coordination, self.fill, self.wipe,
                 self.pull, self.alter, self.turn, self.replug),
                (5, 2, 3, 2, 1, 2, 2, 2, 3, 3, 3, 3))[0]
            trouble()
            self._sleep(1.0)
            meanwhile()
            if self.chance.random() < 0.6:
                self.heal()
            if self.chance.random() < 0.4 and self._can_be_whole():
                self._wait_whole()

    def _can_be_whole(self):
        """Whether nothing waits for somebody that is down: only the last
        holders of an object know what it has to be. (That may be a single
        one, where a lock has just changed in the middle of a write, and the
        others are about to follow.)"""
        if self.pulled or any(disk.is_filled for disk in self.disks):
            return False
        return (len(self.cluster.running) == len(self.cluster.sheep)
                or len(self._missed) <= self.losses
                and not self._left_others_unwhole)

    def _wait_whole(self):
        self.cluster.wait_whole(WHOLE_SECONDS)
        self._missed = set(self.cluster.sheep) - set(self.cluster.running)
        self._left_others_unwhole = False

    def heal(self):
        """All that is broken works again, and whoever is down runs."""
        failed = []
        for disk in self.pulled:
            if disk.is_meta:
                disk.sheep.end()
                disk.unmount()
                disk.mount()
            elif disk.sheep.is_running:
                failed.append(disk)
            else:
                self._bring_back(disk)
        # (Also where it was done before: a pulled disk forgets.)
        for disk in self.disks:
            if disk not in failed:
                disk.free()
        # (A sheep whose disk was full or has failed has ended by itself.)
        self.cluster.start()
        for disk in failed:
            self._replace(disk)
        self.pulled.clear()

    def _bring_back(self, disk):
        """Its sheep was killed; it may have given it up or not."""
        record = json.loads((disk.sheep.meta / 'disks').read_text())
        disk.unmount()
        if all(one['path'] != str(disk.directory)
               for one in record['disks']):
            disk.make()
        disk.mount()

    def _replace(self, disk):
        """When it has been given up, a new one comes in its place."""
        self._wait_given_up(disk, GIVEN_UP_SECONDS)
        disk.unmount()
        disk.make()
        disk.mount()

    def _wait_given_up(self, disk, seconds):
        """The sheep must go on with the others.

        :raises AssertionError: it has ended
        :raises HarnessError: it takes long
        """
        path = str(disk.directory)

        def is_given_up():
            if not disk.sheep.is_running:
                raise AssertionError(
                    '%r ended though it has another disk' % disk.sheep)
            return path not in self._in_use(disk.sheep, (path,))
        harness.wait_until(is_given_up, seconds, lambda: (
            '%r to be given up: %s' % (disk, self.cluster.describe())))

    @staticmethod
    def _in_use(sheep, unknown=()):
        """Path → state of the disks of a sheep."""
        try:
            with sheep.client(5.0) as client:
                return {disk['path']: disk['state']
                        for disk in client.nodes.disks()}
        except errors.SheepdogError:
            return dict.fromkeys(unknown)

    def make_whole(self):
        self.heal()
        self._wait_whole()

    def plug_all(self):
        """Whoever has several disks uses all of them."""
        def are_plugged():
            return all([self._plug(one, path) for one in self.cluster.sheep
                        for path in map(str, one.disks)])
        harness.wait_until(are_plugged, WHOLE_SECONDS, lambda: (
            'all disks to be in use: %s' % [
                self._in_use(one) for one in self.cluster.sheep
                if one.disks]))

    def _plug(self, sheep, path):
        """Have it in use; is it?"""
        if self._in_use(sheep).get(path) == 'in use':
            return True
        try:
            with sheep.client(CALL_SECONDS) as client:
                client.nodes.plug(path)
        except errors.SheepdogError as exc:
            self.tell('%r cannot use %s yet: %s' % (sheep, path, exc))
            time.sleep(1.0)
        return False

    def _sleep(self, mean):
        time.sleep(min(4 * mean, self.chance.expovariate(1 / mean)))

    def _some(self, most):
        running = self.cluster.running
        count = min(len(running), self.chance.randrange(1, most + 1))
        some = self.chance.sample(running, count)
        if not self._left_others_unwhole:
            self._left_others_unwhole = not self.cluster.is_whole()
        self._missed.update(some)
        return some

    # -- the troubles ---------------------------------------------------

    def kill(self, most=1):
        victims = self._some(most)
        self.tell('kill %s' % victims)
        for one in victims:
            one.process.kill()
        for one in victims:
            one.process.wait()

    def kill_some(self):
        self.kill(4)

    def kill_all(self):
        self.tell('kill all')
        self._missed.update(self.cluster.sheep)
        self.cluster.kill_all()
        self.heal()

    def stop(self):
        for one in self._some(1):
            self.tell('stop %r' % one)
            try:
                one.terminate()
            except harness.HarnessError as exc:
                # It waits for a cluster that is in trouble itself.
                self.tell('%s: kill' % exc)
                one.kill()

    def suspend(self):
        victims = self._some(2)
        self.tell('suspend %s' % victims)
        for one in victims:
            one.suspend()
        self._sleep(SUSPENDED_MEAN_SECONDS)
        for one in victims:
            one.resume()

    def hurt_coordination(self):
        if not self.server.ports:
            return  # files, no server
        self._missed.update(self.cluster.sheep)  # they may all lapse
        if self.chance.random() < 0.5:
            self.tell('suspend the coordination')
            self.server.suspend()
            self._sleep(SUSPENDED_MEAN_SECONDS)
            self.server.resume()
        else:
            self.tell('restart the coordination')
            self.server.kill()
            self._sleep(0.5)
            self.server.start()

    def fill(self):
        if self.disks:
            disk = self.chance.choice(self.disks)
            if disk not in self.pulled:
                self.tell('fill %r' % disk)
                disk.fill()
                self._missed.add(disk.sheep)

    def wipe(self):
        """Sheep lose their stores for good, and come again without."""
        self.make_whole()
        victims = self.chance.sample(
            self.cluster.sheep, self.chance.randint(1, self.losses))
        self.tell('wipe %s' % victims)
        for one in victims:
            self._missed.add(one)
            one.kill()
            for path in [one.meta, *one.disks]:
                _empty(path)
        for one in victims:
            one.start()
        # After a full stop all would wait for those that are no more.
        self._wait_whole()

    def pull(self):
        """A disk fails; one of several is lost for good."""
        if self.disks:
            self.make_whole()
            disk = self.chance.choice(self.disks)
            used = {} if disk.is_meta else self._in_use(disk.sheep)
            # (One that is being unplugged may be gone in a moment.)
            if not disk.is_meta and (
                    str(disk.directory) not in used
                    or list(used.values()).count('in use') < 2):
                return
            self.tell('pull %r' % disk)
            disk.pull()
            self._missed.add(disk.sheep)
            self.pulled.append(disk)
            if not disk.is_meta:
                with contextlib.suppress(harness.HarnessError):
                    self._wait_given_up(disk, PULLED_SECONDS)

    def replug(self):
        """One of several disks is emptied and taken out, or comes again."""
        several = [one for one in self.cluster.sheep if one.disks]
        if not several:
            return
        one = self.chance.choice(several)
        paths = [str(path) for path in one.disks]
        used = self._in_use(one)
        if not used:
            return
        missing = [path for path in paths if path not in used]
        path = self.chance.choice(missing or paths)
        if any(path == str(disk.directory) for disk in self.pulled):
            return
        self.tell('%s %s of %r' % ('plug' if missing else 'unplug',
                                   pathlib.Path(path).name, one))
        try:
            with one.client(CALL_SECONDS) as client:
                if missing:
                    client.nodes.plug(path)
                else:
                    client.nodes.unplug(path)
        except errors.SheepdogError as exc:
            self.tell('        %s' % exc)

    def alter(self):
        """Another number of copies for a VDI."""
        name = self.chance.choice(self.altered)
        self.alter_to(name, str(self.chance.randint(
            self.losses + 1, volumes.MOST_COPIES)))

    def turn(self):
        """From copies to strips, or another code, or back. (It is refused
        while it is being turned, and after the seventh time.)"""
        name, policies = self.chance.choice(list(self.turned.items()))
        self.alter_to(name, self.chance.choice(policies))

    def alter_to(self, name, policy):
        """:param policy: as operators write it"""
        self.tell('%s becomes %s' % (name, policy))
        policy = redundancy.parse(policy)
        try:
            with self.cluster.client(timeout=CALL_SECONDS) as client:
                client.vdis.alter_copies(name, *policy, force=True)
        except errors.InvalidParameters as exc:
            self.tell('        %s' % exc)
        except errors.SheepdogError as exc:
            # It may be done, also later.
            self.tell('        %s' % exc)
            self.copies[name] = None
        else:
            if self.copies.get(name, 0) is not None:
                self.copies[name] = policy


def _empty(directory):
    """What is mounted there stays mounted."""
    for path in directory.iterdir():
        if path.name == 'lost+found':
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
