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

"""Runs one input or many, and tells what went wrong.

The mutator is our own and draws from a seed: the same run on any machine,
fit for CI. For longer runs atheris takes its place, which follows coverage.
"""

import contextlib
import dataclasses
import gc
import json
import random
import resource
import signal
import struct
import traceback
import tracemalloc

CPU_SECONDS = 5.0
"""What one input may take. CPU time: others may use the machine too."""
MEMORY_BYTES = 512 << 20
"""What one input may allocate at once."""
SIZE_MAX_BYTES = 128 << 10


class Hang(BaseException):
    """An input took too long. (Not an Exception: nobody shall catch it.)"""


@dataclasses.dataclass
class Finding:
    """A bug, and the input that shows it."""

    target: str
    data: bytes
    error: BaseException
    where: str = ''

    def __str__(self):
        return '%s: %s: %s\n%s\ninput: %r' % (
            self.target, type(self.error).__name__, self.error,
            self.where, self.data[:400])


@contextlib.contextmanager
def _limits():
    """CPU time and memory. In the main thread only."""
    def expired(number, frame):
        raise Hang('more than %g s of CPU time' % CPU_SECONDS)

    with open('/proc/self/statm') as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGVTALRM, expired)
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_BYTES, hard))
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGVTALRM, before)


def run_one(target, data: bytes):
    """None, or a ``Finding``."""
    try:
        with _limits():
            try:
                target.run(data)
            except target.errors:
                pass
    except (Exception, Hang) as error:
        trace = ''.join(traceback.format_tb(error.__traceback__)[-4:])
        return Finding(target.name, data, error, trace)
    return None


def run_corpus(target) -> list:
    found = (run_one(target, data) for _name, data in target.inputs())
    return [finding for finding in found if finding is not None]


def run_mutants(target, cases: int, seed: int = 1):
    """The first ``Finding`` among mutants of the corpus, or None."""
    mutator = Mutator(target, random.Random('%s/%d' % (target.name, seed)))
    for _number in range(cases):
        finding = run_one(target, mutator.next())
        if finding is not None:
            return finding
    return None


def growth_bytes(target, rounds: int = 20) -> int:
    """What is kept of ``rounds`` runs of the corpus after the first ones."""
    inputs = [data for _name, data in target.inputs()]

    def run():
        for data in inputs:
            run_one(target, data)

    run()
    run()
    gc.collect()
    tracemalloc.start()
    try:
        run()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _round in range(rounds):
            run()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


