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
not synced) happens only while everything else is whole: copies bear the loss
of all but one, not of all.
"""

import contextlib
import fcntl
import os
import pathlib
import random
import shutil
import struct
import time

from sheepdog.tests.functional import harness

LOOP_BYTES = 512 << 20
EXT4_SHUTDOWN = 0x8004587d
"""From then on ext4 answers everything with EIO. (linux/fs/ext4/ext4.h)"""
NO_LOG_FLUSH = 2
"""What is in its journal is lost as well."""
WHOLE_SECONDS = 240.0
SUSPENDED_MEAN_SECONDS = 2.0


class LoopDisk:
    """A file system of its own for one sheep's store."""

    def __init__(self, image: pathlib.Path, directory: pathlib.Path):
        self.image = image
        self.directory = directory
        self.is_mounted = False
        self.filler = directory / 'filler'
        with open(image, 'wb') as file:
            file.truncate(LOOP_BYTES)
        harness.run('mkfs.ext4', '-q', '-F', image)
        directory.mkdir(parents=True, exist_ok=True)

    def mount(self):
        harness.run('mount', '-o', 'loop', self.image, self.directory)
        self.is_mounted = True

    def unmount(self):
        if self.is_mounted:
            harness.run('umount', self.directory)
            self.is_mounted = False

    def pull(self):
        """All it does from now on is fail."""
        handle = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, EXT4_SHUTDOWN,
                        struct.pack('I', NO_LOG_FLUSH))
        finally:
            os.close(handle)

    def fill(self):
        with open(self.filler, 'wb', buffering=0) as file:
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(1 << 20))

    @property
    def is_filled(self) -> bool:
        return self.filler.exists()

    def free(self):
        self.filler.unlink(missing_ok=True)


class Troubles:
    """``tell`` gets a line about each."""

    def __init__(self, cluster, server, seed, tell):
        self.cluster = cluster
        self.server = server
        self.tell = tell
        self.chance = random.Random(seed)
        self.disks = {}
        self.pulled = []
        self._missed = set()
        """Sheep that were away since all was whole."""

    def give_disks(self, sheep):
        """File systems of their own for these, which have not been started;
        where this user may not mount, they go without."""
        for one in sheep:
            disk = LoopDisk(self.cluster.directory / (
                'sheep-%d.img' % one.number), one.meta)
            try:
                disk.mount()
            except harness.HarnessError as exc:
                self.tell('no disks that fail: %s' % exc)
                return
            self.disks[one] = disk

    def end(self):
        for disk in self.disks.values():
            disk.unmount()

    # -- one after the other, for some time -----------------------------

    def go_on(self, seconds, meanwhile):
        """:param meanwhile: called now and then; raises to end it"""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            trouble = self.chance.choices(
                (self.kill, self.stop, self.suspend, self.kill_some,
                 self.kill_all, self.hurt_coordination, self.fill, self.wipe,
                 self.pull), (6, 2, 4, 2, 1, 2, 2, 2, 2))[0]
            trouble()
            self._sleep(1.0)
            meanwhile()
            if self.chance.random() < 0.6:
                self.heal()
            if self.chance.random() < 0.4 and self._can_be_whole():
                self._wait_whole()

    def _can_be_whole(self):
        """Whether nothing waits for somebody that is down: only the last
        holders of an object know what it has to be."""
        if self.pulled or any(disk.is_filled for disk in
                              self.disks.values()):
            return False
        return (len(self.cluster.running) == len(self.cluster.sheep)
                or len(self._missed) < self.cluster.copies)

    def _wait_whole(self):
        self.cluster.wait_whole(WHOLE_SECONDS)
        self._missed = set(self.cluster.sheep) - set(self.cluster.running)

    def heal(self):
        """All that is broken works again, and whoever is down runs."""
        for one in self.pulled:
            one.end()
            self.disks[one].unmount()
            self.disks[one].mount()
        self.pulled.clear()
        # (Also where it was done before: a pulled disk forgets.)
        for disk in self.disks.values():
            disk.free()
        # (A sheep whose disk was full or has failed has ended by itself.)
        self.cluster.start()

    def make_whole(self):
        self.heal()
        self._wait_whole()

    def _sleep(self, mean):
        time.sleep(min(4 * mean, self.chance.expovariate(1 / mean)))

    def _some(self, most):
        running = self.cluster.running
        count = min(len(running), self.chance.randrange(1, most + 1))
        some = self.chance.sample(running, count)
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
            one = self.chance.choice(list(self.disks))
            if one not in self.pulled:
                self.tell('fill the disk of %r' % one)
                self.disks[one].fill()
                self._missed.add(one)

    def wipe(self):
        """A sheep loses its store for good, and comes again without."""
        self.make_whole()
        one = self.chance.choice([
            one for one in self.cluster.sheep if one not in self.disks])
        self.tell('wipe %r' % one)
        self._missed.add(one)
        one.kill()
        shutil.rmtree(one.meta)
        one.start()
        # After a full stop all would wait for the one that is no more.
        self._wait_whole()

    def pull(self):
        if self.disks:
            self.make_whole()
            one = self.chance.choice(list(self.disks))
            self.tell('pull the disk of %r' % one)
            self.disks[one].pull()
            self._missed.add(one)
            self.pulled.append(one)
