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


"""Tests of sheepdog.cmd.neighbours."""

import os
import shutil
import tempfile
import types
import unittest

from sheepdog.cmd import exits
from sheepdog.cmd import neighbours
from sheepdog.model import keys
from sheepdog.peer import access
from sheepdog.testing import fake_sheep


class NeighboursTest(unittest.TestCase):
    def setUp(self):
        self.meta = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.meta)
        self.sheep = fake_sheep.FakeSheep()
        self.sheep.start()
        self.addCleanup(self.sheep.stop)

    def store_of(self, created):
        with open(os.path.join(self.meta, 'config'), 'w') as file:
            file.write('{"created": %d}' % created)

    def cluster_is(self, status, created):
        self.sheep.cluster.answers['cluster.info'] = {
            'status': status,
            'settings': {'created': created} if created else None}

    def members(self, gone=False):
        port = self.sheep.address.rpartition(':')[2]
        found = [types.SimpleNamespace(host='127.0.0.1', port=int(port))]
        if gone:
            found.insert(0, types.SimpleNamespace(host='127.0.0.1', port=1))
        return found

    def test_a_new_store(self):
        self.cluster_is('ok', 5 << 32)
        neighbours.check(self.meta, self.members())
        self.assertEqual([], self.sheep.cluster.asked)

    def test_our_own(self):
        self.store_of(5 << 32)
        self.cluster_is('ok', 5 << 32)
        neighbours.check(self.meta, self.members(gone=True))
        self.assertEqual(1, len(self.sheep.cluster.asked))

    def test_nobody_is_there(self):
        self.store_of(5 << 32)
        neighbours.check(self.meta, [])
        self.sheep.stop()
        neighbours.check(self.meta, self.members())

    def test_another(self):
        self.store_of(5 << 32 | 7)
        self.cluster_is('ok', 5 << 32)
        with self.assertRaisesRegex(exits.Stop, self.meta) as caught:
            neighbours.check(self.meta, self.members(gone=True))
        self.assertEqual(2, caught.exception.exit_code)
        self.assertIn('another cluster', str(caught.exception))

    def test_another_key(self):
        """Also a new store would get nowhere."""
        ours, theirs = (access.AccessSettings(keys=access.StaticKeys(
            keys.Keyring((keys.Key.of(byte * 36),))))
            for byte in (b'o', b't'))
        self.sheep.keyring = theirs.keys.keyring()
        self.cluster_is('ok', 5 << 32)
        for settings in ours, access.AccessSettings():
            if settings.keys is None:
                self.store_of(5 << 32)
            with self.assertRaisesRegex(exits.Stop, 'another key') as caught:
                neighbours.check(self.meta, self.members(gone=True),
                                 settings)
            self.assertEqual(2, caught.exception.exit_code)
            self.assertIn(self.sheep.address, str(caught.exception))
        neighbours.check(self.meta, self.members(), theirs)

    def test_one_that_does_not_run_yet(self):
        self.store_of(5 << 32)
        for status, created in (('wait-join', 6 << 32), ('wait-format', 0)):
            self.cluster_is(status, created)
            neighbours.check(self.meta, self.members())

    def test_what_a_store_does_not_tell(self):
        self.cluster_is('ok', 5 << 32)
        for text in ('', '{}', '[]', '{"created": null}', '\x00'):
            with open(os.path.join(self.meta, 'config'), 'w') as file:
                file.write(text)
            neighbours.check(self.meta, self.members())
