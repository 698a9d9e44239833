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

"""Sheep with several disks: plugged, unplugged, failing, missing."""

import fcntl
import os
import shutil
import struct
import subprocess
import unittest

from sheepdog.testing import servers
from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness

SYSTEM = 2
OBJECT = 4 << 20
OBJECTS = 12
SHUTDOWN = 0x8004587d
"""The ioctl by which ext4 (and others) answer every request with EIO."""


class DisksCase(case.DirectoryCase):
    """``self.cluster``: three sheep, the first with the directories
    ``disks`` for disks."""

    copies = 2

    def start(self, *disks):
        server = servers.Files()
        server.start()
        self.addCleanup(server.close)
        self.cluster = harness.Cluster(self.directory, server.option, 3,
                                       self.copies)
        self.addCleanup(self.cluster.end)
        self.addOnException(lambda _: self.attach(self.cluster.logs()))
        self.first = self.cluster.sheep[0]
        self.first.disks = list(disks)
        self.cluster.start()
        self.cluster.form()
        self.cluster.create('data', OBJECTS * OBJECT)
        self.write(1)

    def directories(self, *names):
        paths = [self.directory / name for name in names]
        for path in paths:
            path.mkdir()
        return paths

    def write(self, seed):
        self.seed = seed
        with self.cluster.client() as client:
            with client.open('data') as volume:
                for index in range(OBJECTS):
                    volume.write(index * OBJECT, self.content(index), True)

    def content(self, index):
        return bytes([self.seed, index]) * 8192

    def check(self, *sheep):
        with self.cluster.client(*sheep) as client:
            with client.open('data') as volume:
                for index in range(OBJECTS):
                    self.assertEqual(volume.read(index * OBJECT, 16384),
                                     self.content(index), index)

    def disks(self):
        with self.first.client() as client:
            return client.nodes.disks()

    def paths(self):
        return [disk['path'] for disk in self.disks()]

    def dog(self, *words, **options):
        return self.cluster.dog('node', 'md', *words, sheep=self.first,
                                **options)

    def wait_paths(self, *paths):
        paths = [str(path) for path in paths]
        harness.wait_until(lambda: self.paths() == paths, 60,
                           lambda: '%s, not %s' % (paths, self.disks()))

    def wait_spread(self):
        """Until all disks have objects, and none is on two."""
        def is_spread():
            counts = [disk['objects'] for disk in self.disks()]
            return all(counts) and not self.doubles()
        harness.wait_until(is_spread, 60, lambda: '%s' % self.disks())

    def doubles(self):
        seen, twice = set(), []
        for disk in self.disks():
            path = disk['path'].removesuffix('/obj') + '/obj'
            for name in os.listdir(path):
                if name in seen:
                    twice.append(name)
                seen.add(name)
        return twice

    def restart(self):
        self.first.terminate()
        self.first.start()
        self.first.wait_answering()
        self.cluster.wait_whole()

    def kill_second(self):
        """As soon as it is not needed."""
        second = self.cluster.sheep[1]
        said = []

        def is_safe():
            done = harness.run(
                harness.BIN / 'sheepdog-manage', '-a', self.first.address,
                'safe-to-stop', second.address, '--ignore-clients',
                expect=None, env=dict(os.environ, SHEEPDOG_KEY_FILE=str(
                    self.cluster.key_file)))
            said[:] = [done.stdout + done.stderr]
            return not done.returncode

        harness.wait_until(is_safe, 90, lambda: said[0])
        second.kill()

    def refused(self, *words):
        """The sheep does not start; what it says has these words."""
        self.first.output.write_bytes(b'')
        self.first.start()
        self.assertEqual(self.first.wait(), SYSTEM)
        text = harness.tail(self.first.output)
        self.assertNotIn('Traceback', text)
        for word in words:
            self.assertIn(str(word), text)
        return text


