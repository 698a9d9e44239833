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

"""Targets: what a sheep keeps on its disks, but for the cluster's state."""

import json
import struct

from crc32c import crc32c

from fuzz import files
from fuzz import registry
from sheepdog.placement import disks as placement
from sheepdog.store import adopting
from sheepdog.store import checksums
from sheepdog.store import diskset
from sheepdog.store import history
from sheepdog.store import layout
from sheepdog.store import objects
from sheepdog.store import records
from sheepdog.store import replay
from sheepdog.store import scan
from sheepdog.store import settings

OID = 0xABCDEF00000007
CAPACITY = 1 << 20
BLOCK = bytes(range(256)) * 16


def journal_records() -> list:
    """One of each kind, whole."""
    entry = checksums.entries(BLOCK)
    return [
        records.pack(records.WRITE, records.CREATE, 11, 10, OID, 5, 3, 0,
                     8192, CAPACITY, entry.tobytes() * 2, 1) + BLOCK * 2,
        records.pack(records.WRITE, 0, 12, 11, OID, 5, 3, 4096, 4096,
                     CAPACITY, entry.tobytes(), 1) + BLOCK,
        records.pack(records.INTENT, 0, 13, 11, OID, 5, 4, 8192, 8192,
                     CAPACITY, entry.tobytes() * 2, 2),
        records.pack(records.ZERO, 0, 14, 13, OID, 5, 4, 8192, 4096,
                     CAPACITY),
        records.pack(records.ADOPT, 0, 15, 13, OID, 6, 4, 0, 0, CAPACITY),
        records.pack(records.REMOVE, 0, 16, 15, OID, 6, 4, 0, 0, CAPACITY),
    ]


def history_seeds():
    update = history.Update(7, (3, 0, True), 1024, 4, b'abcd', 1 << 80 | 5)
    for event in (update, update._replace(old=None), history.Repeat(update),
                  history.Align((4, 1, False), frozenset({7, 9})),
                  history.Settle((4, 1, False))):
        yield history.pack_event(event)


@registry.target('strip-event', (), ('sheepdog.store.history',),
                 history_seeds)
def run_event(data):
    event = history.unpack_event(data)
    if event is not None:
        packed = history.pack_event(event)
        assert history.unpack_event(packed) == event


def strip_seeds():
    known = history.History()
    known.nexts = ((4, 1, False),)
    yield history.pack_attribute(known)
    known.changed = {(3, 0, True): (7, 5), (3, 1, False): (0, 1 << 500)}
    known.now, known.held, known.held_end = 9, 8, 1 << 70
    yield history.pack_attribute(known)


@registry.target('strip-attribute', (), ('sheepdog.store.history',),
                 strip_seeds)
def run_strip(data):
    found = history.unpack_attribute(data)
    if found is not None:
        assert history.unpack_attribute(
            history.pack_attribute(found)) is not None


def open_seeds():
    known = history.History()
    yield history.pack_open({})
    for number, old in ((7, b'abcd'), (8, None)):
        known.open[number] = history.Update(number, (3, 0, True), 0, 4, old)
    yield history.pack_open({1 << 64 | 5: known, 2 << 64 | 5: known})


def repair_open(data):
    """Magic, length, checksum."""
    head = history.pack_open({})
    return head[:8] + struct.pack('<II', len(data[len(head):]),
                                  crc32c(data[len(head):])) + data[len(head):]


@registry.target('strips-open', (), ('sheepdog.store.history',),
                 open_seeds, repair_open)
def run_open(data):
    found = history.unpack_open(data)
    for updates in (found or {}).values():
        for update in updates:
            packed = history.pack_event(update)
            assert history.unpack_event(packed) == update


def _header(state=records.LIVE, generation=3):
    return records.pack_header(records.Header(state, generation, 11, 10))


def header_seeds():
    yield _header()[:64]
    yield _header(records.FREE)[:64]


def repair_header(data):
    return data[:48] + struct.pack('<I', crc32c(data[:48])) + data[52:]


@registry.target('journal-header', (), ('sheepdog.store.records',),
                 header_seeds, repair_header)