_INTERESTING = (0, 1, 2, 3, 4, 7, 8, 0x10, 0x7F, 0x80, 0xFF, 0x100, 0x1000,
                0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x400000, 0x1000000,
                0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, 1 << 62,
                (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_WORDS = (b'null', b'true', b'-1', b'0', b'1e999', b'NaN', b'[]', b'{}',
          b'""', b'"\\u0000"', b'"\\ud800"', b'\0', b'\xff', b'\xc3\x28',
          b'\n', b'\r\n', b'\x1b[2J', b'%s', b'../', b'99999999999999999999',
          b'[' * 64, b'"' * 3, b'\xe2\x80\xae', b'0.5', b'1' * 5000)


class Mutator:
    """Changes inputs of the corpus a little, or a lot."""

    def __init__(self, target, chance):
        self._target = target
        self._random = chance
        self._inputs = [data for _name, data in target.inputs()] or [b'']

    def next(self) -> bytes:
        """Another input."""
        data = bytearray(self._random.choice(self._inputs))
        return self.mutate(data)

    def mutate(self, data) -> bytes:
        chance = self._random
        data = bytearray(data)
        for _count in range(1 + int(chance.expovariate(0.7))):
            chance.choice(_MUTATIONS)(self, data)
        data = bytes(data[:SIZE_MAX_BYTES])
        if self._target.repair is not None and chance.random() < 0.7:
            data = self._target.repair(data)
        return data

    def _place(self, data, size=0) -> int:
        # Headers are where it matters most.
        end = max(0, len(data) - size)
        if self._random.random() < 0.4:
            end = min(end, 96)
        return self._random.randint(0, end)

    def _flip(self, data):
        if data:
            data[self._place(data, 1)] ^= 1 << self._random.randrange(8)

    def _byte(self, data):
        if data:
            data[self._place(data, 1)] = self._random.randrange(256)

    def _number(self, data):
        code = self._random.choice('<H >H <I >I <Q >Q'.split())
        size = struct.calcsize(code)
        if len(data) >= size:
            place = self._place(data, size)
            value = self._random.choice(_INTERESTING) & ((1 << 8 * size) - 1)
            struct.pack_into(code, data, place, value)

    def _nudge(self, data):
        code = self._random.choice('<I >I <Q >Q'.split())
        size = struct.calcsize(code)
        if len(data) >= size:
            place = self._place(data, size)
            value, = struct.unpack_from(code, data, place)
            value += self._random.choice((-1, 1, -48, 48, -4096, 4096))
            struct.pack_into(code, data, place, value % (1 << 8 * size))

    def _insert(self, data):
        place = self._place(data)
        data[place:place] = self._random.randbytes(
            self._random.choice((1, 2, 4, 8, 48, 300)))

    def _delete(self, data):
        place = self._place(data)
        del data[place:place + self._random.choice((1, 2, 4, 8, 48, 300))]

    def _double(self, data):
        place = self._place(data)
        size = self._random.choice((1, 4, 8, 28, 48, 300))
        data[place:place] = data[place:place + size]

    def _cut(self, data):
        del data[self._place(data):]

    def _splice(self, data):
        other = self._random.choice(self._inputs)
        if other:
            start = self._random.randrange(len(other))
            data[self._place(data):] = other[start:]

    def _append(self, data):
        data += self._random.choice(self._inputs)

    def _word(self, data):
        place = self._place(data)
        size = self._random.choice((0, 0, 1, 2, 4, 8))
        data[place:place + size] = self._random.choice(_WORDS)

    def _digits(self, data):
        """Change a number that is written out."""
        places = [place for place, byte in enumerate(data[:4096])
                  if 0x30 <= byte <= 0x39]
        if places:
            place = self._random.choice(places)
            data[place:place + 1] = str(
                self._random.choice(_INTERESTING)).encode()

    def _value(self, data):
        """Put something else in the place of a JSON value."""
        places = [place for place, byte in enumerate(data[:4096])
                  if byte == 0x3A]
        if places:
            start = self._random.choice(places) + 1
            end = start
            while end < len(data) and data[end] not in b',}]':
                end += 1
            data[start:end] = self._random.choice(_WORDS)

    def _json(self, data):
        """Something else at one place of one JSON object; what is around it
        stays as it is."""
        starts = [place for place in range(min(len(data), 8192))
                  if data[place:place + 2] == b'{"']
        if not starts:
            return
        start = self._random.choice(starts)
        try:
            message, size = _DECODER.raw_decode(
                data[start:].decode('latin-1'))
        except (ValueError, RecursionError):
            return
        places = list(_places(message))
        container, key = self._random.choice(places)
        action = self._random.random()
        if action < 0.7:
            container[key] = self._random.choice(_ODD)
        elif action < 0.85:
            other, name = self._random.choice(places)
            container[key] = json.loads(json.dumps(other[name]))
        else:
            del container[key]
        data[start:start + size] = json.dumps(
            message, separators=(',', ':')).encode()


def _places(container):
    """(container, key or index) of everything below."""
    for key, value in (container.items() if isinstance(container, dict)
                       else enumerate(container)):
        yield container, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


_DECODER = json.JSONDecoder()
_ODD = (None, True, False, -1, 0, 1, 7, 1 << 31, 1 << 32, 1 << 53, 1 << 62,
        (1 << 63) - 1, (1 << 64) - 1, 1 << 64, 0.5, -0.0, 1e300, '', 'x', '0',
        'x' * 300, '\0', '\ud800', '../x', [], {}, [0], ['x'], [[]],
        {'x': 1}, [None] * 50)
_MUTATIONS = (Mutator._flip, Mutator._byte, Mutator._number, Mutator._number,
              Mutator._nudge, Mutator._insert, Mutator._delete,
              Mutator._double, Mutator._cut, Mutator._splice,
              Mutator._append, Mutator._word, Mutator._digits,
              Mutator._value, Mutator._json, Mutator._json, Mutator._json)
