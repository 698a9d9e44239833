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


"""What clients ask of the sheep of a play, and what they are told."""

import base64
import re

from sheepdog.faces.native import attributes
from sheepdog.model import errors
from sheepdog.placement import redundancy
from sheepdog.testing import checkers
from sheepdog.testing import play_attributes
from sheepdog.testing import workload

VOLUME_BYTES = 4 << 20
OBJECT_BYTES = 1 << 20
WAITS = 'waits'
LOST = 'lost'
"""Its sheep died before it answered."""


class Request:
    """``answer`` is '' until there is one; ``process`` is None where
    nobody was there to be asked."""

    def __init__(self, who: str, text: str, process, operation: str):
        self.who = who
        self.text = text
        self.process = process
        self.operation = operation
        self.answer = ''

    def outcome(self) -> str:
        if self.answer:
            return self.answer
        is_alive = self.process is not None and self.process.is_alive
        return WAITS if is_alive else LOST


class Actors:
    """All requests of a play, the newest of each text last."""

    def __init__(self, stage):
        self._stage = stage
        self._requests = []
        self._opened = {}
        self.attributes = play_attributes.Attributes()

    def outcome(self, who: str, text: str) -> str:
        for request in reversed(self._requests):
            if (request.who, request.text) == (who, text):
                return request.outcome()
        return 'was not asked'

    @staticmethod
    def is_known(text: str) -> bool:
        return any(pattern.fullmatch(text) for pattern, _ in _REQUESTS)

    def ask(self, who: str, text: str) -> None:
        """Let it begin; ``… again`` is a try of the last one of this text
        with the same operation id, at whichever sheep."""
        text, is_again = re.subn(' again$', '', text)
        operation = ''
        if is_again:
            operation = next(request.operation for request
                             in reversed(self._requests)
                             if request.text == text)
        node = self._stage.nodes[who]
        if node.sheep is None or node.sheep.cluster is None:
            # It has not come so far as to take requests.
            self._requests.append(Request(who, text, None, operation))
            return
        world = node.host.world
        request = Request(who, text, world.process, operation or
                          world.random.token(12).hex())
        self._requests.append(request)
        for pattern, function in _REQUESTS:
            match = pattern.fullmatch(text)
            if match:
                world.spawn(self._answer(request, function(
                    self, node.sheep, request, *match.groups())),
                    '%s: %s' % (who, text))
                return
        raise ValueError('nobody can be asked to %r' % text)

    async def _answer(self, request: Request, coroutine) -> None:
        try:
            request.answer = await coroutine or 'done'
        except errors.SheepdogError as error:
            request.answer = 'refused: %s' % type(error).__name__
        self._stage.say('%s: %s: %s' % (request.who, request.text,
                                        request.answer))

    # The catalogue.

    async def _format(self, sheep, request):
        await sheep.cluster.execute('format', {
            'copies': self._stage.settings.copies, 'block_size_shift': 20,
            'strict': self._stage.settings.is_strict,
            'avoid_full': self._stage.settings.avoids_full},
            request.operation)

    async def _force(self, sheep, request):
        await sheep.cluster.execute('recover-force', {}, request.operation)

    async def _enable_recovery(self, sheep, request, how):
        await sheep.cluster.execute('settings', {'changes': {
            'recovery_enabled': how == 'enable'}}, request.operation)

    async def _throttle(self, sheep, request, at_once, seconds):
        sheep.recovery.throttle.set(int(at_once), int(seconds))

    async def _shut_down(self, sheep, request):
        await sheep.cluster.execute('shutdown', {}, request.operation)

    async def _create(self, sheep, request, name):
        await sheep.catalogue.create(name, VOLUME_BYTES,
                                     operation_id=request.operation)

    async def _delete(self, sheep, request, name):
        await sheep.catalogue.delete(name, operation_id=request.operation)

    async def _delete_snapshot(self, sheep, request, name, tag):
        await sheep.catalogue.delete(name, tag,
                                     operation_id=request.operation)

    async def _snapshot(self, sheep, request, name, tag):
        await sheep.branching.snapshot(name, tag,
                                       operation_id=request.operation)

    async def _clone(self, sheep, request, name, tag, copy):
        await sheep.branching.clone(name, tag, copy,
                                    operation_id=request.operation)

    async def _roll_back(self, sheep, request, name, tag):
        await sheep.branching.rollback(name, tag, request.operation)

    async def _resize(self, sheep, request, name, size):
        await sheep.catalogue.resize(name, int(size) << 20,
                                     operation_id=request.operation)

    async def _alter(self, sheep, request, name, copies):
        await sheep.catalogue.alter_copies(name, int(copies),
                                           operation_id=request.operation)

    async def _turn(self, sheep, request, name, data, parity):
        policy = redundancy.parse('%s:%s' % (data, parity))
        await sheep.catalogue.alter_copies(name, policy.copies,
                                           operation_id=request.operation,
                                           copy_policy=policy.copy_policy)

    async def _break_lock(self, sheep, request, name):
        await sheep.cluster.execute('unlock', {
            'vdi_id': sheep.catalogue.find(name).vdi_id, 'force': True},
            request.operation)

    # Attributes, whose values are numbers.

    async def _create_attribute(self, sheep, request, key, name, value):
        with self.attributes.creating(key, name, value):
            await self._set_attribute(sheep, request, key, name, value, True)

    async def _set_attribute(self, sheep, request, key, name, value,
                             exclusive=False):
        await attributes.Attributes(sheep.cluster).set(
            name, key.encode().hex(), base64.b64encode(
                value.encode()).decode(), exclusive=exclusive,
            operation_id=request.operation)

    async def _delete_attribute(self, sheep, request, key, name):
        self.attributes.delete(key, name)
        await attributes.Attributes(sheep.cluster).set(
            name, key.encode().hex(), delete=True,
            operation_id=request.operation)

    async def _read_attribute(self, sheep, request, key, name):
        found = await attributes.Attributes(sheep.cluster).get(
            name, key.encode().hex())
        value = base64.b64decode(found['value']).decode()
        self.attributes.read(key, name, value)
        return value

    # Volumes.

    async def _open(self, sheep, request, name, how):
        self._opened[request.process, name] = await sheep.volumes.open(
            name, shared=how == ' shared')

    async def _close(self, sheep, request, name):
        await self._volume(request, name).close()
        del self._opened[request.process, name]

    async def _write(self, sheep, request, value, name, place, cached):
        history = self._stage.history
        volume = self._volume(request, name)
        place = int(place or 0)
        begun = history.begin_write(request.who, [(name, place)],
                                    int(value))
        await volume.write(
            place * OBJECT_BYTES,
            workload.fill(int(value), _unit(place)), fua=not cached)
        history.end_write(begun, volume, not cached)

    async def _flush(self, sheep, request, name):
        history = self._stage.history
        volume = self._volume(request, name)
        begun = history.begin_flush(volume)
        try:
            await volume.flush()
        except errors.SheepdogError:
            history.fail_flush(volume)
            raise
        history.end_flush(volume, begun)

    async def _read(self, sheep, request, name, place):
        place = int(place or 0)
        volume = self._opened.get((request.process, name))
        if volume is not None and volume.valid:
            return await self._read_volume(request, volume, name, place)
        volume = await sheep.volumes.open(name, read_only=True)
        try:
            return await self._read_volume(request, volume, name, place)
        finally:
            await volume.close()

    async def _read_volume(self, request, volume, name, place):
        history = self._stage.history
        begun = history.begin_read(request.who, [(name, place)])
        data = await volume.read(place * OBJECT_BYTES, workload.UNIT_BYTES)
        value = workload.value_of(data, _unit(place)) if any(data) \
            else checkers.ZERO
        history.end_read(begun, [value])
        return str(value)

    async def _peek(self, sheep, request, name, tag, place):
        """As a read, of what has a history of its own to nobody."""
        place = int(place or 0)
        volume = await sheep.volumes.open(name, tag or '', read_only=True)
        try:
            data = await volume.read(place * OBJECT_BYTES,
                                     workload.UNIT_BYTES)
        finally:
            await volume.close()
        return str(workload.value_of(data, _unit(place)) if any(data)
                   else checkers.ZERO)

    def _volume(self, request, name):
        volume = self._opened.get((request.process, name))
        if volume is None:
            raise errors.VdiNotLocked('%s is not open at %s'
                                      % (name, request.who))
        return volume


