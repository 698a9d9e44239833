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


"""What a sheep refuses when it starts: each with a message that names the
thing, an exit code, and nothing changed on disk."""

import socket
import unittest

from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness
from sheepdog.tests.functional import mounts

SYSTEM, FULL, USAGE = 2, 4, 64
SECONDS = 180


class RefusalCase(case.DirectoryCase):

    def setUp(self):
        super().setUp()
        self.coordination = self.directory / 'coordination'
        self.stores = self.directory / 'stores'
        self.stores.mkdir()
        self.key_file = harness.make_key(self.directory)

    def new_sheep(self, number=0, directory=None, url=None):
        sheep = harness.Sheep(directory or self.stores, number,
                              url or 'local:%s' % self.coordination,
                              key_file=self.key_file)
        self.addCleanup(sheep.end)
        sheep.meta.mkdir(exist_ok=True)
        return sheep

    def used_sheep(self, directory=None, url=None):
        """One that has been a cluster, and is stopped."""
        cluster = harness.Cluster(directory or self.stores,
                                  url or 'local:%s' % self.coordination,
                                  count=1, copies=1,
                                  ttl=harness.PATIENT_TTL_SECONDS,
                                  key_file=self.key_file)
        self.addCleanup(cluster.end)
        self.addOnException(lambda _info: self.attach(cluster.logs()))
        cluster.start()
        cluster.form()
        cluster.create('vdi', 8 << 20)
        with cluster.client() as client, client.open('vdi') as volume:
            volume.write(0, b'kept' * 1024)
        self.assertEqual(cluster.sheep[0].terminate(), 0)
        return cluster.sheep[0]

    def assert_refused(self, sheep, code, *words, options=(), beside=()):
        """In the foreground and in the background.

        :param words: what the message must name
        :param beside: more directories in which nothing may change
        """
        places = [sheep.meta, *beside]
        before = [mounts.picture(place) for place in places]
        command = sheep.command(*options)
        for line in command, [word for word in command if word != '-f']:
            done = harness.run(*line, expect=None, seconds=SECONDS)
            told = done.stderr
            self.assertEqual((done.returncode, done.stdout), (code, ''),
                             told)
            self.assertTrue(told.startswith('sheep: '), told)
            self.assertNotIn('Traceback', told)
            self.assertLessEqual(len(told.splitlines()), 2, told)
            for word in words:
                self.assertIn(str(word), told)
            self.assertEqual(
                before, [mounts.picture(place) for place in places])


class TestStores(RefusalCase):

    def test_no_room_for_the_journal(self):
        small = mounts.mount(self, self.directory / 'small', 'tmpfs',
                             'size=8m')
        sheep = self.new_sheep(directory=small)
        self.assert_refused(sheep, FULL, sheep.meta, beside=[small])

    def test_full_to_the_last_byte(self):
        small = mounts.mount(self, self.directory / 'small', 'tmpfs',
                             'size=64m')
        sheep = self.new_sheep(directory=small)
        mounts.fill(small)
        self.assert_refused(sheep, FULL, sheep.meta)

    def test_read_only(self):
        place = mounts.mount(self, self.directory / 'read-only', 'tmpfs',
                             'size=128m')
        sheep = self.used_sheep(directory=place)
        mounts.remount(place, 'ro')
        self.assert_refused(sheep, SYSTEM, sheep.meta, 'read-only')
        mounts.remount(place, 'rw')
        sheep.start()
        sheep.wait_answering()

    def test_a_file_system_without_extended_attributes(self):
        place = mounts.mount(self, self.directory / 'plain', 'ramfs')
        sheep = self.new_sheep(directory=place)
        self.assert_refused(sheep, SYSTEM, sheep.meta,
                            'extended attributes')

    def test_of_another_cluster(self):
        other = self.used_sheep()
        elsewhere = self.directory / 'elsewhere'
        elsewhere.mkdir()
        cluster = harness.Cluster(
            elsewhere, 'local:%s' % (self.directory / 'other'), count=1,
            copies=1, ttl=harness.PATIENT_TTL_SECONDS,
            key_file=self.key_file)
        self.addCleanup(cluster.end)
        cluster.start()
        cluster.form()
        other.url = cluster.sheep[0].url
        self.assert_refused(other, SYSTEM, other.meta, 'cluster')
        # Whom it wanted to join was not disturbed.
        self.assertTrue(cluster.is_whole())
        self.assertEqual(cluster.epoch(), 1)

    def test_of_another_cluster_which_it_does_not_tell(self):
        """Then its leader finds out."""
        other = self.used_sheep()
        (other.meta / 'config').unlink()
        elsewhere = self.directory / 'elsewhere'
        elsewhere.mkdir()
        cluster = harness.Cluster(
            elsewhere, 'local:%s' % (self.directory / 'other'), count=1,
            copies=1, ttl=harness.PATIENT_TTL_SECONDS,
            key_file=self.key_file)
        self.addCleanup(cluster.end)
        self.addOnException(lambda _info: self.attach(
            {'other-' + name: text
             for name, text in cluster.logs().items()}))
        cluster.start()
        cluster.form()
        other.url = cluster.sheep[0].url
        other.start()
        self.assertEqual(other.wait(), SYSTEM)
        self.assertIn('belongs to another cluster',
                      harness.tail(other.meta / 'sheep.log'))
        cluster.wait_whole()
        self.assertEqual(cluster.epoch(), 1)
        cluster.create('vdi', 4 << 20)

    def test_used_by_another_sheep(self):
        sheep = self.used_sheep()
        sheep.start()
        sheep.wait_answering()
        other = self.new_sheep()
        self.assertEqual(other.meta, sheep.meta)
        harness.wait_until(lambda: sheep.status == 'ok', 60, 'it to serve')
        # The one that has it goes on writing the rest.
        before = self.outlines(sheep.meta)
        for line in other.command(), other.command()[:1] + [
                word for word in other.command()[1:] if word != '-f']:
            done = harness.run(*line, expect=SYSTEM, seconds=SECONDS)
            self.assertIn(str(sheep.meta), done.stderr)
            self.assertIn('another sheep', done.stderr)
        self.assertEqual(before, self.outlines(sheep.meta))
        # Its socket is still the one that has the store.
        with harness.client_module.Client(
                [str(sheep.meta / 'sock')]) as client:
            self.assertEqual(client.cluster.info()['status'], 'ok')

    def outlines(self, meta):
        """Who it is, whose it is, and which files there are."""
        return (sorted(path.name for path in meta.iterdir()),
                sorted(path.name for path in (meta / 'obj').iterdir()),
                sorted(path.name for path in (meta / 'journal').iterdir()),
                (meta / 'store').read_text(), (meta / 'config').read_text(),
                (meta / 'sock').stat().st_ino)

    def test_not_a_directory(self):
        sheep = self.new_sheep()
        sheep.meta.rmdir()
        sheep.meta.write_text('something else')
        self.assert_refused(sheep, SYSTEM, sheep.meta,
                            beside=[self.stores])

    def test_a_journal_in_a_place_that_is_not_there(self):
        sheep = self.new_sheep()
        self.assert_refused(
            sheep, SYSTEM, '/no/such/place',
            options=['-j', 'size=32M,dir=/no/such/place'])


