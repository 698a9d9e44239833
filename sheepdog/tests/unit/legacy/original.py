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

"""A naive twin of the C original: writes stores as the facts describe them.

It shares no code with the readers that are held against it; the ring is
written down once more, as a list.
"""

import random
import struct

INODE_BYTES = 12587576
DATA, VDI, VMSTATE, ATTRIBUTE, LEDGER = 0, 1 << 63, 1 << 62, 1 << 61, 1 << 59
MASK = (1 << 64) - 1
BASIS, PRIME = 0xcbf29ce484222325, 0x100000001b3


def fnv(data, h=BASIS):
    for byte in data:
        h = (h ^ byte) * PRIME & MASK
    return h


def following(h):
    return fnv(h.to_bytes(8, 'little'), h)


def address_bytes(host):
    return bytes(12) + bytes(map(int, host.split('.')))


class Node:
    def __init__(self, host, port, zone, vnodes=128, space=1 << 30,
                 disks=()):
        self.host = host
        self.port = port
        self.zone = zone
        self.vnodes = vnodes
        self.space = space
        self.disks = tuple(disks)
        self.files = {}
        """Path within the store's directories → (size, bytes at offsets)."""

    @property
    def address(self):
        return '%s:%d' % (self.host, self.port)

    def record(self):
        return b''.join((
            b'\xaa' * 24, address_bytes(self.host),
            struct.pack('<H', self.port), bytes(16), struct.pack('<H', 0),
            bytes(4), struct.pack('<H', self.vnodes), bytes(2),
            struct.pack('<I', self.zone), struct.pack('<Q', self.space)))


class Vdi:
    """``owners``: index → VDI id; ``data``: index → {offset: bytes} of its
    own objects."""

    def __init__(self, vdi_id, name, size, copies, shift, created):
        self.vdi_id = vdi_id
        self.name = name
        self.tag = ''
        self.size = size
        self.copies = copies
        self.shift = shift
        self.created = created
        self.snapped = 0
        self.snap_id = 0
        self.parent = 0
        self.policy = 0
        self.store_policy = 0
        self.owners = {}
        self.data = {}

    def head(self):
        return b''.join((
            self.name.encode().ljust(256, b'\0'),
            self.tag.encode().ljust(256, b'\0'),
            struct.pack('<5Q', self.created, self.snapped, 0, self.size, 0),
            bytes((self.policy, self.store_policy, self.copies, self.shift)),
            struct.pack('<4I', self.snap_id, self.vdi_id, self.parent, 0)))


