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

"""A naive twin of the store: what may be where after a crash.

Each object has a history: its state after each operation that the store
accepted, in order. After a crash every sector must hold what it held after
some operation that is not older than the last one there that may not be
lost (or be cut between two such, where the process died in the middle of a
write).
"""

import dataclasses
import os
from typing import Optional

SECTOR = 512


@dataclasses.dataclass
class State:
    """The object after an operation that concerned bytes [low, high).
    ``content`` None: there is none. ``life`` changes when the content is
    another one altogether."""

    content: Optional[bytes]
    version: int
    life: int
    low: int = 0
    high: int = 1 << 62


class History:
    """``kept_after_kill``, ``kept_after_cut``: the operations (indices of
    their states) that must not be lost by a kill -9, by a power cut."""

    def __init__(self):
        self.restart(None, 0, 0)

    @property
    def last(self) -> State:
        return self.states[-1]

    def append(self, state: State) -> int:
        self.states.append(state)
        return len(self.states) - 1

    def restart(self, content, version: int, life: int) -> None:
        """What was found after a crash is what counts from now on."""
        self.states = [State(content, version, life)]
        self.kept_after_kill = {0}
        self.kept_after_cut = {0}

    def check(self, content, version, kept: set, excused=()) -> str:
        """Why the object cannot be like this, if no operation of ``kept``
        is lost; '' if it can. Sectors that begin at ``excused`` pass."""
        first = max(kept)
        states = self.states[first:]
        if content is None:
            if any(state.content is None for state in states):
                return ''
            return 'the object is gone'
        for state in reversed(states):
            if state.content == content and state.version == version:
                return ''
        faults = []
        for life in sorted({state.life for state in states
                            if state.content is not None}):
            if version not in [state.version for state in states
                               if state.life == life]:
                fault = 'version %d' % version
            else:
                fault = self._check_content(content, life, kept, excused)
            if not fault:
                return ''
            faults.append('life %d: %s' % (life, fault))
        return '; '.join(faults) or 'the object is there'

    def _check_content(self, content: bytes, life: int, kept: set,
                       excused) -> str:
        states = [(index, state) for index, state in enumerate(self.states)
                  if state.life == life and state.content is not None]
        if len(content) != len(states[0][1].content):
            return '%d bytes' % len(content)
        for start in range(0, len(content), SECTOR):
            if start in excused:
                continue
            sector = content[start:start + SECTOR]
            first = max([index for index, state in states
                         if index in kept and state.low <= start < state.high]
                        or [0])
            candidates = [state.content[start:start + SECTOR]
                          for index, state in states if index >= first]
            if sector not in candidates and not _is_cut(sector, candidates):
                return 'sector at %d is %r…, not older than %d of %s' % (
                    start, sector[:8], first, sorted(kept))
        return ''


def _is_cut(sector: bytes, candidates: list) -> bool:
    """True where the process died in the middle of a call that wrote one
    of them over an older one."""
    for index, newer in enumerate(candidates):
        common = len(os.path.commonprefix([sector, newer]))
        for older in candidates[:index]:
            if sector[common:] == older[common:]:
                return True
    return False


class Twin:
    def __init__(self):
        self.objects = {}
        self.lives = 0

    def history(self, oid: int) -> History:
        if oid not in self.objects:
            self.objects[oid] = History()
        return self.objects[oid]

    def new_life(self) -> int:
        self.lives += 1
        return self.lives

    def write(self, oid, version, offset, data, capacity) -> int:
        history = self.history(oid)
        last = history.last
        content = last.content
        life = last.life
        if content is None:
            life = self.new_life()
            content = bytes(capacity)
            # It is made, all zero, and then written.
            history.append(State(content, version, life))
        else:
            version = max(version, last.version)
        end = offset + len(data)
        return history.append(State(content[:offset] + data + content[end:],
                                    version, life, offset, end))

    def remove(self, oid) -> int:
        history = self.history(oid)
        return history.append(State(None, 0, history.last.life))

    def adopt(self, oid, version, capacity, pieces, keep, zeros) -> int:
        history = self.history(oid)
        content = history.last.content
        content = bytearray(content if keep and content is not None
                            else capacity)
        for offset, data in pieces:
            content[offset:offset + len(data)] = data
        for offset, size in zeros:
            content[offset:offset + size] = bytes(size)
        return history.append(State(bytes(content), version,
                                    self.new_life()))
