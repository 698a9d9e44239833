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

"""Targets: what the C original has left on its disks, and what goes from
host to host when it is taken over."""

import json
import struct

from fuzz import registry
from sheepdog.cluster import entries
from sheepdog.legacy import adoption
from sheepdog.legacy import contents
from sheepdog.legacy import formats
from sheepdog.legacy import plan
from sheepdog.legacy import planner
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.model import view
from sheepdog.wire import attribute

VDI_ID = 0xABCDEF
NODES = (formats.Node('10.0.0.1', 7000, 1, 128, 1 << 40, '', 0),
         formats.Node('10.0.0.2', 7000, 2, 64, 1 << 40, '10.1.0.2', 7001))
CONFIG = formats.Config(7 << 32, formats.AUTO_VNODES, 2, 'plain', True, 0, 22,
                        1 << 40)
HEAD = inode.InodeHead('alpha', vdi_size=64 << 20, nr_copies=2, vdi_id=VDI_ID)


def config_seeds():
    for store in b'plain', b'tree':
        yield struct.pack('<QHB16sBBBHQ', 7 << 32, 4, 2, store, 1, 0, 22, 6,
                          1 << 40)
    yield b'{"created": 1}'


@registry.target('legacy-config', (formats.Refused,),
                 ('sheepdog.legacy.formats',), config_seeds)
def run_config(data):
    config = formats.read_config(data)
    assert formats.is_config(data)
    assert formats.checked_config(config) == config


def epoch_seeds():
    record = bytes(24) + bytes(12) + bytes((10, 0, 0, 1)) + struct.pack(
        '<H16sHxxxxHxxIQ', 7000, bytes(16), 0, 128, 1, 1 << 40)
    yield record + bytes(8)
    yield record + record.replace(bytes((10, 0, 0, 1)),
                                  b'\xfe\x80\0\0') + bytes(8)


@registry.target('legacy-epoch', (formats.Refused,),
                 ('sheepdog.legacy.formats',), epoch_seeds)
def run_epoch(data):
    epoch = formats.read_epoch(5, data)
    assert formats.checked_epoch(epoch) == epoch
    assert all(0 < node.port < 65536 for node in epoch.nodes)


def name_seeds():
    yield from (b'808f8a8400000000', b'008f8a8400000001_5', b'meta', b'8f',
                b'008f8a8400000001.12', b'00000012', b'.stale')


@registry.target('legacy-names', (UnicodeDecodeError,),
                 ('sheepdog.legacy.formats',), name_seeds)
def run_name(data):
    text = data.decode()
    found = formats.read_name(text)
    if found is not None:
        assert 0 <= found.oid <= ids.MASK64
        assert formats.is_tree_directory(formats.tree_directory(found.oid))
    number = formats.epoch_of(text)
    assert number is None or '%08d' % number == text


def inode_seeds():
    data = HEAD.pack().ljust(inode.MAP_OFFSET, b'\0')
    yield data + VDI_ID.to_bytes(4, 'little') * 5
    yield data + (7).to_bytes(4, 'little') + bytes(8)


@registry.target('legacy-inode', (formats.Refused,),
                 ('sheepdog.legacy.formats', 'sheepdog.legacy.contents'),
                 inode_seeds)
def run_inode(data):
    formats.read_head(ids.vdi_oid(VDI_ID), data)
    owners = data[inode.MAP_OFFSET:]
    owners = owners[:len(owners) // 4 * 4]
    found = bytearray(len(owners))
    for first, count, owner in contents.map_runs(owners):
        found[4 * first:4 * (first + count)] = owner.to_bytes(
            4, 'little') * count
    assert found == owners


def _scan(node) -> contents.Scan:
    data = attribute.pack(attribute.Attribute('alpha', 'key', b'value'))
    return contents.Scan(
        '/old', node.address, CONFIG._replace(space=node.space),
        (formats.Epoch(1, 5, NODES),),
        ((ids.data_oid(VDI_ID, 0), 2), (ids.vdi_oid(VDI_ID), 1)),
        {ids.data_oid(VDI_ID, 9): 5},
        {VDI_ID: contents.Inode(HEAD.pack().hex(), ((0, 2, VDI_ID),), 'ab')},
        {ids.attribute_oid(VDI_ID, 5): contents.packed(data)},
        {VDI_ID: 1}, 1, 2, 3, 4, 5)


def scan_seeds():
    for node in NODES:
        fields = _scan(node).to_dict()
        yield json.dumps(fields).encode()
        yield json.dumps(dict(fields, strips=[], attributes=[])).encode()


@registry.target('legacy-scan', (formats.Refused,),
                 ('sheepdog.legacy.contents', 'sheepdog.legacy.planner',
                  'sheepdog.legacy.vdis'),
                 scan_seeds, cases=800)
def run_scan(data):
    scan = contents.load(data)
    assert contents.load(json.dumps(scan.to_dict()).encode()) == scan
    other = _scan(NODES[1])._replace(strips={})
    made = planner.Planner([scan, other]).make()
    assert plan.load(json.dumps(made.to_dict()).encode()) == made


def _plan() -> plan.Plan:
    member = view.Member('n1', 'n1.%016x' % 5, '10.0.0.1', 7000, 1, 128)
    return plan.Plan(
        view.ClusterSettings(7 << 32, copies=2),
        (view.View(1, 0, 5.0, (member,)),),
        (entries.VdiEntry(VDI_ID, 'alpha', created=1 << 60, copies=2),),
        (('alpha', '6b6579', 'dmFsdWU='),),
        (plan.Store('n1', '10.0.0.1:7000', '/old', 'ab',
                    ((ids.vdi_oid(VDI_ID), 1),)),),
        ('a note',))


def plan_seeds():
    yield json.dumps(_plan().to_dict()).encode()


@registry.target('legacy-plan', (formats.Refused,),
                 ('sheepdog.legacy.plan',), plan_seeds)
def run_plan(data):
    made = plan.load(data)
    assert plan.load(json.dumps(made.to_dict()).encode()) == made
    assert made.state().view == made.view


def record_seeds():
    for is_done in False, True:
        yield adoption.Record(is_done, '/old', ('/d1',), _plan()).pack()


@registry.target('upgrade-record', (formats.Refused,),
                 ('sheepdog.legacy.adoption',), record_seeds)
def run_record(data):
    record = adoption.unpack_record(data)
    assert adoption.unpack_record(record.pack()) == record
