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

"""Targets: what a sheep remembers of its cluster, on disk."""

import asyncio
import json
import struct

from crc32c import crc32c

from fuzz import files
from fuzz import registry
from sheepdog.cluster import entries
from sheepdog.cluster import ledger
from sheepdog.cluster import log
from sheepdog.cluster import messages
from sheepdog.cluster import state
from sheepdog.model import view

MEMBERS = tuple(view.Member('n%d' % i, 'n%d.%016x' % (i, 1 << 60),
                            '10.0.0.%d' % i, 7000, i, 128, 1 << 40)
                for i in range(3))
VIEW = view.View(1, 1, 1e9, MEMBERS)
SETTINGS = view.ClusterSettings(7 << 32)


def _events() -> list:
    entry = entries.VdiEntry(0xABCDEF, 'alpha', created=1 << 60)
    owner = MEMBERS[0].incarnation
    return [
        {'kind': 'format', 'settings': SETTINGS.to_dict(),
         'view': VIEW.to_dict()},
        {'kind': 'vdi-create', 'entry': entry.to_dict()},
        {'kind': 'lock', 'vdi_id': 0xABCDEF, 'mode': 'exclusive',
         'owner': owner},
        {'kind': 'recovered', 'incarnation': owner, 'epoch': 1},
        {'kind': 'unlock', 'vdi_id': 0xABCDEF, 'owner': owner},
        {'kind': 'settings', 'changes': {'copies': 2}},
        {'kind': 'vdi-delete', 'vdi_id': 0xABCDEF},
        {'kind': 'epoch', 'view': dict(VIEW.to_dict(), epoch=2)},
        {'kind': 'shutdown'},
    ]


def cluster_records() -> list:
    return [entries.Record(number, 1, 1e9 + number, event,
                           'operation-%d' % number, {'ok': True})
            for number, event in enumerate(_events(), 1)]


def _frames(logged, number=0) -> bytes:
    """A log's file."""
    crc = crc32c(struct.pack('<Q', number))
    frames = []
    for payload in map(log.encode, logged):
        crc = crc32c(payload, crc)
        frames.append(log.FRAME.pack(len(payload), crc) + payload)
    return b''.join(frames)


def _log_entries() -> list:
    prepared = messages.Prepared(2, 1, 1, 10, SETTINGS.created, VIEW)
    return [{'promise': [1, MEMBERS[0].incarnation]}] + [
        {'record': list(record)} for record in cluster_records()] + [
        {'prepared': prepared.to_dict()}, {'clean': [1, 9]}]


def log_seeds():
    yield _frames(_log_entries())
    yield _frames(_log_entries())[:-3]


def repair_log(data):
    crc = crc32c(struct.pack('<Q', 0))
    pieces = []
    position = 0
    while position + log.FRAME.size <= len(data):
        length, _crc = log.FRAME.unpack_from(data, position)
        start = position + log.FRAME.size
        if not length or start + length > len(data):
            # What is left becomes the last one.
            length = len(data) - start
            if not length:
                break
        payload = data[start:start + length]
        crc = crc32c(payload, crc)
        pieces.append(log.FRAME.pack(length, crc) + payload)
        position = start + length
    return b''.join(pieces)


def _open(contents):
    """A ledger over these files, as a start would read it."""
    disk = files.Disk(contents)
    loop = asyncio.new_event_loop()
    try:
        world = _World(disk, loop)
        found = loop.run_until_complete(ledger.Ledger.open(world, '/meta'))
        loop.run_until_complete(found.close())
    finally:
        loop.close()
    return found


class _World:
    def __init__(self, disk, loop):
        self.disk = disk
        self._loop = loop

    def spawn(self, coroutine, name=''):
        return self._loop.create_task(coroutine)


@registry.target('cluster-log', (ledger.LedgerRefused,),
                 ('sheepdog.cluster.log', 'sheepdog.cluster.ledger',
                  'sheepdog.cluster.entries', 'sheepdog.cluster.state',
                  'sheepdog.model.view'),
                 log_seeds, repair_log, cases=800)
def run_log(data):
    _open({'/meta/epoch/log.0': data})


def snapshot_seeds():
    whole = state.State()
    for record in cluster_records()[:6]:
        whole.apply(record)
    prepared = messages.Prepared(2, 1, 1, 10, SETTINGS.created, VIEW)
    payload = log.encode({
        'format': 1, 'log': 3, 'promise': [1, MEMBERS[0].incarnation],
        'prepared': prepared.to_dict(), 'clean': [1, 6],
        'state': whole.to_dict()})
    yield b'%08x\n' % crc32c(payload) + payload
    payload = log.encode({
        'format': 1, 'log': 0, 'promise': [0, ''], 'prepared': None,
        'clean': None, 'state': state.State().to_dict()})
    yield b'%08x\n' % crc32c(payload) + payload


def repair_snapshot(data):
    payload = data.partition(b'\n')[2]
    return b'%08x\n' % crc32c(payload) + payload


@registry.target('cluster-snapshot', (ledger.LedgerRefused,),
                 ('sheepdog.cluster.ledger', 'sheepdog.cluster.entries',
                  'sheepdog.cluster.state',
                  'sheepdog.cluster.messages', 'sheepdog.model.view'),
                 snapshot_seeds, repair_snapshot, cases=800)
def run_snapshot(data):
    _open({'/meta/epoch/state': data})


def view_seeds():
    yield log.encode({'created': SETTINGS.created, 'view': VIEW.to_dict()})


@registry.target('cluster-view', (),
                 ('sheepdog.cluster.ledger', 'sheepdog.model.view'),
                 view_seeds, cases=300)
def run_view(data):
    snapshot = next(iter(snapshot_seeds()))
    found = _open({'/meta/epoch/state': snapshot,
                   '/meta/epoch/00000000': data})
    for one in found.views:
        assert json.loads(log.encode(one.to_dict()))
