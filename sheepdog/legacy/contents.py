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

"""What one store of the original holds: looked at, nothing changed.

The result goes as JSON from each host to where the plan is made.
"""

import base64
import hashlib
import json
from typing import Any, Iterator, NamedTuple

import numpy

from sheepdog.legacy import formats
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.model import limits
from sheepdog.model import shapes
from sheepdog.wire import attribute

KIND = 'sheepdog-legacy-scan'
FORMAT = 1
HEAD_BYTES = 572
INODE_BYTES = 12587576
ATTRIBUTE_MAX_BYTES = attribute.HEAD_BYTES + attribute.VALUE_MAX_BYTES
READ_BYTES = 1 << 20

_REFUSED = formats.Refused


class Inode(NamedTuple):
    """``head``: its named fields, packed, in hex; ``runs``: (first index,
    count, owner) of the map; ``digest`` of all that clients read."""

    head: str
    runs: tuple
    digest: str


class Found(NamedTuple):
    """Where an object's file is, and its length."""

    path: str
    size: int


class Scan(NamedTuple):
    """``node``: as the operator has named it, 'HOST:PORT', or ''. ``runs``:
    (first id, count) of the objects kept whole; ``sizes``: id → bytes of
    those that do not have the store's object size. ``inodes`` by VDI id;
    ``attributes``: object id → the content, in base64.
    ``strips``: VDI id → how many; ``stale``, ``ledgers``, ``strangers``:
    files that are no working copy of an object, or none at all. ``used``:
    bytes on disk of those that are; ``capacity``: of the file systems that
    they lie on."""

    meta: str
    node: str
    config: formats.Config
    epochs: tuple
    runs: tuple
    sizes: dict
    inodes: dict
    attributes: dict
    strips: dict
    stale: int = 0
    ledgers: int = 0
    strangers: int = 0
    used: int = 0
    capacity: int = 0

    @property
    def name(self) -> str:
        """As operators know it."""
        return '%s (%s)' % (self.meta, self.node) if self.node else self.meta

    @property
    def fingerprint(self) -> str:
        """Of the content, wherever it lies."""
        fields = self.to_dict()
        for name in ('meta', 'node', 'used', 'capacity'):
            del fields[name]
        return hashlib.blake2b(json.dumps(
            fields, sort_keys=True).encode(), digest_size=16).hexdigest()

    def to_dict(self) -> dict:
        return {
            'kind': KIND, 'format': FORMAT, 'meta': self.meta,
            'node': self.node, 'config': list(self.config),
            'epochs': [[one.number, one.time, [list(node) for node
                                               in one.nodes]]
                       for one in self.epochs],
            'runs': [list(run) for run in self.runs],
            'sizes': sorted(map(list, self.sizes.items())),
            'inodes': [[vdi_id, one.head, [list(run) for run in one.runs],
                        one.digest]
                       for vdi_id, one in sorted(self.inodes.items())],
            'attributes': sorted(map(list, self.attributes.items())),
            'strips': sorted(map(list, self.strips.items())),
            'stale': self.stale, 'ledgers': self.ledgers,
            'strangers': self.strangers, 'used': self.used,
            'capacity': self.capacity}


def load(data: bytes) -> Scan:
    """Of a scan's file.

    :raises Refused: it is none
    """
    try:
        fields = json.loads(data)
        if fields['kind'] != KIND or fields['format'] != FORMAT:
            raise ValueError(fields['kind'])
        return _from_dict(fields)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError,
            RecursionError, errors.InvalidParameters):
        raise _REFUSED('this is not what "dog upgrade scan" of this version '
                       'writes') from None


def _from_dict(fields: dict) -> Scan:
    if not fields['epochs']:
        raise ValueError('no epoch')
    return Scan(
        _the(str, fields['meta']), _the(str, fields['node']),
        formats.checked_config(_build(formats.Config, fields['config'])),
        tuple(_epoch(*one) for one in fields['epochs']),
        checked_runs(fields['runs']),
        {_the(int, oid): _the(int, size) for oid, size in fields['sizes']},
        {_the(int, vdi_id): _inode(vdi_id, *rest)
         for vdi_id, *rest in fields['inodes']},
        {_the(int, oid): _attribute(content)
         for oid, content in fields['attributes']},
        {_the(int, vdi_id): _the(int, count)
         for vdi_id, count in fields['strips']},
        *(_the(int, fields[name])
          for name in ('stale', 'ledgers', 'strangers', 'used',
                       'capacity')))


def _the(kind, value):
    if type(value) is not kind:
        raise TypeError('%.40r' % (value,))
    return value


