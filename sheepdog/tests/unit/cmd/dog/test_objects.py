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

"""dog vdi object and dog vdi track, to the last space."""

import base64
import json

from sheepdog.model import errors
from sheepdog.model import inode
from sheepdog.model import view as view_model
from sheepdog.placement import ring
from sheepdog.tests.unit.cmd.dog import test_dog
from sheepdog.tests.unit.cmd.dog import test_tables as samples

VDI = 0x7c2b26
OID = 0x007c2b2500000000


def address(port):
    return {'host': '127.0.0.1', 'port': port}


FOUND = {
    'object': '%016x' % OID, 'vdi_id': VDI, 'index': 0, 'members': 3,
    'copies': 3, 'strips': [], 'history': [[1, 3], [2, 3]],
    'expected': [dict(address(port), strip=None)
                 for port in (7001, 7000, 7002)],
    'nodes': [dict(address(7000), parts=[-1]),
              dict(address(7001), parts=[-1]),
              dict(address(7002), parts=[])]}

LOCATION = '''\
Looking for the object 007c2b2500000000 (vid 0x7c2b26 idx 0, 3 copies) with \
3 nodes

127.0.0.1:7000 has the object
127.0.0.1:7001 has the object
127.0.0.1:7002 doesn't have the object

According to sheepdog algorithm, the object should be located at:
127.0.0.1:7001 127.0.0.1:7000 127.0.0.1:7002
'''


class ObjectCase(test_dog.DogCase):
    def setUp(self):
        super().setUp()
        self.cluster.answers['vdi.object'] = FOUND
        self.cluster.answers['vdi.inode'] = self.inode
        head = inode.InodeHead('test', vdi_size=20 << 20, vdi_id=VDI)
        self.content = bytearray(inode.CLIENT_BYTES)
        self.content[:572] = head.pack()
        for index, owner in ((0, 0x7c2b25), (3, 1 << 24 | VDI)):
            place = inode.map_offset(index)
            self.content[place:place + 4] = owner.to_bytes(4, 'little')

    def inode(self, arguments):
        start = arguments['offset']
        return {'vdi_id': VDI, 'data': base64.b64encode(
            self.content[start:start + arguments['count']]).decode()}


class LocationTest(ObjectCase):
    def test_columns(self):
        self.assertEqual(LOCATION, self.dog('vdi object location test -i 0'))
        self.assertEqual(
            {'name': 'test', 'tag': '', 'snap_id': 0, 'index': 0,
             'object': '', 'ask': True}, self.asked('vdi.object'))

    def test_raw(self):
        self.assertEqual(
            '127.0.0.1:7000 has 1 -\n127.0.0.1:7001 has 0 -\n'
            '127.0.0.1:7002 lacks 2 -\n',
            self.dog('vdi object location test -i 0 -r'))

    def test_the_inode(self):
        self.cluster.answers['vdi.object'] = dict(
            FOUND, index=-1, object='807c2b2600000000')
        self.assertEqual(
            'Looking for the inode object 0x7c2b26 with 3 nodes',
            self.dog('vdi object location test').splitlines()[0])

    def test_strips(self):
        self.cluster.answers['vdi.object'] = dict(
            FOUND, strips=[2, 1], nodes=[
                dict(address(7000), parts=[0]),
                dict(address(7001), parts=[1, 2]),
                dict(address(7009), parts=[])])
        lines = self.dog('vdi object location test -i 0').splitlines()
        self.assertIn('(vid 0x7c2b26 idx 0, 2:1 strips) with', lines[0])
        self.assertEqual(['127.0.0.1:7000 has the object (strip 0)',
                          '127.0.0.1:7001 has the object (strip 1,2)'],
                         lines[2:4])
        raw = self.dog('vdi object location test -i 0 -r').splitlines()
        self.assertEqual(['127.0.0.1:7001 has 0 1,2',
                          '127.0.0.1:7009 lacks -1 -'], raw[1:])

    def test_one_that_does_not_answer(self):
        self.cluster.answers['vdi.object'] = dict(FOUND, nodes=[
            *FOUND['nodes'][:2], dict(address(7002), error='time is up')])
        self.assertIn('127.0.0.1:7002 does not answer\n',
                      self.dog('vdi object location test -i 0', code=2))
        self.assertEqual('dog: 127.0.0.1:7002: time is up\n',
                         self.streams.complaint)

    def test_json(self):
        found = json.loads(self.dog('vdi object location test --json'))
        self.assertEqual([1, 0, 2], [one['place'] for one
                                     in found['copies_found']])

    def test_refused(self):
        for words in ('vdi object location', 'vdi object location a b',
                      'vdi object location a -i x', 'vdi object',
                      'vdi object location a -i 1048576',
                      'vdi object location a -i -1',
                      'vdi track a -i 1 -o ab'):
            self.dog(words, code=64)
        self.cluster.answers['vdi.object'] = errors.NoObject(
            'The inode object 0x7c2b26 idx 1 is not allocated')
        for words in ('vdi object location', 'vdi track', 'vdi object map',
                      'vdi object dump-inode'):
            self.assertEqual('', self.dog(words + ' test -i 1', code=5))
            self.assertIn('is not allocated', self.streams.complaint)