def _unit(place: int) -> int:
    return place * OBJECT_BYTES // workload.UNIT_BYTES


_REQUESTS = [(re.compile(pattern), function) for pattern, function in (
    ('format', Actors._format),
    ('recover by force', Actors._force),
    ('shut down', Actors._shut_down),
    ('(enable|disable) recovery', Actors._enable_recovery),
    (r'recover (\d+) at once, rest (\d+) s', Actors._throttle),
    (r'create (\w+)', Actors._create),
    (r'delete (\w+)', Actors._delete),
    (r'delete (\w+)@(\w+)', Actors._delete_snapshot),
    (r'snapshot (\w+) as (\w+)', Actors._snapshot),
    (r'clone (\w+)@(\w+) to (\w+)', Actors._clone),
    (r'roll (\w+) back to (\w+)', Actors._roll_back),
    (r'peek (\w+?)(?:@(\w+))?(?: at (\d))?', Actors._peek),
    (r'resize (\w+) to (\d+) MiB', Actors._resize),
    (r'alter (\w+) to (\d+) copies', Actors._alter),
    (r'alter (\w+) to (\d+)\+(\d+) strips', Actors._turn),
    (r'break the lock of (\w+)', Actors._break_lock),
    (r'create attribute (\w+) of (\w+) as (\d+)',
     Actors._create_attribute),
    (r'set attribute (\w+) of (\w+) to (\d+)', Actors._set_attribute),
    (r'delete attribute (\w+) of (\w+)', Actors._delete_attribute),
    (r'read attribute (\w+) of (\w+)', Actors._read_attribute),
    (r'open (\w+)( shared)?', Actors._open),
    (r'close (\w+)', Actors._close),
    (r'write (\d+) to (\w+?)(?: at (\d))?( cached)?', Actors._write),
    (r'flush (\w+)', Actors._flush),
    (r'read (\w+?)(?: at (\d))?', Actors._read))]