def _build(kind, values):
    return shapes.build(kind, dict(zip(kind._fields, values, strict=True)))


def _epoch(number, time, nodes) -> formats.Epoch:
    return formats.checked_epoch(formats.Epoch(
        _the(int, number), _the(int, time),
        tuple(_build(formats.Node, node) for node in nodes)))


def checked_runs(runs) -> tuple:
    """:raises ValueError, TypeError: they are none"""
    return tuple(_run(*run) for run in runs)


def _run(first, count) -> tuple:
    if not (0 <= _the(int, first)
            and 0 < _the(int, count) <= limits.VDI_OBJECTS_MAX
            and first + count <= ids.MASK64 + 1):
        raise ValueError(first, count)
    return first, count


def _inode(vdi_id, head, runs, digest) -> Inode:
    try:
        formats.read_head(ids.vdi_oid(vdi_id), bytes.fromhex(head))
    except formats.Refused as error:
        raise ValueError(error) from None
    for first, count, owner in runs:
        if not (0 <= _the(int, first) and 0 < _the(int, count)
                and first + count <= limits.VDI_OBJECTS_MAX
                and 0 < _the(int, owner) < 1 << 32):
            raise ValueError(first, count, owner)
    return Inode(head, tuple(map(tuple, runs)), _the(str, digest))


def packed(content: bytes) -> str:
    """As scans and plans have it."""
    return base64.b64encode(content).decode()


def _attribute(content: str) -> str:
    attribute.unpack(base64.b64decode(content, validate=True))
    return content


def members(runs) -> Iterator[int]:
    """All of the runs."""
    for first, count in runs:
        yield from range(first, first + count)


def runs_of(oids) -> tuple:
    """(first, count) of sorted ids, without gaps."""
    found: list = []
    for oid in oids:
        if found and found[-1][0] + found[-1][1] == oid:
            found[-1][1] += 1
        else:
            found.append([oid, 1])
    return tuple(map(tuple, found))


