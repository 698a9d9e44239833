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

"""The catalogue: what is told, with which fields.

Names, fields and their meaning are a promise to consumers: within a version
fields may be added, but none changes or goes.
"""

from typing import Any, NamedTuple, Protocol

VERSION = '1.0'
PREFIX = 'sheepdog.'

INFO, WARN, ERROR = 'info', 'warn', 'error'

COMMON = {
    'version': 'of the payload: a new first number means that something '
               'changed or went, a new second one that something was added',
    'event_id': 'the same for each time that this event is sent: drop what '
                'you have seen',
    'cluster': 'names the cluster: its creation time; empty before it is '
               'formatted',
    'time': 'when it happened: seconds since 1970',
    'reporter': 'the sheep that sends it: host, port, node',
}
"""Fields of every payload."""

NODE = ('a sheep: host, port, zone, node (its stable id), is_gateway '
        '(it keeps no objects)')


class Kind(NamedTuple):
    """``is_own``: told by the sheep that it happened to; all others are the
    cluster's, and told by one member for all."""

    name: str
    priority: str
    text: str
    fields: dict
    is_own: bool = False

    @property
    def event_type(self) -> str:
        return PREFIX + self.name


KINDS = {kind.name: kind for kind in (
    Kind('cluster.formatted', INFO, 'The cluster was formatted: a new one, '
         'without VDIs.',
         {'epoch': '1', 'members': 'how many sheep',
          'copies': 'of each object',
          'object_bytes': 'the size of an object'}),
    Kind('cluster.started', INFO, 'All are back after a full stop; the '
         'cluster goes on.',
         {'epoch': 'as before the stop', 'members': 'how many sheep'}),
    Kind('cluster.shutdown', INFO, 'The cluster shuts down in order.',
         {'epoch': 'the last one'}),
    Kind('cluster.recovered', INFO, 'Every member has recovered: redundancy '
         'is full.', {'epoch': 'the recovered one'}),
    Kind('epoch.changed', INFO, 'The member list has changed.',
         {'epoch': 'the new one', 'previous_epoch': 'the one before',
          'members': 'how many sheep', 'zones': 'how many fault zones keep '
          'objects', 'joined': 'how many came', 'left': 'how many went'}),
    Kind('node.joined', INFO, 'A sheep is a member from now on.',
         {'epoch': 'the first with it', 'node': NODE}),
    Kind('node.left', WARN, 'A sheep is a member no more: it was stopped, '
         'died, or was not heard of in time.',
         {'epoch': 'the first without it', 'node': NODE}),
    Kind('node.evicted', WARN, 'A sheep keeps no objects from now on: it, or '
         'its disk, is much slower than the others, or an operator wants it. '
         'It stays a member.',
         {'node': NODE, 'is_by_hand': 'an operator did it',
          'why': 'in words'}),
    Kind('node.readmitted', INFO, 'A sheep that was evicted keeps objects '
         'again.',
         {'node': NODE}),
    Kind('vdi.created', INFO, 'A VDI was created.',
         {'name': 'of the VDI', 'vdi_id': 'its number',
          'size_bytes': 'its virtual size', 'copies': 'of each object'}),
    Kind('vdi.deleted', INFO, 'A VDI was deleted; its space comes back in '
         'the background.',
         {'name': 'of the VDI', 'vdi_id': 'its number'}),
    Kind('vdi.resized', INFO, 'A VDI was made larger.',
         {'name': 'of the VDI', 'vdi_id': 'its number',
          'size_bytes': 'its new virtual size'}),
    Kind('vdi.lock_forced', WARN, 'An operator took the lock of a VDI away '
         'from its owners.',
         {'name': 'of the VDI', 'vdi_id': 'its number',
          'mode': 'exclusive or shared', 'owners': 'those who had it, each '
          + NODE}),
    Kind('node.lapsed', WARN, 'This sheep lost its lease: it serves nothing '
         'until it has joined anew, which it tries by itself.',
         {'reason': 'in words'}, True),
    Kind('recovery.started', INFO, 'This sheep begins to make copies whole. '
         '(Where the epoch changes meanwhile it begins anew, and only the '
         'last one finishes.)',
         {'epoch': 'that it recovers', 'objects': 'how many'}, True),
    Kind('recovery.finished', INFO, 'All copies of this sheep are whole.',
         {'epoch': 'that is recovered', 'objects': 'how many',
          'seconds': 'what it took'}, True),
    Kind('recovery.failed', ERROR, 'A recovery gets no further; it is tried '
         'again all the time.',
         {'epoch': 'that it recovers', 'objects_left': 'how many',
          'reason': 'in words; names an object or who is waited for'},
         True),
)}


OBJECT = 'its number, in hexadecimal'
BLOCKS = 'the first numbers of 4 KiB blocks in it'

KINDS.update((kind.name, kind) for kind in (
    Kind('object.damaged', WARN, 'This sheep found bad blocks in its copy of '
         'an object; they are mended from another copy.',
         {'object': OBJECT, 'blocks': BLOCKS, 'count': 'how many'}, True),
    Kind('object.irreparable', ERROR, 'No copy of an object is good in some '
         'blocks: reading them fails, writing them anew mends them.',
         {'object': OBJECT, 'blocks': BLOCKS, 'count': 'how many'}, True),
    Kind('object.copies_differ', ERROR, 'Copies of an object differ though '
         'their checksums are right.',
         {'object': OBJECT, 'nodes': 'host:port of those with a copy',
          'is_settled': 'whether it is known which ones are wrong; these '
                        'are made anew'}, True),
    Kind('quarantine.added', WARN, 'Something in the store of this sheep '
         'cannot be explained, and was set aside.',
         {'name': 'in the quarantine', 'object': OBJECT + '; empty for none',
          'why': 'in words'}, True),
))


class Notification(NamedTuple):
    kind: Kind
    payload: dict


class Sink(Protocol):
    """Takes notifications away. Never blocks, and never fails."""

    def send(self, notification: Notification) -> None: ...

    def outcomes(self) -> dict:
        """How many ended how, for the metrics: ``sent``, ``dropped``,
        ``failed``."""

    @property
    def waiting(self) -> int:
        """How many have come to no end yet."""


class ListSink:
    """Keeps them all: for the simulator and for tests."""

    waiting = 0

    def __init__(self):
        self.sent: list[Notification] = []

    def send(self, notification: Notification) -> None:
        self.sent.append(notification)

    def outcomes(self) -> dict:
        return {'sent': len(self.sent), 'dropped': 0, 'failed': 0}


def payload(kind: Kind, common: dict, fields: dict) -> dict[str, Any]:
    """Exactly what the catalogue says."""
    assert fields.keys() == kind.fields.keys(), (kind.name, fields)
    assert common.keys() | {'version'} == COMMON.keys(), common
    return dict(common, version=VERSION, **fields)
