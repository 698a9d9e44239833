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

"""A store is looked at, or it is said why not."""

import json
import unittest

from sheepdog.legacy import contents
from sheepdog.legacy import formats
from sheepdog.model import ids
from sheepdog.tests.unit.legacy import hosts as hosts_module
from sheepdog.tests.unit.legacy import original


def small(driver='plain', disks=()):
    nodes = [original.Node('10.0.0.%d' % number, 7000, number, disks=disks)
             for number in (1, 2)]
    cluster = original.Original(nodes, driver)
    vdi = cluster.create('disk', 3 << 20)
    cluster.write(vdi, 0, 0, b'zero' * 128)
    cluster.write(vdi, 2, 512, b'two!' * 128)
    cluster.set_attribute('disk', 'owner', b'alice')
    return cluster.store()


class ScanCase(unittest.TestCase):
    def look(self, cluster, name=''):
        hosts = hosts_module.Hosts(cluster)
        self.addCleanup(hosts.close)
        return hosts.scan(cluster.nodes[0], name)

    def refused(self, cluster, *words, code=2):
        with self.assertRaises(formats.Refused) as caught:
            self.look(cluster)
        for word in words:
            self.assertIn(word, str(caught.exception))
        self.assertEqual(code, caught.exception.exit_code)


class ScanTest(ScanCase):
    def test_all_that_is_there(self):
        for driver, disks in (('plain', ()), ('tree', ()),
                              ('plain', ('d1', 'd2')), ('tree', ('d1',))):
            with self.subTest(driver, disks=disks):
                cluster = small(driver, disks)
                vdi = cluster.working('disk')
                found = self.look(cluster)
                inode = found.inodes[vdi.vdi_id]
                self.assertEqual(vdi.head().hex(), inode.head)
                self.assertEqual(((0, 1, vdi.vdi_id), (2, 1, vdi.vdi_id)),
                                 inode.runs)
                self.assertEqual(4, len(list(contents.members(found.runs))))
                self.assertEqual(1, len(found.attributes))
                self.assertEqual(found, contents.load(json.dumps(
                    found.to_dict()).encode()))

    def test_what_is_no_working_copy(self):
        cluster = small()
        node = cluster.nodes[0]
        before = self.look(cluster)
        for name in ('.stale/008f8a8400000001.1', '.stale/1',
                     '008f8a8400000001.1', '088f8a8400000000', 'a note',
                     '008f8a8400000001_3'):
            cluster.put(node, 'META/obj/' + name, b'x')
        found = self.look(cluster)
        self.assertEqual((3, 1, 1, {0x8f8a84: 1}), (
            found.stale, found.ledgers, found.strangers, found.strips))
        self.assertEqual(before.runs, found.runs)
        self.assertNotEqual(before.fingerprint, found.fingerprint)

    def test_an_object_of_another_length(self):
        cluster = small()
        cluster.put(cluster.nodes[0], 'META/obj/%016x' % (7 << 32), b'x')
        self.assertEqual({7 << 32: 1}, self.look(cluster).sizes)

    def test_the_content_counts_not_the_place(self):
        first, second = self.look(small()), self.look(small(), 'a:1')
        self.assertEqual(first.fingerprint, second.fingerprint)
        self.assertNotEqual(first.name, second.name)


class RefusalTest(ScanCase):
    def test_not_shut_down(self):
        cluster = small()
        node = cluster.nodes[0]
        changed = bytearray(cluster.config(node))
        changed[27] = 0
        cluster.put(node, 'META/config', bytes(changed))
        self.refused(cluster, '/old', 'not shut down cleanly',
                     'dog cluster shutdown')

    def test_vnodes_by_disk(self):
        cluster = small()
        cluster.flags = 6
        self.refused(cluster.store(), 'vnodes by disk')

    def test_a_journal(self):
        cluster = small()
        cluster.put(cluster.nodes[0], 'META/journal/journal_file0',
                    bytes(5000))
        self.look(cluster)
        cluster.put(cluster.nodes[0], 'META/journal/journal_file1',
                    bytes(2 << 20) + b'x')
        self.refused(cluster, 'journal_file1) is not empty')

    def test_no_store(self):
        cluster = small()
        del cluster.nodes[0].files['META/config']
        self.refused(cluster, 'no file "config"', code=5)

    def test_no_epochs(self):
        cluster = small()
        del cluster.nodes[0].files['META/epoch/00000001']
        self.refused(cluster, 'no epoch log')

    def test_a_torn_epoch(self):
        cluster = small()
        cluster.put(cluster.nodes[0], 'META/epoch/00000001', b'x' * 99)
        self.refused(cluster, 'epoch/00000001 has 99 bytes: it is torn')

    def test_a_disk_that_is_not_there(self):
        cluster = small(disks=('d1',))
        hosts = hosts_module.Hosts(cluster)
        self.addCleanup(hosts.close)
        with self.assertRaisesRegex(formats.Refused, '/d2 of its objects is '
                                                     'missing'):
            hosts.run(cluster.nodes[0], lambda world: contents.Directory(
                world.disk, '/old', ('/d1', '/d2')).scan())

    def test_an_object_twice(self):
        cluster = small('plain', ('d1', 'd2'))
        for disk in 'd1', 'd2':
            cluster.put(cluster.nodes[0], disk + '/0000000700000000', b'x')
        self.refused(cluster, 'object 0000000700000000 is there twice')

    def test_a_torn_inode(self):
        cluster = small()
        cluster.put(cluster.nodes[0], 'META/obj/%016x' % ids.vdi_oid(
            cluster.working('disk').vdi_id), b'x' * 5000)
        self.refused(cluster, 'has 5000 bytes, not the 12587576 of an inode')

    def test_an_attribute_that_is_none(self):
        for data, word in ((b'x', 'has 1 bytes'), (b'x' * 1000, 'no sense')):
            cluster = small()
            cluster.put(cluster.nodes[0], 'META/obj/2000000700000000', data)
            self.refused(cluster, '2000000700000000', word)


class FileTest(ScanCase):
    def test_what_is_none(self):
        good = self.look(small()).to_dict()
        for changes in (
                {'kind': 'other'}, {'format': 2}, {'meta': 5}, {'runs': 5},
                {'runs': [[5, 0]]}, {'runs': [[-1, 2]]}, {'epochs': [[1]]},
                {'config': good['config'][:-1]}, {'inodes': [[1, 'ab', [],
                                                              'x']]},
                {'attributes': [[1, 'AAAA']]}, {'strips': 5},
                {'sizes': [['1', 2]]}):
            with self.subTest(changes), self.assertRaises(formats.Refused):
                contents.load(json.dumps(dict(good, **changes)).encode())
        for data in b'', b'{', b'[]', b'{}', b'\xff', b'[' * 100000:
            with self.assertRaises(formats.Refused):
                contents.load(data)