class TestDisks(DisksCase):

    def test_plug_and_unplug(self):
        one, two, three = self.directories('one', 'two', 'three')
        self.start(one, two)
        lines = self.dog('info').stdout.splitlines()
        self.assertEqual(lines[0], 'Id\tSize\tUsed\tAvail\tUse%\tPath')
        self.assertRegex(lines[1], r'^ 0\t[\d.]+ [KMGT]B\t[\d.]+ [KMGT]B\t'
                         r'[\d.]+ [KMGT]B\t +\d+%%\t%s$' % one)
        self.assertEqual(len(lines), 3)
        self.assertRegex(self.dog('info', '-r').stdout.splitlines()[1],
                         r'^1 \d+ \d+ \d+ \d+%% %s$' % two)
        everyone = self.dog('info', '--all').stdout.splitlines()
        self.assertEqual([line for line in everyone if 'Node' in line],
                         ['Node 0:', 'Node 1:', 'Node 2:'])
        self.assertEqual(self.dog('plug', three).stdout, '')
        self.wait_spread()
        self.wait_paths(one, two, three)
        self.check()
        self.dog('unplug', one)
        self.wait_paths(two, three)
        self.assertEqual(os.listdir(one / 'obj'), [])
        self.write(2)
        # Named still, but unplugged; not named, but plugged in.
        self.restart()
        self.wait_paths(two, three)
        self.assertFalse(self.doubles())
        self.check()
        self.kill_second()
        self.check(self.first, self.cluster.sheep[2])

    def test_from_meta_to_disks(self):
        one, two = self.directories('one', 'two')
        self.start()
        self.assertEqual(self.paths(), ['%s/obj' % self.first.meta])
        self.dog('plug', '%s,%s' % (one, two))
        self.wait_spread()
        self.dog('unplug', '%s/obj' % self.first.meta)
        self.wait_paths(one, two)
        self.restart()
        self.wait_paths(one, two)
        self.check()
        self.first.terminate()
        self.first.disks = [one, two]
        self.first.start()
        self.first.wait_answering()
        self.wait_paths(one, two)

    def test_what_cannot_be_plugged_or_unplugged(self):
        one, two = self.directories('one', 'two')
        self.start(one)
        for words, text in (
                (('plug', one), 'plugged in already'),
                (('plug', self.cluster.sheep[1].meta), 'another sheep'),
                (('unplug', two), 'none of the disks'),
                (('unplug', one), 'last disk')):
            with self.subTest(words):
                self.assertIn(text, self.dog(*words, expect=SYSTEM).stderr)
        self.assertIn('whole path', self.dog('plug', 'two',
                                             expect=64).stderr)
        self.assertEqual(self.paths(), [str(one)])

    def test_starts_that_are_refused(self):
        one, two, away = self.directories('one', 'two', 'away')
        away.rmdir()
        self.start(one, two)
        self.first.terminate()
        two.rename(away)
        self.refused(two, 'is missing', '--lost-disk')
        two.mkdir()
        self.refused(two, 'is missing')
        two.rmdir()
        shutil.copytree(self.cluster.sheep[1].meta, two,
                        ignore=shutil.ignore_patterns('sock', 'lock'))
        self.refused(two, 'is missing', 'another disk')
        shutil.rmtree(two)
        shutil.copytree(one, two)
        self.refused(one, two, 'the same disk')
        shutil.rmtree(two)
        old = self.directory / 'old'
        shutil.copytree(away, old)
        away.rename(two)
        self.first.start()
        self.first.wait_answering()
        self.cluster.wait_whole()
        self.check()
        self.first.terminate()
        self.first.start()
        self.first.wait_answering()
        self.first.terminate()
        shutil.rmtree(two)
        old.rename(two)
        self.refused(two, 'old copy')
        self.first.start('--lost-disk', two)
        self.first.wait_answering()
        self.cluster.wait_whole()
        self.wait_paths(one)
        self.kill_second()
        self.check(self.first, self.cluster.sheep[2])


class TestFailingDisk(DisksCase):

    def mount(self, name):
        """A small file system of its own; skips where that is not allowed.
        """
        image, path = self.directory / (name + '.img'), self.directory / name
        path.mkdir()
        with open(image, 'wb') as file:
            file.truncate(300 << 20)
        subprocess.run(['mkfs.ext4', '-q', '-F', image], check=True)
        done = subprocess.run(['mount', '-o', 'loop', image, path],
                              capture_output=True, text=True)
        if done.returncode:
            raise unittest.SkipTest('this user may not mount: %s'
                                    % done.stderr.strip())
        self.addCleanup(harness.run, 'umount', '--lazy', path, expect=None)
        return path

    @case.needs('mkfs.ext4')
    def test_its_objects_are_recovered(self):
        one, two = self.mount('one'), self.mount('two')
        self.start(one, two)
        epoch = self.cluster.epoch()
        self.fail(one)
        # Nobody is told of an error.
        self.write(2)
        self.check()
        self.wait_paths(two)
        harness.wait_until(lambda: self.cluster.epoch() > epoch, 60,
                           'an epoch with less space')
        self.cluster.wait_whole()
        self.check()
        # It can be taken away, and what it had is here again.
        harness.run('umount', one)
        self.restart()
        self.wait_paths(two)
        self.kill_second()
        self.check(self.first, self.cluster.sheep[2])
        text = (self.first.meta / 'sheep.log').read_text()
        self.assertIn('it is given up', text)

    def fail(self, path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack('I', 2))
        except OSError as exc:
            raise unittest.SkipTest('no file system that can be made to '
                                    'fail: %s' % exc)
        finally:
            os.close(descriptor)