class TestAddresses(RefusalCase):

    def occupy(self, port):
        listener = socket.create_server((harness.HOST, port))
        self.addCleanup(listener.close)

    def test_the_port_is_in_use(self):
        sheep = self.new_sheep()
        self.occupy(sheep.port)
        self.assert_refused(sheep, SYSTEM, 'port %d' % sheep.port, '-p')

    def test_the_port_for_nbd_is_in_use(self):
        sheep = self.new_sheep()
        self.occupy(sheep.nbd_port)
        self.assert_refused(sheep, SYSTEM, 'port %d' % sheep.nbd_port,
                            '--nbd')

    def test_an_address_of_another_host(self):
        sheep = self.new_sheep()
        self.assert_refused(sheep, SYSTEM, '192.0.2.1',
                            options=['-b', '192.0.2.1'])


class TestCoordination(RefusalCase):

    def test_a_server_that_is_not_there(self):
        for kind in 'zookeeper', 'etcd', 'redis':
            with self.subTest(kind):
                address = '%s:%d' % (harness.HOST, harness.free_port())
                sheep = self.new_sheep(url='%s:%s' % (kind, address))
                self.assert_refused(sheep, SYSTEM, address)

    def test_a_server_that_does_not_answer(self):
        listener = socket.create_server((harness.HOST, 0))
        self.addCleanup(listener.close)
        address = '%s:%d' % listener.getsockname()
        for kind in 'zookeeper', 'etcd', 'redis':
            with self.subTest(kind):
                sheep = self.new_sheep(url='%s:%s' % (kind, address))
                self.assert_refused(sheep, SYSTEM, address)

    def test_a_directory_that_is_none(self):
        self.coordination.write_text('a file')
        sheep = self.new_sheep()
        self.assert_refused(sheep, SYSTEM, self.coordination)

    def test_a_kind_that_does_not_exist(self):
        sheep = self.new_sheep(url='corosync:127.0.0.1')
        self.assert_refused(sheep, USAGE, 'corosync')


class TestOptions(RefusalCase):

    def test_each(self):
        sheep = self.new_sheep()
        for options, word in (
                (['--no-such-thing'], '--no-such-thing'),
                (['-Q'], '-Q'),
                (['-D'], '--directio'),
                (['-r', 'port=8000'], '--http'),
                (['-j', 'size=1K'], 'journal'),
                (['-j', 'siize=1M'], 'siize'),
                (['-p', 'seven'], 'seven'),
                (['-z', '-5'], 'zone'),
                (['-R', 'max=many'], 'many'),
                (['-V', '0'], 'vnodes'),
                (['--ttl', '0'], 'ttl'),
                (['--config-file', '/no/such/file'], '/no/such/file'),
                (['/another/store'], 'one META')):
            with self.subTest(word):
                self.assert_refused(sheep, USAGE, word, options=options)

    def test_several_disks(self):
        sheep = self.new_sheep()
        *words, meta = sheep.command()
        disk = self.directory / 'disk'
        for disks, word in ((meta, 'META'),
                            ('%s,%s' % (disk, disk), 'twice')):
            with self.subTest(word):
                done = harness.run(*words, '%s,%s' % (meta, disks),
                                   expect=SYSTEM)
                self.assertIn(word, done.stderr)
                self.assertEqual(mounts.picture(sheep.meta), {})
                self.assertFalse(disk.exists())

    def test_a_configuration_file_with_a_typing_mistake(self):
        sheep = self.new_sheep()
        path = self.directory / 'sheepdog.conf'
        path.write_text('[DEFAULT]\nnosink = true\n')
        self.assert_refused(sheep, USAGE, path, 'nosink',
                            options=['--config-file', path])


if __name__ == '__main__':
    unittest.main()
