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

"""dog cluster check and dog vdi check, on copies that are bad."""

import json
import os
import threading

from sheepdog.cmd import exits
from sheepdog.model import ids
from sheepdog.tests.functional import case
from sheepdog.tests.functional import damage
from sheepdog.tests.functional import harness

BLOCK = damage.BLOCK
OBJECT = 4 << 20


class TestCheck(case.ClusterCase):
    """What is damaged here, nobody but the check is to look at: so the
    cluster has nothing to do then, and nobody leaves it."""

    ttl = harness.PATIENT_TTL_SECONDS

    def make(self, name='v', size=2 * OBJECT):
        """A VDI with some data; the id of its first object."""
        vdi = self.create(name, size)
        with self.cluster.client() as client, client.open(name) as volume:
            for number in range(16):
                volume.write(number * BLOCK, bytes([number + 1]) * BLOCK)
            volume.write(OBJECT, b'x' * BLOCK)
            volume.flush()
        self.cluster.wait_idle()
        return ids.data_oid(vdi['vdi_id'], 0)

    def check(self, *words, expect=exits.OK):
        done = self.cluster.dog(*words, '--json', expect=expect)
        return json.loads(done.stdout)

    def put_apart(self, oid, number, data, version=None):
        """Have one copy, not the first, hold something else."""
        # (Else the next start compares the copies, and mends this one.)
        self.cluster.shutdown_at_rest()
        sheep = damage.holders(self.cluster, oid)[-1]
        damage.rewrite(sheep, oid, number, data, version)
        self.cluster.make_whole()
        return sheep

    def test_all_is_well(self):
        self.make()
        lines = self.cluster.dog('vdi', 'check', 'v').stdout.splitlines()
        # The inode, and two objects.
        self.assertRegex(lines[0], r'^checked v: 9 copies, \d+ MB read$')
        self.assertEqual('all is well', lines[1])
        found = self.check('cluster', 'check')
        self.assertEqual([], found['problems'])
        self.assertEqual(3, len(found['nodes']))
        self.assertGreaterEqual(found['objects'], 9)
        self.assertEqual(
            '0 0 0 0 0\n',
            self.cluster.dog('vdi', 'check', '-e', 'v', '-r').stdout)

    def test_no_such_vdi(self):
        done = self.cluster.dog('vdi', 'check', 'none', expect=exits.MISSING)
        self.assertEqual('', done.stdout)

    def test_a_bad_block_is_mended(self):
        oid = self.make()
        sheep = damage.holders(self.cluster, oid)[1]
        damage.flip(sheep, oid, 3)
        damage.flip(sheep, oid, 12)
        found = self.check('vdi', 'check', 'v', expect=exits.MENDED)
        self.assertEqual((2, 1), (found['bad_blocks'], found['mended']))
        self.assertEqual(bytes([4]) * BLOCK, damage.block(sheep, oid, 3))
        self.assertEqual(bytes([13]) * BLOCK, damage.block(sheep, oid, 12))
        # Where nothing was ever written. (Not together with the others: the
        # copy made anew for them leaves this out.)
        damage.flip(sheep, oid, 500)
        found = self.check('vdi', 'check', 'v', expect=exits.MENDED)
        self.assertEqual((1, 1), (found['bad_blocks'], found['mended']))
        self.assertEqual(bytes(BLOCK), damage.block(sheep, oid, 500))
        self.check('vdi', 'check', 'v')

    def test_what_no_copy_has_good(self):
        oid = self.make()
        for sheep in damage.holders(self.cluster, oid):
            damage.flip(sheep, oid, 7)
        found = self.check('vdi', 'check', 'v', expect=exits.SYSTEM)
        self.assertEqual(3, found['counts']['irreparable'])
        self.assertIn('blocks 7', found['problems'][0]['detail'])
        # Written anew it is well again.
        with self.cluster.client() as client, client.open('v') as volume:
            volume.write(7 * BLOCK, b'n' * BLOCK)
        self.check('vdi', 'check', 'v')

    def test_an_object_that_nobody_has(self):
        oid = self.make()
        self.cluster.shutdown_at_rest()
        for sheep in damage.holders(self.cluster, oid):
            damage.path(sheep, oid).unlink()
        self.cluster.make_whole()
        for words in ('-e', 'v'), ('v',):
            found = self.check('vdi', 'check', *words, expect=exits.SYSTEM)
            self.assertEqual(['missing'], [
                problem['kind'] for problem in found['problems']])
            self.assertEqual(ids.hex_oid(oid),
                             found['problems'][0]['object'])

    def test_a_copy_that_is_not_there(self):
        oid = self.make()
        self.cluster.shutdown_at_rest()
        first = damage.holders(self.cluster, oid)[0]
        damage.path(first, oid).unlink()
        self.cluster.make_whole()
        found = self.check('vdi', 'check', 'v', expect=exits.MENDED)
        self.assertEqual(1, found['settled'])
        self.assertEqual(bytes([4]) * BLOCK, damage.block(first, oid, 3))

    def test_copies_that_differ(self):
        oid = self.make()
        sheep = self.put_apart(oid, 3, b'o' * BLOCK)
        found = self.check('vdi', 'check', 'v', expect=exits.SYSTEM)
        self.assertEqual(['differs'], [problem['kind'] for problem
                                       in found['problems']])
        self.assertIn('blocks 3, at ', found['problems'][0]['detail'])
        # Nobody has guessed.
        self.assertEqual(b'o' * BLOCK, damage.block(sheep, oid, 3))
        self.assertEqual([], damage.quarantined(sheep, oid))

    def test_a_copy_that_is_behind(self):
        oid = self.make()
        sheep = self.put_apart(
            oid, 3, b'o' * BLOCK,
            damage.version(self.cluster.sheep[0], oid) - 1)
        found = self.check('vdi', 'check', 'v', expect=exits.MENDED)
        self.assertEqual(1, found['settled'])
        self.assertEqual(bytes([4]) * BLOCK, damage.block(sheep, oid, 3))
        kept, = damage.quarantined(sheep, oid)
        self.assertEqual(b'o' * BLOCK,
                         kept.read_bytes()[3 * BLOCK:4 * BLOCK])

    def test_a_file_that_tells_nothing(self):
        """It is made anew, and what was there is kept."""
        oid = self.make()
        self.cluster.shutdown_at_rest()
        sheep = damage.holders(self.cluster, oid)[1]
        os.removexattr(damage.path(sheep, oid), damage.ATTRIBUTE)
        self.cluster.make_whole()
        # Its own sheep finds it, or recovery does first, when the first
        # target asks for the state of that copy.
        done = self.cluster.dog('vdi', 'check', 'v', '--json', expect=None)
        self.assertEqual((exits.MENDED, 1) if done.returncode else (
            exits.OK, 0), (done.returncode,
                           json.loads(done.stdout)['mended']))
        self.assertEqual([], self.check('vdi', 'check', 'v')['problems'])
        self.assertEqual(bytes([4]) * BLOCK, damage.block(sheep, oid, 3))
        self.assertEqual(1, len(damage.quarantined(sheep, oid)))

    def test_while_clients_write(self):
        """What they have just begun is not taken for a difference."""
        self.make()
        over = threading.Event()
        count = [0]

        def write():
            with self.cluster.client() as client, client.open('v') as volume:
                while not over.is_set():
                    volume.write(count[0] % 8 * BLOCK,
                                 b'%08d' % count[0] * (BLOCK // 8),
                                 fua=False)
                    count[0] += 1

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(2):
                self.check('vdi', 'check', 'v')
        finally:
            over.set()
            thread.join()
        self.assertGreater(count[0], 0)
