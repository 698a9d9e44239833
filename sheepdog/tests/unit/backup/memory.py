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

"""A cluster in memory, as its users see it: VDIs, snapshots, attributes."""

import array
import zlib

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode

SHIFT = 20


class Died(BaseException):
    """Whoever called is no more."""


class Cluster:
    """Stands for ``client.Client``.

    :ivar left: calls until the caller dies; None: it does not
    :ivar is_one_sheep: who opens a VDI shares it with the others, unless it
        is to be alone
    :ivar reads: (VDI id, offset, length) of all that was read
    """

    def __init__(self, created=7 << 32):
        self.cluster = self
        self.vdis = self
        self._created = created
        self._clock = 1000.0
        self._next = 0x100
        self._vdis = []
        self._attributes = {}
        self.locks = set()
        self.opened = []
        self.is_one_sheep = False
        self.left = None
        self.reads = []

    def step(self):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Died

    def revive(self):
        """Another one calls: nothing is open any more."""
        self.left = None
        self.locks.clear()
        self.opened.clear()

    # -- as of a client -------------------------------------------------

    def info(self):
        return {'settings': {'created': self._created}}

    def list(self, name=''):
        self.step()
        return [dict(vdi.fields, used=vdi.used, shared=0)
                for vdi in self._vdis if name in ('', vdi.fields['name'])]

    def create(self, name, size, copies=0, copy_policy=0,
               block_size_shift=0, preallocate=False):
        self.step()
        if self._find(name) is not None:
            raise errors.VdiExists(name)
        return self._add(name, size, block_size_shift or SHIFT, {}, 0,
                         copies or 3, copy_policy).fields

    def snapshot(self, name, tag='', only_if_changed=False):
        self.step()
        vdi = self._working(name)
        parent = self._by_id(vdi.fields['parent'])
        if only_if_changed and parent and parent.objects == vdi.objects and (
                parent.fields['size'] == vdi.fields['size']):
            return None
        numbers = [0] + [one.fields['snap_id'] for one in self._vdis
                         if one.fields['name'] == name
                         and one.fields['snapshot']]
        if tag and self._find(name, tag):
            raise errors.VdiExists(tag)
        self._clock += 1
        vdi.fields.update(tag=tag, snapshot=True, snap_id=max(numbers) + 1,
                          snapped=self._clock)
        new = self._branch(vdi, name)
        for volume in self.opened:
            volume.follow(vdi, new)
        return {'snapshot': vdi.fields['vdi_id'],
                'vdi_id': new.fields['vdi_id']}

    def snapshot_group(self, names, tag='', only_if_changed=False):
        assert names and not only_if_changed
        return {'vdis': [self.snapshot(name, tag) for name in names]}

    def clone(self, source, tag, name, shares_nothing=False, timeout=None):
        self.step()
        if self._find(name) is not None:
            raise errors.VdiExists(name)
        return self._branch(self._snapshot(source, tag), name).fields

    def rollback(self, name, tag):
        self.step()
        vdi, under = self._working(name), self._snapshot(name, tag)
        if name in self.locks:
            raise errors.VdiLocked(name)
        self._vdis.remove(vdi)
        self._branch(under, name)

    def delete(self, name, tag='', snap_id=0):
        self.step()
        if tag or snap_id:
            vdi = self._find(name, tag, snap_id)
            if vdi is None:
                raise errors.NoTag(tag or snap_id)
            self._vdis.remove(vdi)
            return
        vdi = self._working(name)
        if name in self.locks:
            raise errors.VdiLocked(name)
        self._vdis.remove(vdi)
        self._attributes.pop(name, None)

    def resize(self, name, size):
        self.step()
        self._working(name).fields['size'] = size

    def inode(self, name, tag='', snap_id=0, offset=0,
              size=inode.CLIENT_BYTES):
        self.step()
        vdi = self._find(name, tag, snap_id)
        if vdi is None:
            raise errors.NoVdi(name)
        fields = vdi.fields
        if offset == 0:
            yield inode.InodeHead(
                name, vdi_size=fields['size'],
                block_size_shift=fields['block_size_shift']).pack()
            return
        assert offset == inode.MAP_OFFSET
        yield array.array('I', [
            vdi.objects[index][0] if index in vdi.objects else 0
            for index in range(size // 4)]).tobytes()

    def attribute(self, name, key):
        self.step()
        self._working(name)
        try:
            return self._attributes[name][key]
        except KeyError:
            raise errors.NoObject(key) from None

    def attributes(self, name):
        self.step()
        self._working(name)
        return list(self._attributes.get(name, ()))

    def set_attribute(self, name, key, value, exclusive=False):
        self.step()
        self._working(name)
        self._attributes.setdefault(name, {})[key] = value

    def delete_attribute(self, name, key):
        self.attribute(name, key)
        del self._attributes[name][key]

    def open(self, name, tag='', snap_id=0, read_only=False, alone=False):
        self.step()
        vdi = self._find(name, tag, snap_id)
        if vdi is None:
            raise errors.NoVdi(name)
        if not read_only:
            if name in self.locks or alone and any(
                    not one.read_only and one.name == name
                    for one in self.opened):
                raise errors.VdiLocked(name)
            if alone or not self.is_one_sheep:
                self.locks.add(name)
        self.opened.append(Volume(self, vdi, read_only))
        return self.opened[-1]

    # -- for tests --------------------------------------------------------

    def content(self, name, tag='', snap_id=0):
        vdi = self._find(name, tag, snap_id)
        return b''.join(
            bytes(vdi.objects.get(index, (0, bytes(1 << SHIFT)))[1])
            for index in range(-(-vdi.fields['size'] >> SHIFT))
        )[:vdi.fields['size']]

    def state(self):
        """All that users could tell apart, but for numbers."""
        return sorted(
            (vdi.fields['name'], vdi.fields['tag'], vdi.fields['snapshot'],
             vdi.fields['size'], zlib.crc32(self.content(
                 vdi.fields['name'], snap_id=vdi.fields['snap_id'])))
            for vdi in self._vdis)

    # -- inside -----------------------------------------------------------

    def _add(self, name, size, shift, objects, parent, copies, policy):
        self._clock += 1
        self._next += 1
        vdi = Vdi({
            'name': name, 'tag': '', 'snap_id': 0, 'vdi_id': self._next,
            'size': size, 'created': self._clock, 'copies': copies,
            'copy_policy': policy, 'block_size_shift': shift,
            'snapshot': False, 'clone': False, 'parent': parent,
            'snapped': 0.0}, objects)
        self._vdis.append(vdi)
        return vdi

    def _branch(self, under, name):
        fields = under.fields
        return self._add(name, fields['size'], fields['block_size_shift'],
                         dict(under.objects), fields['vdi_id'],
                         fields['copies'], fields['copy_policy'])

    def _find(self, name, tag='', snap_id=0):
        for vdi in self._vdis:
            fields = vdi.fields
            if fields['name'] == name and (
                    fields['snap_id'] == snap_id if snap_id
                    else fields['snapshot'] and fields['tag'] == tag if tag
                    else not fields['snapshot']):
                return vdi
        return None

    def _by_id(self, vdi_id):
        for vdi in self._vdis:
            if vdi.fields['vdi_id'] == vdi_id:
                return vdi
        return None

    def _working(self, name):
        vdi = self._find(name)
        if vdi is None:
            raise errors.NoVdi(name)
        return vdi

    def _snapshot(self, name, tag):
        # A tag first, as the sheep do.
        vdi = self._find(name, tag)
        if vdi is None and tag.isdigit():
            vdi = self._find(name, snap_id=int(tag))
        if vdi is None:
            raise errors.NoTag(tag)
        return vdi


class Vdi:
    """``objects``: (owner, bytes) by index."""

    def __init__(self, fields, objects):
        self.fields = fields
        self.objects = objects

    @property
    def used(self):
        return sum(ids.is_owned(owner, self.fields['vdi_id'])
                   for owner, _ in self.objects.values()) << SHIFT


class Volume:
    """``vdi_id``: as it was opened; it may be that of a snapshot by now."""

    def __init__(self, cluster, vdi, read_only):
        self._cluster = cluster
        self._vdi = vdi
        self.name = vdi.fields['name']
        self.read_only = read_only
        self.size = vdi.fields['size']
        self.object_bytes = 1 << SHIFT
        self.vdi_id = vdi.fields['vdi_id']
        self._is_closed = False

    def follow(self, snapshot, new):
        """Who writes goes on with what takes its place."""
        if self._vdi is snapshot and not self.read_only:
            self._vdi = new

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()

    def close(self):
        if self._is_closed or self not in self._cluster.opened:
            return
        self._is_closed = True
        self._cluster.opened.remove(self)
        if not self.read_only:
            self._cluster.locks.discard(self._vdi.fields['name'])

    def write(self, offset, data):
        assert not self.read_only and offset + len(data) <= self.size
        self._cluster.step()
        while data:
            step = self.object_bytes - offset % self.object_bytes
            self._put(offset, data[:step])
            offset, data = offset + step, data[step:]

    def _put(self, offset, data):
        index, inside = divmod(offset, self.object_bytes)
        _owner, content = self._vdi.objects.get(
            index, (0, bytes(self.object_bytes)))
        content = bytearray(content)
        content[inside:inside + len(data)] = data
        self._vdi.objects[index] = self._vdi.fields['vdi_id'], content

    def zero(self, offset, length):
        self._cluster.step()
        while length:
            index, inside = divmod(offset, self.object_bytes)
            step = min(length, self.object_bytes - inside)
            if step == self.object_bytes:
                self._vdi.objects.pop(index, None)
            elif index in self._vdi.objects:
                self._put(offset, bytes(step))
            offset += step
            length -= step

    def write_pieces(self, pieces):
        done = 0
        for offset, piece in pieces:
            self.write(offset, bytes(piece))
            done += len(piece)
            yield done

    def flush(self):
        self._cluster.step()

    def read(self, offset, length):
        return b''.join(map(bytes, self.read_stream(offset, length)))

    def read_stream(self, offset, length):
        assert offset + length <= self.size
        while length:
            self._cluster.step()
            index, inside = divmod(offset, self.object_bytes)
            step = min(length, self.object_bytes - inside)
            self._cluster.reads.append((self.vdi_id, offset, step))
            _owner, content = self._vdi.objects.get(
                index, (0, bytes(self.object_bytes)))
            yield memoryview(content)[inside:inside + step]
            offset += step
            length -= step

    def extents(self, offset, length):
        assert offset + length <= self.size
        end = offset + length
        while offset < end:
            step = min(end - offset, 4096 - offset % 4096)
            index, inside = divmod(offset, self.object_bytes)
            content = self._vdi.objects.get(index)
            yield step, content is not None and bool(
                content[1][inside:inside + step].strip(b'\0'))
            offset += step