class Original:
    """A cluster. ``driver``: plain or tree."""

    def __init__(self, nodes, driver='plain', copies=2, shift=20, flags=4,
                 created=0x6b02b0bc2e1d2918, epoch=1):
        self.nodes = nodes
        self.driver = driver
        self.copies = copies
        self.shift = shift
        self.flags = flags
        self.created = created
        self.epoch = epoch
        self.time = created >> 32
        self.vdis = {}
        self.attributes = []
        self._serial = 0

    # -- what users do --------------------------------------------------

    def _now(self):
        self._serial += 1
        return self.created + (self._serial << 32)

    def _free_id(self, name):
        vdi_id = fnv(name.encode()) & 0xffffff
        while vdi_id in self.vdis or not vdi_id:
            vdi_id = (vdi_id + 1) & 0xffffff
        return vdi_id

    def create(self, name, size, copies=0, shift=0):
        vdi = Vdi(self._free_id(name), name, size, copies or self.copies,
                  shift or self.shift, self._now())
        vdi.snap_id = 1
        self.vdis[vdi.vdi_id] = vdi
        return vdi

    def working(self, name):
        found, = (vdi for vdi in self.vdis.values()
                  if vdi.name == name and not vdi.snapped)
        return found

    def write(self, vdi, index, offset, data):
        owner = vdi.owners.get(index, 0)
        if owner != vdi.vdi_id:
            vdi.data[index] = dict(self.vdis[owner].data[index]) \
                if owner else {}
            vdi.owners[index] = vdi.vdi_id
        for start in range(0, len(data), 512):
            vdi.data[index][offset + start] = data[start:start + 512]

    def snapshot(self, name, tag):
        base = self.working(name)
        vdi = self._child(base, name, base.copies)
        base.tag, base.snapped = tag, vdi.created
        vdi.snap_id = base.snap_id + 1
        return base

    def clone(self, snapshot, name):
        vdi = self._child(snapshot, name, snapshot.copies)
        vdi.snap_id = 1
        return vdi

    def _child(self, base, name, copies):
        vdi = Vdi(self._free_id(name), name, base.size, copies, base.shift,
                  self._now())
        vdi.parent = base.vdi_id
        vdi.owners = dict(base.owners)
        self.vdis[vdi.vdi_id] = vdi
        return vdi

    def set_attribute(self, name, key, value, tag='', snap_id=0):
        self.attributes.append((name, tag, snap_id, key, value))

    # -- what it holds --------------------------------------------------

    def content(self, vdi):
        """All bytes of a VDI."""
        whole = bytearray(vdi.size)
        for index, owner in vdi.owners.items():
            for offset, data in self.vdis[owner].data[index].items():
                start = (index << vdi.shift) + offset
                if start < vdi.size:
                    whole[start:start + len(data)] = data[:vdi.size - start]
        return bytes(whole)

    # -- where it lies --------------------------------------------------

    def targets(self, oid, copies):
        ring = []
        for node in self.nodes:
            h = following(fnv(address_bytes(node.host)
                              + struct.pack('<H', node.port)))
            for _ in range(node.vnodes):
                h = following(h)
                ring.append((h, node))
        ring.sort(key=lambda one: one[0])
        place = following(fnv(struct.pack('<Q', oid)))
        first = next((number for number, (h, _) in enumerate(ring)
                      if h >= place), 0)
        found = []
        for _, node in ring[first:] + ring[:first]:
            if node.zone not in [one.zone for one in found]:
                found.append(node)
        return found[:copies]

    def store(self):
        """Write all: each node's ``files`` are made anew."""
        for node in self.nodes:
            node.files = {
                'META/config': _whole(self.config(node)),
                'META/epoch/%08d' % self.epoch: _whole(
                    b''.join(one.record() for one in self.nodes)
                    + struct.pack('<Q', self.time))}
        for vdi in self.vdis.values():
            owners = {4664 + 4 * index: struct.pack('<I', owner)
                      for index, owner in vdi.owners.items()}
            self._put(VDI | vdi.vdi_id << 32, vdi.copies, INODE_BYTES,
                      {0: vdi.head(), **owners,
                       4198968: b'\1generation references'})
            for index, data in vdi.data.items():
                self._put(vdi.vdi_id << 32 | index, vdi.copies,
                          1 << vdi.shift, data)
        for name, tag, snap_id, key, value in self.attributes:
            names = (name.encode().ljust(256, b'\0')
                     + tag.encode().ljust(256, b'\0'))
            padded = key.encode().ljust(256, b'\0')
            number = fnv(names + struct.pack('<I', snap_id) + padded)
            oid = (ATTRIBUTE | (fnv(name.encode()) & 0xffffff) << 32
                   | number & 0xffffffff)
            self._put(oid, self.copies, 784 + 65536, {
                0: names + struct.pack('<QII', self.created, snap_id,
                                       len(value)) + padded + value})
        return self

    def config(self, node):
        return struct.pack(
            '<QHB16sBBBHQ', self.created, self.flags, self.copies,
            self.driver.encode(), 1, 0, self.shift, 6, node.space)

    def path(self, node, oid):
        name = '%016x' % oid
        if self.driver == 'tree':
            kind = oid & (VDI | VMSTATE | ATTRIBUTE)
            name = '%s/%s' % ('meta' if kind else '%02x' % (
                oid >> 32 & 0xff), name)
        if node.disks:
            return '%s/%s' % (node.disks[oid % len(node.disks)], name)
        return 'META/obj/' + name

    def _put(self, oid, copies, size, pieces):
        for node in self.targets(oid, copies):
            node.files[self.path(node, oid)] = (size, dict(pieces))

    def put(self, node, name, data):
        """Something of one's own, in a node's store."""
        node.files[name] = _whole(data)


def _whole(data):
    return len(data), {0: data}


def generated(seed):
    """A cluster with some history."""
    chance = random.Random('legacy/%s' % seed)
    nodes = [Node('10.0.%d.%d' % (number, chance.randrange(1, 200)), 7000,
                  number, chance.choice((64, 128, 128, 200)),
                  (1 << 30) + number * 4096,
                  ('d1', 'd2') if chance.random() < 0.3 else ())
             for number in range(chance.randrange(2, 5))]
    cluster = Original(nodes, chance.choice(('plain', 'tree')),
                       chance.randrange(1, 4), epoch=chance.randrange(1, 9))
    names = iter('abcdefgh')
    snapshots = []
    cluster.create(next(names), chance.randrange(1, 3 << 20) // 512 * 512
                   + 512)
    for _ in range(chance.randrange(4, 16)):
        working = [vdi for vdi in cluster.vdis.values() if not vdi.snapped]
        vdi = chance.choice(working)
        what = chance.random()
        if what < 0.6:
            count = -(-vdi.size >> vdi.shift) or 1
            for _ in range(chance.randrange(1, 4)):
                cluster.write(
                    vdi, chance.randrange(count),
                    chance.randrange(1 << vdi.shift - 9) * 512,
                    chance.randbytes(512))
        elif what < 0.75:
            snapshots.append(cluster.snapshot(
                vdi.name, 'tag%d' % len(snapshots)))
        elif what < 0.85 and snapshots:
            cluster.clone(chance.choice(snapshots), next(names))
        elif what < 0.95 and len(working) < 3:
            cluster.create(next(names), 1 << 20, chance.randrange(1, 4))
        else:
            cluster.set_attribute(vdi.name, 'key%d' % chance.randrange(3),
                                  b'value')
    # (Set once more, it is the same object.)
    cluster.attributes = list({(one[0], one[3]): one
                               for one in cluster.attributes}.values())
    return cluster.store()