class MapTest(ObjectCase):
    def test_columns(self):
        self.assertEqual('Index       VID\n00000000   7c2b25\n'
                         '00000003   7c2b26\n',
                         self.dog('vdi object map test'))
        self.assertEqual('0 7c2b25\n3 7c2b26\n',
                         self.dog('vdi object map test -r'))
        self.assertEqual('3 7c2b26\n',
                         self.dog('vdi object map test -r -i 3'))
        self.assertEqual(
            [{'index': 0, 'vdi_id': 0x7c2b25}, {'index': 3, 'vdi_id': VDI}],
            json.loads(self.dog('vdi object map test --json')))

    def test_dump(self):
        self.dog('vdi object dump-inode test')
        self.assertEqual(bytes(self.content), self.streams.output)
        self.dog('vdi object dump-inode test -i 0')
        self.assertEqual(b'\x25\x2b\x7c\0', self.streams.output)
        found = json.loads(self.dog('vdi object dump-inode test --json'))
        self.assertEqual((20 << 20, VDI),
                         (found['vdi_size'], found['vdi_id']))


class TrackTest(ObjectCase):
    def places(self, oid, epoch, ports, copies):
        members = tuple(view_model.Member(
            '', '', '127.0.0.1', port, 0, 128) for port in ports)
        return ['127.0.0.1:%d' % ports[place] for place in ring.Ring(
            view_model.View(epoch, 0, 0, members)).targets(oid, copies)]

    def test_columns(self):
        oid = 0x807c2b2600000000
        self.cluster.answers['vdi.object'] = dict(
            FOUND, index=-1, object='%016x' % oid)
        self.assertEqual([
            'Tracking the inode object 0x7c2b26 with 3 nodes', '',
            'obj 807c2b2600000000 locations at epoch 1, copies = 3',
            '---------------------------------------------------',
            *self.places(oid, 1, (7000, 7001, 7002), 3), '',
            'obj 807c2b2600000000 locations at epoch 2, copies = 3',
            '---------------------------------------------------',
            *self.places(oid, 2, (7000, 7001), 3)],
            self.dog('vdi track test').splitlines())
        self.assertFalse(self.asked('vdi.object')['ask'])

    def test_other_objects(self):
        self.assertEqual(
            'Tracking the object 007c2b2500000000 (the inode vid 0x7c2b26 '
            'idx 0) with 3 nodes',
            self.dog('vdi track test -i 0').splitlines()[0])
        self.assertEqual(
            'Tracking the object 007c2b2500000000 with 3 nodes',
            self.dog('vdi track test -o 0x7c2b2500000000').splitlines()[0])
        self.assertEqual('7c2b2500000000',
                         self.cluster.asked[-2][1]['object'])
        raw = self.dog('vdi track test -i 0 -r').splitlines()
        self.assertEqual(' '.join(
            ['2', '3', *self.places(OID, 2, (7000, 7001), 3)]), raw[1])
        found = json.loads(self.dog('vdi track test -i 0 --json'))
        self.assertEqual([1, 2], [one['epoch'] for one in found['epochs']])
        self.assertEqual(samples.INFO['epochs'][0]['epoch'], 2)
