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

"""What clients asked for and were told, block by block.

The workload tells here before it asks and after it was answered; a client
that dies in between leaves the outcome open. ``check`` holds all of it
against one order per block.
"""

from typing import Iterable, Optional

from sheepdog.testing import checkers
from sheepdog.testing import cuts


class History:
    """Of all blocks; moments are numbered as they come."""

    def __init__(self):
        self._moment = 0
        self._values = 0
        self._operations = {}
        self._unflushed = {}
        self.cuts = []
        self._partial = set()

    def now(self) -> int:
        self._moment += 1
        return self._moment

    def new_value(self) -> int:
        """One that no other write has."""
        self._values += 1
        return self._values

    def begin_write(self, who: str, registers: Iterable, value: int,
                    lock: int = 0) -> list:
        """One write of one value to several blocks; it is whole in each,
        not over all of them. ``lock``: see ``checkers.Operation``."""
        return self._begin(checkers.WRITE, who, registers, value, lock)

    def begin_read(self, who: str, registers: Iterable,
                   lock: int = 0) -> list:
        return self._begin(checkers.READ, who, registers, 0, lock)

    def _begin(self, kind, who, registers, value, lock):
        now = self.now()
        operations = []
        for register in registers:
            operation = checkers.Operation(kind, value, now, who=who,
                                           lock=lock)
            self._operations.setdefault(register, []).append(operation)
            operations.append(operation)
        return operations

    def end_write(self, operations: list, handle, is_durable: bool) -> None:
        """``handle``: a flush of the same handle makes it durable."""
        now = self.now()
        for operation in operations:
            operation.end = now
            if is_durable:
                operation.durable = now
            else:
                self._unflushed.setdefault(handle, []).append(operation)

    def end_read(self, operations: list, values: list) -> None:
        now = self.now()
        for operation, value in zip(operations, values, strict=True):
            operation.end = now
            operation.value = value

    def begin_flush(self, handle) -> list:
        return list(self._unflushed.get(handle, ()))

    def end_flush(self, handle, flushed: list) -> None:
        self.now()
        for operation in flushed:
            # Also where all lost power in between: a flush that cannot say
            # that it is there must not succeed.
            operation.durable = operation.end
        self._unflushed[handle] = [
            operation for operation in self._unflushed.get(handle, ())
            if operation.durable == checkers.NEVER]

    def fail_flush(self, handle) -> None:
        """What it was to make durable may never be: the client has been
        told, once."""
        self._unflushed.pop(handle, None)

    def power_cut(self, is_total: bool = True) -> None:
        """All copies may have lost what was not durable. Not
        ``is_total``: some sheep are still up, and what they have in memory
        only may be lost the next time."""
        self.cuts.append(self.now())
        if not is_total:
            self._partial.add(self.cuts[-1])

    def count(self, kind: str) -> int:
        """Operations that have ended."""
        return sum(operation.kind == kind and
                   operation.end != checkers.NEVER
                   for operations in self._operations.values()
                   for operation in operations)

    def registers(self) -> list:
        return list(self._operations)

    def operations(self, register) -> list:
        return self._operations.get(register, [])

    def check(self) -> list:
        """(register, Violation) of each block that has one."""
        found = []
        for register in self._operations:
            violation = self.check_register(register)
            if violation is not None:
                found.append((register, violation))
        return found

    def check_register(self, register) -> Optional[checkers.Violation]:
        operations = self._operations[register]
        for operation in operations:
            if (operation.kind == checkers.READ and
                    operation.value == checkers.TORN and
                    operation.end != checkers.NEVER):
                return checkers.Violation('a torn block', (operation,))
        checkers.expire(operations)
        return cuts.first_violation(
            operations, self.cuts, partial=self._partial)
