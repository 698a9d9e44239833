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


"""Cues of a play: something happens when a certain message passes.

Messages are recognised where they enter the simulated network, by what is
written in them: the code under test knows nothing of it. ``prepare``,
``sync``, ``survey`` and so on are the cluster's (``cluster.messages``);
events also go by their own kind (``lock``, ``vdi-create``), and the event
that makes an epoch valid is the ``commit``. Requests for objects go by the
name of their opcode: ``write``, ``order-write``, ``read``, ``flush``.
"""

import dataclasses
import json
from typing import Callable

from sheepdog.testing import loop as loop_module
from sheepdog.wire import peer as wire

COMMITS = ('epoch', 'format')

OPCODES = {getattr(wire, name): name.lower().replace('_', '-')
           for name in ('HELLO', 'WRITE', 'READ', 'ZERO', 'REMOVE', 'FLUSH',
                        'STATE', 'RECOVER', 'ALIGN', 'ORDER_WRITE',
                        'ORDER_READ', 'ORDER_ZERO', 'ORDER_FLUSH')}

KINDS = frozenset(OPCODES.values()) | {
    'survey', 'fetch', 'prepare', 'events', 'sync', 'waiting', 'refuse',
    'dismiss', 'ping', 'execute', 'commit', 'resume', 'lock', 'unlock',
    'vdi-create', 'vdi-attribute', 'vdi-delete', 'vdi-resize', 'vdi-begin',
    'vdi-commit', 'vdi-commit-group', 'vdi-abort', 'vdi-reclaimed',
    'shutdown', 'recovered'}
REQUESTS_MAX = 4096
"""Requests without an answer that are remembered."""


@dataclasses.dataclass
class Cue:
    """``source`` sends (or answers) a message of one of ``kinds`` to
    ``target`` ('' is anybody): then ``act()``, once."""

    source: str
    is_answer: bool
    kinds: tuple
    target: str
    act: Callable[[], None]

    def fits(self, source: str, is_answer: bool, kinds: tuple,
             target: str) -> bool:
        return (self.source == source and self.is_answer == is_answer and
                self.target in ('', target) and
                not set(self.kinds).isdisjoint(kinds))

    def __str__(self):
        return '%s %s %s%s' % (
            self.source, 'answers' if self.is_answer else 'sends',
            ' or '.join(self.kinds),
            ' to ' + self.target if self.target else '')


class Cues:
    """
    :param names: host → name in the play
    :param said: called with a cue that has come
    """

    def __init__(self, fabric, names: dict, said: Callable[[Cue], None]):
        self._names = names
        self._said = said
        self._requests = {}
        self.waiting = []
        fabric.on_send = self._on_send

    def _on_send(self, connection, buffers: tuple) -> None:
        if not self.waiting or connection.is_local:
            return
        header = _header(buffers)
        if header is None:
            return
        key = (frozenset((connection.number, connection.peer.number)),
               header[4])
        if connection.is_server:
            kinds = self._requests.pop(key, ())
        else:
            kinds = self._requests[key] = kinds_of(header[1], buffers[1:])
            if len(self._requests) > REQUESTS_MAX:
                del self._requests[next(iter(self._requests))]
        source = self._names[connection.host]
        target = self._names[connection.peer.host]
        for cue in list(self.waiting):
            if cue.fits(source, connection.is_server, kinds, target):
                self.waiting.remove(cue)
                self._said(cue)
                cue.act()
        if not connection.process.is_alive:
            raise loop_module.Killed()


def _header(buffers: tuple):
    """The fields of a frame's header, or None: something else is sent."""
    if len(buffers[0]) < wire.HEADER_BYTES:
        return None
    header = wire.HEADER.unpack_from(buffers[0])
    return header if header[0] == wire.VERSION else None


def kinds_of(opcode: int, payload: tuple) -> tuple:
    """All names by which a request goes."""
    if opcode != wire.MESSAGE:
        return OPCODES.get(opcode, ''),
    message = json.loads(b''.join(payload))
    kinds = [message['kind']]
    for record in message.get('records', ()):
        event = next(field for field in record if isinstance(field, dict))
        kinds.append('commit' if event['kind'] in COMMITS
                     else event['kind'])
    return tuple(kinds)
