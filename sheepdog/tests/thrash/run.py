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

"""Phases of trouble; after each, everything is looked at."""

import contextlib
import itertools
import pathlib
import shutil
import tempfile
import time

from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.thrash import faults
from sheepdog.tests.thrash import record as record_module
from sheepdog.tests.thrash import users as users_module

DISK_BYTES = 64 << 20
BLOCKS = 96
OBJECT_SHIFT = 22
PHASE_SECONDS = 60.0
GONE_SECONDS = 120.0
ALIVE_SECONDS = 90.0
ALIVE_OPERATIONS = 20
WITH_DISKS = 2
SHOWN_MAX = 5


class Failure(AssertionError):
    """What must not be: the message has all that is known."""


class Thrash:
    """One cluster, from its birth to its end.

    :param tell: gets each line of the story
    """

    def __init__(self, seed, sheep=7, copies=3, coordination='zookeeper',
                 tell=print):
        self.seed = seed
        self.tell = tell
        self.record = record_module.Record()
        self.disks = [
            record_module.Disk(name, number, DISK_BYTES, BLOCKS)
            for number, name in enumerate(
                ('owners-1', 'owners-2', 'nomad', 'hasty'), 1)]
        self._count = sheep
        self._copies = copies
        self._kind = case.SERVERS[coordination]
        self._turns = {disk.name: users_module.Turns(self.record)
                       for disk in self.disks}
        self._ends = contextlib.ExitStack()
        self._phase = 0
        self._users_so_far = itertools.count(1)

    def __enter__(self):
        with contextlib.ExitStack() as ends:
            self.directory = pathlib.Path(tempfile.mkdtemp(
                prefix='sheepdog-thrash-'))
            ends.callback(shutil.rmtree, self.directory, ignore_errors=True)
            server = self._kind()
            ends.callback(server.close)
            server.start()
            self.cluster = harness.Cluster(
                self.directory, server.option, self._count, self._copies)
            self.troubles = faults.Troubles(self.cluster, server, self.seed,
                                            self.tell)
            ends.callback(self.troubles.end)
            ends.callback(self.cluster.end)
            self.troubles.give_disks(self.cluster.sheep[:WITH_DISKS])
            self.cluster.start()
            self.cluster.form()
            for disk in self.disks:
                self.cluster.create(disk.name, disk.size,
                                    block_size_shift=OBJECT_SHIFT)
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_exc):
        self._ends.close()

    def go_on(self, seconds):
        """Phases until the time is up, at least one.

        :raises Failure:
        """
        until = time.monotonic() + seconds
        while True:
            self.phase(min(PHASE_SECONDS, until - time.monotonic()))
            if time.monotonic() >= until:
                break
        self.give_back()

    def phase(self, seconds):
        """Load and trouble, then rest, then the checks."""
        self._phase += 1
        users = [user.start() for user in self._users()]
        try:
            self.troubles.go_on(seconds, lambda: _check_alive(users))
            self.tell('heal')
            self.troubles.make_whole()
            self.tell('whole again')
            self._wait_progress(users)
            self.tell('all users are served')
        finally:
            for user in users:
                user.tell_to_stop()
        for user in users:
            user.join()
        self.tell('users have ended')
        self.cluster.wait_whole(faults.WHOLE_SECONDS)
        self.judge()

    def _users(self):
        def arguments(disk):
            number = next(self._users_so_far)
            return ('user %d' % number, self.cluster, self.record, disk,
                    '%d %d' % (self.seed, number))

        users = []
        for disk in self.disks:
            if disk.name.startswith('owners'):
                users += [users_module.Owner(
                    *arguments(disk), sheep=self.cluster.sheep[first::3],
                    turns=self._turns[disk.name]) for first in range(3)]
            elif disk.name == 'hasty':
                users.append(users_module.Hasty(*arguments(disk)))
            else:
                users.append(users_module.Nomad(*arguments(disk)))
            users.append(users_module.Reader(*arguments(disk)))
        return users

    def _wait_progress(self, users):
        """:raises Failure: somebody is not served though all is well"""
        wanted = [(user, user.done + ALIVE_OPERATIONS) for user in users]

        def is_alive():
            _check_alive(users)
            return all(user.done >= count for user, count in wanted)
        try:
            harness.wait_until(is_alive, ALIVE_SECONDS, lambda: (
                'all users to be served: %s; %s' % (
                    ', '.join('%s of %s: %d of %d' % (
                        user.name, user.disk.name, user.done, count)
                        for user, count in wanted),
                    self.cluster.describe())))
        except harness.HarnessError as exc:
            raise Failure(str(exc)) from None

    def judge(self):
        """All blocks through each sheep, all copies, all answers so far.

        :raises Failure:
        """
        values = {}
        for sheep in self.cluster.sheep:
            with sheep.client() as client:
                for disk in self.disks:
                    values.update(record_module.read_all(
                        self.record, disk, client, 'the judge'))
        found = self.record.check()
        if found:
            raise Failure(self._story(found))
        done = self.cluster.dog('cluster', 'check', expect=None)
        if done.returncode:
            raise Failure('dog cluster check: exit code %d\n%s%s' % (
                done.returncode, done.stdout, done.stderr))
        self.tell('phase %d: %d writes, %d reads; all is there, all copies '
                  'are equal (refused: %s)' % (
                      self._phase, self.record.writes, self.record.reads,
                      ', '.join('%s %d' % item for item in sorted(
                          self.record.refused.items())) or 'none'))
        self.record.begin_anew(values)

    def _story(self, found):
        lines = ['%d blocks are wrong' % len(found)]
        for register, violation in found[:SHOWN_MAX]:
            lines.append('block %d of %s: %s' % (register[1], register[0],
                                                 violation))
            lines += ['        %s' % operation for operation in
                      self.record.operations(register)]
        return '\n'.join(lines)

    def give_back(self):
        """Delete all; what they used must come free.

        :raises Failure:
        """
        with self.cluster.client() as client:
            for disk in self.disks:
                client.vdis.delete(disk.name)
        try:
            harness.wait_until(
                lambda: not self._left(), GONE_SECONDS,
                lambda: 'objects of deleted VDIs to go: %s' % self._left())
        except harness.HarnessError as exc:
            raise Failure(str(exc)) from None
        self.tell('deleted: no object is left')

    def _left(self):
        return [str(path.relative_to(self.directory))
                for sheep in self.cluster.sheep
                for path in (sheep.meta / 'obj').iterdir()]

    def keep(self, directory):
        """Copy logs and stores for whoever wants to look."""
        self.cluster.kill_all()
        # (A disk that was pulled gives nothing.)
        with contextlib.suppress(shutil.Error):
            shutil.copytree(self.directory, directory, dirs_exist_ok=True,
                            symlinks=True, ignore=shutil.ignore_patterns(
                                '*.img', '*.sock', 'sock', 'lost+found'))


def _check_alive(users):
    for user in users:
        if user.crash is not None:
            raise user.crash