def run_header(data):
    header = records.unpack_header(data)
    if header is not None:
        assert records.unpack_header(records.pack_header(header)) == header


def record_seeds():
    yield from journal_records()


def repair_record(data):
    """Magic, data's entries, checksum."""
    if len(data) < records.HEAD_BYTES:
        return data
    data = bytearray(data)
    data[:4] = records.MAGIC_BYTES
    kind = data[56]
    length, = struct.unpack_from('<I', data, 48)
    start = records.HEAD_BYTES
    if length <= len(data):
        start += records.entry_bytes(kind, length)
        if kind == records.WRITE and start + length <= len(data):
            whole = length // 4096 * 4096
            entries = checksums.entries(data[start:start + whole]).tobytes()
            data[records.HEAD_BYTES:records.HEAD_BYTES + len(entries)] = (
                entries)
    struct.pack_into('<I', data, 4, crc32c(bytes(data[8:start])))
    return bytes(data)


@registry.target('journal-record', (), ('sheepdog.store.records',),
                 record_seeds, repair_record)
def run_record(data):
    record = records.unpack(data)
    if record is None:
        return
    assert record.size <= len(data)
    packed = records.pack(
        record.kind, record.flags, record.sequence, record.synced,
        record.oid, record.birth, record.version, record.offset,
        record.length, record.capacity, record.entries, record.lag)
    again = records.unpack(packed + data[record.data_start:record.size])
    assert again == record, (again, record)


def segment_seeds():
    whole = b''.join(journal_records())
    first = _header() + whole
    yield struct.pack('<I', len(first)) + first + _header(generation=4)
    # Nothing removed yet, so that there is something to replay.
    some = _header() + b''.join(journal_records()[:4])
    yield struct.pack('<I', len(some)) + some + _header(records.FREE, 2)
    later = records.pack_header(records.Header(records.LIVE, 4, 17, 16))
    first = _header() + whole
    yield struct.pack('<I', len(first)) + first + later + records.pack(
        records.REMOVE, 0, 17, 16, OID, 6, 4, 0, 0, CAPACITY)
    # A durable record is damaged in the middle.
    broken = bytearray(first)
    broken[records.HEADER_PAGE_BYTES + 70] ^= 1
    yield struct.pack('<I', len(first)) + bytes(broken) + _header(
        records.FREE, 2)


def _segments(data) -> list:
    if len(data) < 4:
        return [b'', data]
    length = struct.unpack_from('<I', data)[0] % (len(data) - 3)
    return [data[4:4 + length], data[4 + length:]]


def _repair_segment(data):
    if len(data) < records.HEADER_PAGE_BYTES:
        return data
    pieces = [repair_header(data[:records.HEADER_PAGE_BYTES])]
    position = records.HEADER_PAGE_BYTES
    while position < len(data):
        size = records.plausible_size(data, position)
        if not size:
            break
        pieces.append(repair_record(data[position:position + size]))
        position += size
    return b''.join(pieces) + data[position:]


def repair_segments(data):
    if len(data) < 4:
        return data
    one, other = _segments(data)
    return struct.pack('<I', len(one)) + _repair_segment(
        one) + _repair_segment(other)


@registry.target('journal-segments', (),
                 ('sheepdog.store.scan', 'sheepdog.store.replay'),
                 segment_seeds, repair_segments, cases=400)
def run_segments(data):
    segments = _segments(data)
    found = files.run(scan.scan([files.File(one) for one in segments],
                                list(map(len, segments))))
    by_object = {}
    last = {}
    for entry in found.entries:
        assert entry.record.sequence > last.get(entry.segment, -1)
        last[entry.segment] = entry.record.sequence
        by_object.setdefault(entry.record.oid, []).append(entry)
    for entries in by_object.values():
        plan = replay.plan(entries)
        for block, source in plan.blocks.items():
            if source.position >= 0:
                segment = segments[source.segment]
                content = segment[source.position:source.position + 4096]
                assert checksums.entry(content) == source.entry, block


def identity_seeds():
    yield layout.Identity('0123abcd').pack()
    yield layout.Identity('n', 'boot', False, True, False, 1 << 40, 7,
                          '/meta/journal', 1 << 21).pack()
    yield layout.Identity('n', bad=((1 << 63, 9), (1 << 40, 0))).pack()