class Directory:
    """A store's directory, and those of its disks, to read.

    ``objects``: object id → ``Found``."""

    def __init__(self, disk, meta: str, disks: tuple = ()):
        self._disk = disk
        self.meta = meta
        self._places = disks or (meta + '/obj',)
        self._begin()

    def _begin(self) -> None:
        self.objects: dict = {}
        self._strips: dict = {}
        self._counts = {'stale': 0, 'ledgers': 0, 'strangers': 0, 'used': 0,
                        'capacity': 0}

    async def scan(self, node: str = '') -> Scan:
        """:raises Refused: it cannot be taken over as it is"""
        try:
            return await self._scan(node)
        except OSError as error:
            raise _REFUSED('%s cannot be read: %s' % (
                error.filename or self.meta, error.strerror or error)
            ) from None
        except formats.Refused as error:
            raise _REFUSED('%s: %s' % (self.meta, error), error.exit_code
                           ) from None

    async def _scan(self, node: str) -> Scan:
        self._begin()
        try:
            config = formats.read_config(
                await self._disk.read_file(self.meta + '/config'))
        except (FileNotFoundError, NotADirectoryError):
            raise _REFUSED('there is no file "config" in it: this is no '
                           'store of Sheepdog 1.0', 5) from None
        if not config.clean:
            raise _REFUSED('it was not shut down cleanly: start the original '
                           'cluster once more, let its recovery end, and '
                           'stop it with "dog cluster shutdown"')
        if config.flags & formats.DISK_MODE:
            raise _REFUSED('its cluster has vnodes by disk, where objects '
                           'lie by rules that are not known here: copy the '
                           'VDIs out with the original instead')
        await self._check_journal(self.meta + '/journal')
        epochs = await self._epochs()
        sizes = {}
        for place in self._places:
            self._look_into(place)
        inodes, attributes = {}, {}
        for oid, found in sorted(self.objects.items()):
            if found.size != 1 << config.block_size_shift and not (
                    ids.is_whole(oid)):
                sizes[oid] = found.size
            if ids.is_vdi(oid):
                inodes[ids.vdi_of(oid)] = await self._inode(oid, found)
            elif oid & ids.ATTRIBUTE_BIT:
                attributes[oid] = await self._attribute(oid, found)
        return Scan(self.meta, node, config, epochs,
                    runs_of(sorted(self.objects)), sizes, inodes, attributes,
                    self._strips, **self._counts)

    async def _check_journal(self, path: str) -> None:
        """Any byte of it is a write that is perhaps nowhere else."""
        for name in self._list(path):
            file = self._disk.open('%s/%s' % (path, name), read_only=True)
            try:
                for offset in range(0, file.size(), READ_BYTES):
                    data = await file.pread_cold(READ_BYTES, offset)
                    if data.strip(b'\0'):
                        raise _REFUSED(
                            'its journal (%s/%s) is not empty: start the '
                            'original once more, so that it is worked off, '
                            'and shut the cluster down' % (path, name))
            finally:
                file.close()

    async def _epochs(self) -> tuple:
        found = []
        for name in self._list(self.meta + '/epoch'):
            number = formats.epoch_of(name)
            if number is not None:
                found.append(formats.read_epoch(
                    number, await self._disk.read_file(
                        '%s/epoch/%s' % (self.meta, name))))
        if not found:
            raise _REFUSED('it has no epoch log: put "epoch" back')
        return tuple(found)

    def _list(self, path: str) -> list:
        """[] where there is no such directory."""
        try:
            return self._disk.list(path)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _look_into(self, place: str) -> None:
        try:
            names = self._disk.list(place)
        except (FileNotFoundError, NotADirectoryError):
            raise _REFUSED('the directory %s of its objects is missing: '
                           'mount it, or name its disks as the original did '
                           '(META,DISK...)' % place, 5) from None
        self._counts['capacity'] += self._disk.space(place).total
        for name in names:
            path = '%s/%s' % (place, name)
            if name == '.stale':
                self._counts['stale'] += len(self._list(path))
            elif formats.is_tree_directory(name):
                for inner in self._list(path):
                    inside = '%s/%s' % (path, inner)
                    if inner == '.stale':
                        self._counts['stale'] += len(self._list(inside))
                    else:
                        self._take(inner, inside)
            else:
                self._take(name, path)

    def _take(self, name: str, path: str) -> None:
        parsed = formats.read_name(name)
        if parsed is None:
            self._counts['strangers'] += 1
            return
        if parsed.stale >= 0:
            self._counts['stale'] += 1
            return
        if parsed.oid & ids.LEDGER_BIT:
            self._counts['ledgers'] += 1
            return
        if parsed.strip >= 0:
            vdi_id = ids.vdi_of(parsed.oid)
            self._strips[vdi_id] = self._strips.get(vdi_id, 0) + 1
            return
        if parsed.oid in self.objects:
            raise _REFUSED(
                'object %016x is there twice (%s and %s), and nothing tells '
                'which one counts: let the original run until its recovery '
                'has ended' % (parsed.oid, self.objects[parsed.oid].path,
                               path))
        file = self._disk.open(path, read_only=True)
        try:
            self.objects[parsed.oid] = Found(path, file.size())
            self._counts['used'] += file.allocated()
        finally:
            file.close()

    async def _inode(self, oid: int, found: Found) -> Inode:
        if found.size != INODE_BYTES:
            raise _REFUSED('%s has %d bytes, not the %d of an inode: it is '
                           'torn' % (found.path, found.size, INODE_BYTES))
        data = await self.read(oid, inode.CLIENT_BYTES)
        head = data[:HEAD_BYTES]
        formats.read_head(oid, head)
        return Inode(head.hex(), map_runs(data[inode.MAP_OFFSET:]),
                     _digest(data))

    async def _attribute(self, oid: int, found: Found) -> str:
        if not attribute.HEAD_BYTES <= found.size <= ATTRIBUTE_MAX_BYTES:
            raise _REFUSED('%s has %d bytes, which no attribute has: it is '
                           'torn' % (found.path, found.size))
        data = await self.read(oid, found.size)
        try:
            one = attribute.unpack(data)
        except errors.InvalidParameters as error:
            raise _REFUSED('%s makes no sense: %s' % (found.path, error)
                           ) from None
        return packed(attribute.pack(one))

    async def read(self, oid: int, size: int, offset: int = 0) -> bytes:
        """
        :raises OSError: it cannot be read
        :raises Refused: it is shorter than it was
        """
        path = self.objects[oid].path
        file = self._disk.open(path, read_only=True)
        try:
            data = await file.pread_cold(size, offset)
        finally:
            file.close()
        if len(data) != size:
            raise _REFUSED('%s is shorter than it was a moment ago' % path)
        return data


def map_runs(data: bytes) -> tuple:
    """(first index, count, owner) of the entries that are not 0."""
    owners = numpy.frombuffer(data, '<u4')
    if not len(owners):
        return ()
    edges = numpy.flatnonzero(numpy.diff(owners)) + 1
    starts = [0, *edges.tolist()]
    ends = [*edges.tolist(), len(owners)]
    return tuple((start, end - start, int(owners[start]))
                 for start, end in zip(starts, ends) if owners[start])


def _digest(data: Any) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
