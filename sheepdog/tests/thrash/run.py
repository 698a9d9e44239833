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

from sheepdog.placement import redundancy
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import ordeal
from sheepdog.tests.thrash import family as family_module
from sheepdog.tests.thrash import faults
from sheepdog.tests.thrash import record as record_module
from sheepdog.tests.thrash import strips
from sheepdog.tests.thrash import users as users_module
from sheepdog.tests.thrash import volumes

DISK_BYTES = 48 << 20
BLOCKS = 96
OBJECT_SHIFT = 22
PHASE_SECONDS = 60.0
GONE_SECONDS = 240.0
ALIVE_SECONDS = 240.0
ALIVE_OPERATIONS = 20
FIT_SECONDS = 120.0
WITH_ONE_DISK = 2
WITH_SEVERAL = 2
FRAIL_EVERY = 2
SHOWN_MAX = 5


class Thrash:
    """One cluster, from its birth to its end.

    :param tell: gets each line of the story
    """

    def __init__(self, seed, sheep=7, copies=3, coordination='zookeeper',
                 tell=print):
        self.seed = seed
        self.tell = tell
        self.record = record_module.Record()
        self._kinds = {kind.name: kind for kind in volumes.KINDS}
        self._all_disks = [
            # (What one copy has no room for may leave half of a write that
            # is on two blocks of the disk; only strips take it back.)
            record_module.Disk(kind.name, number, DISK_BYTES, BLOCKS,
                               is_ragged=kind.is_coded)
            for number, kind in enumerate(volumes.KINDS, 1)]
        self._ids = {}
        """Of the VDIs that there are."""
        self._values = {}
        self._count = sheep
        self._copies = copies
        self._kind = case.SERVERS[coordination]
        self._turns = {disk.name: users_module.Turns(self.record)
                       for disk in self._all_disks}
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
            self.troubles.altered = [
                kind.name for kind in volumes.KINDS if kind.is_altered]
            self.troubles.turned = {
                kind.name: kind.turns for kind in volumes.KINDS
                if kind.turns}
            self.troubles.give_disks(
                self.cluster.sheep[:WITH_ONE_DISK],
                self.cluster.sheep[WITH_ONE_DISK:][:WITH_SEVERAL])
            self.cluster.start()
            self.cluster.form()
            self._create(disk for disk in self._all_disks
                         if not self._kinds[disk.name].is_frail)
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_exc):
        self._ends.close()

    def go_on(self, seconds):
        """Phases until the time is up, at least one. What bears one loss
        only is there in every other one.

        :raises Failure:
        """
        until = time.monotonic() + seconds
        while True:
            self._make_ready(is_frail=self._phase % FRAIL_EVERY == 0)
            self.phase(min(PHASE_SECONDS, until - time.monotonic()))
            if time.monotonic() >= until:
                break
        self.give_back(self.disks)

    def _create(self, disks):
        for disk in disks:
            kind = self._kinds[disk.name]
            created = self.cluster.create(
                disk.name, disk.size, block_size_shift=OBJECT_SHIFT,
                **kind.options())
            self._ids[disk.name] = created['vdi_id']

    @property
    def disks(self):
        """Of the VDIs that there are."""
        return [disk for disk in self._all_disks if disk.name in self._ids]

    def _make_ready(self, is_frail):
        """For a phase in which one loss is borne, or one with more."""
        frail = [disk for disk in self._all_disks
                 if self._kinds[disk.name].is_frail]
        if is_frail:
            self._create(frail)
            self.troubles.losses = 1
            return
        self.give_back(frail)
        self.troubles.losses = self._copies - 1
        for name in self.troubles.altered:
            self.troubles.alter_to(name, str(self._copies))
        self._wait_altered()

    def phase(self, seconds):
        """Load and trouble, then rest, then the checks."""
        self._phase += 1
        family = family_module.Family(
            self.cluster, self.record, self.directory, self._files_of_others,
            self.seed, self._phase)
        users = self._users() + family.users
        for user in users:
            user.start()
        try:
            self.troubles.go_on(seconds, lambda: _check_alive(users))
            self.tell('heal')
            self.troubles.make_whole()
            self.tell('whole again')
            self.troubles.plug_all()
            self._wait_progress(users)
            self.tell('all users are served')
        finally:
            for user in users:
                user.tell_to_stop()
        for user in users:
            user.join()
        self.tell('users have ended')
        self.cluster.wait_whole(faults.WHOLE_SECONDS)
        self._wait_altered()
        self.tell(family.judge())
        self.judge()
        family.give_back()
        self.tell('branches: all are deleted, and no object is left')

    def _files_of_others(self):
        """All that are of no disk."""
        ours = {'%06x' % vdi_id for vdi_id in self._ids.values()}
        return [path for path in strips.files(self.troubles.directories())
                if path.name[2:8] not in ours]

    def _users(self):
        def arguments(disk):
            number = next(self._users_so_far)
            return ('user %d of %s' % (number, disk.name), self.cluster,
                    self.record, disk, '%d %d' % (self.seed, number))

        users = []
        for disk in self.disks:
            user = self._kinds[disk.name].user
            if user == 'owner':
                users += [users_module.Owner(
                    *arguments(disk), sheep=self.cluster.sheep[first::3],
                    turns=self._turns[disk.name]) for first in range(3)]
            elif user == 'hasty':
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
        ordeal.wait(is_alive, ALIVE_SECONDS, lambda: (
            'all users to be served: %s; %s' % (
                ', '.join('%s: %d of %d' % (user.name, user.done, count)
                          for user, count in wanted),
                self.cluster.describe())))

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
            raise ordeal.Failure(self._story(found))
        done = self.cluster.dog('cluster', 'check', expect=None)
        if done.returncode:
            raise ordeal.Failure('dog cluster check: exit code %d\n%s%s' % (
                done.returncode, done.stdout, done.stderr))
        ordeal.wait(lambda: not self._strips(), FIT_SECONDS, lambda: (
            'strips to fit: %s' % self._strips()))
        self.tell('phase %d: %d writes, %d reads; all is there, all copies '
                  'and strips fit (refused: %s)' % (
                      self._phase, self.record.writes, self.record.reads,
                      ', '.join('%s %d' % item for item in sorted(
                          self.record.refused.items())) or 'none'))
        self._rest(values)

    def _rest(self, values):
        """All is judged."""
        self._values = values
        self.record.begin_anew(values)

    def _story(self, found):
        lines = ['%d blocks are wrong' % len(found)]
        for register, violation in found[:SHOWN_MAX]:
            lines.append('block %d of %s: %s' % (register[1], register[0],
                                                 violation))
            lines += ['        %s' % operation for operation in
                      self.record.operations(register)]
        return '\n'.join(lines)

    def _wait_altered(self):
        """Until all VDIs are kept as they were to be last.

        :raises Failure:
        """
        def policy_of(vdi):
            return redundancy.Policy(vdi['copies'], vdi['copy_policy'])

        def wrong():
            with self.cluster.client() as client:
                listed = {vdi['name']: vdi for vdi in client.vdis.list()}
            return [vdi for name, vdi in listed.items()
                    if vdi['copies_before'] or vdi['objects_left']
                    or policy_of(vdi) != (
                        self.troubles.copies.get(name) or policy_of(vdi))]

        ordeal.wait(lambda: not wrong(), faults.WHOLE_SECONDS, lambda: (
            'copies that were altered: %s; %s' % (wrong(),
                                                  self.cluster.describe())))
        self.troubles.copies.clear()

    def _strips(self):
        """What is wrong with them, or with some of them."""
        found = []
        for name, vdi_id in self._ids.items():
            kind = self._kinds[name]
            if kind.is_coded:
                data, parity = map(int, kind.policy.split(':'))
                found += strips.wrong(self.troubles.directories(), vdi_id,
                                      data, parity, 1 << OBJECT_SHIFT)
        return found[:SHOWN_MAX]

    def give_back(self, disks):
        """Delete these; what they used must come free.

        :raises Failure:
        """
        ids = []
        with self.cluster.client() as client:
            for disk in disks:
                client.vdis.delete(disk.name)
                ids.append(self._ids.pop(disk.name))

        def left():
            return strips.left(self.troubles.directories(), ids)
        ordeal.wait(lambda: not left(), GONE_SECONDS, lambda: (
            'objects of deleted VDIs to go: %s' % left()))
        self._rest({register: value for register, value
                    in self._values.items() if register[0] in self._ids})
        self.tell('deleted %s: no object is left' % ', '.join(
            disk.name for disk in disks))

    def keep(self, directory):
        """Copy logs and stores for whoever wants to look."""
        self.cluster.kill_all()
        ordeal.copy_stores(self.directory, directory, '*.img', 'lost+found')


def _check_alive(users):
    for user in users:
        if user.crash is not None:
            raise user.crash