@registry.target('store-identity', (settings.StoreRefused,),
                 ('sheepdog.store.layout',), identity_seeds)
def run_identity(data):
    found = files.run(layout.read_identity(
        files.Disk({'/meta/store': data}), '/meta'))
    again = json.loads(found.pack())
    if found.owner:
        assert layout.Identity(**again) == found
    # What a start reckons with.
    assert found.sequence + 1 > 0 and found.generation + 1 > 0
    layout.segment_paths(found.journal_dir, found.node_id)


def disks_seeds():
    yield diskset.DiskSet('n').pack()
    lost = diskset.Entry('c', '/disk3', 1 << 40)
    disks = diskset.DiskSet('n', 3).plus(
        diskset.Entry('a', '/meta', 1)).plus(
        diskset.Entry('b', '/disk2', 1 << 40, True)).plus(lost)
    yield disks.minus('c', is_lost=True).pack()


@registry.target('store-disks', (settings.StoreRefused,),
                 ('sheepdog.store.diskset',), disks_seeds)
def run_disks(data):
    found = files.run(diskset.read(files.Disk({'/meta/disks': data}),
                                   '/meta'))
    again = files.run(diskset.read(
        files.Disk({'/meta/disks': found.pack()}), '/meta'))
    assert again == found
    # What a start reckons with.
    assert 0 <= found.run < 1 << 63
    placement.Disks({one.id: one.weight for one in found.disks}).place(OID)
    for one in found.disks:
        assert found.at(one.path) and found.entry(one.id)
        assert not found.minus(one.id, is_lost=True).entry(one.id)
    assert len(found.lost_paths) <= len(found.gone)


def name_seeds():
    yield objects.name_of(OID).encode()
    yield adopting.path_of_new(objects.name_of(OID), 17).encode()


@registry.target('object-names', (UnicodeDecodeError,),
                 ('sheepdog.store.objects', 'sheepdog.store.adopting'),
                 name_seeds)
def run_names(data):
    name = data.decode()
    oid = objects.oid_of(name)
    assert oid is None or objects.name_of(oid) == name
    new = adopting.oid_of_new(name)
    if new is not None:
        assert adopting.path_of_new(objects.name_of(new[0]), new[1]) == name


def attribute_seeds():
    yield objects.pack_attribute(7, 1 << 40, checksums.new_table(4))
    yield objects.pack_attribute(0, 0, checksums.new_table(0))


@registry.target('object-attribute', (), ('sheepdog.store.objects',),
                 attribute_seeds)
def run_attribute(data):
    found = objects.unpack_attribute(data)
    if found is not None:
        assert min(found) >= 0
        assert b'%08x.%016x.%08x' % found == data


def object_seeds():
    """The attribute's length, the attribute, the file."""
    content = BLOCK + bytes(4096)
    table = checksums.entries(content)
    attribute = objects.pack_attribute(7, 9, table)
    yield bytes([len(attribute)]) + attribute + content + table.tobytes()


@registry.target('object-file', (ValueError,),
                 ('sheepdog.store.objects', 'sheepdog.store.opening',
                  'sheepdog.store.checksums'), object_seeds, cases=600)
def run_object(data):
    length = data[0] if data else 0
    attribute, content = data[1:1 + length], data[1 + length:]
    file = files.File(content, {objects.ATTRIBUTE: attribute})
    known = objects.Objects(files.Disk({}), '/meta/obj', 4, None)
    obj = objects.Object(OID)
    obj.file = file
    capacity, _version, _birth, crc = known.read_head(obj)
    table = checksums.table_of(file.pread(capacity // 1024, capacity))
    assert len(table) * 4096 == capacity
    for first in range(0, len(table), 64):
        piece = content[first * 4096:min(capacity, (first + 64) * 4096)]
        checksums.mismatches(piece, table, first)
    checksums.digest(table)
    for first, count in checksums.data_runs(table):
        assert 0 <= first < first + count <= len(table)
    if crc32c(table.cast('B')) == crc:
        assert objects.pack_attribute(_version, _birth, table) == attribute
