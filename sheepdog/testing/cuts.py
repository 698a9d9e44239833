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

"""As ``checkers``, where all machines may have been without power at times.
"""

import collections
import dataclasses
from typing import Collection, Iterable, Optional

from sheepdog.testing import checkers


def first_violation(operations: Iterable[checkers.Operation],
                    cuts: Iterable[float], initial: int = checkers.ZERO,
                    partial: Collection[float] = ()
                    ) -> Optional[checkers.Violation]:
    """As ``checkers.first_violation``, but at each of the moments ``cuts``
    writes that were not durable may have got lost (all machines were
    without power): what is left is the result of a beginning of the order
    that has at least all writes known to be durable.

    At a cut that is ``partial`` not all machines were without power: what
    was not durable before it is not durable after it either, though it was
    read, and may be lost at the next one.

    What was under way at a cut, and is answered after it, is there from
    then on; and where that answer said so it survives the next one.

    What this finds is always wrong. It misses some cases where only the
    order among durable writes, as reads have seen it, tells.
    """
    operations = sorted(operations, key=lambda o: o.begin)
    written = collections.Counter(operation.value for operation in operations
                                  if operation.kind == checkers.WRITE)
    written[initial] += 1
    since = _since(operations, written, initial)
    # What the register may hold at the beginning of an era.
    feasible = [initial]
    pending = []
    low = checkers.BEFORE_ALL
    for cut in list(cuts) + [checkers.NEVER]:
        era = [operation for operation in operations
               if low <= operation.begin < cut]
        violation = None
        survivors = []
        durable_begin = max((operation.begin for operation in era
                             if operation.durable < cut), default=None)
        buried = _buried(pending + era, feasible, durable_begin)
        for value in feasible:
            late = [_late(operation, since.get(value, checkers.NEVER))
                    for operation in pending
                    if operation.expires > low and (
                        operation.value != value or
                        written[operation.value] > 1)]
            found = checkers.first_violation(
                [_clip(operation, cut) for operation in late + era], value)
            violation = violation or found
            if found is None:
                if durable_begin is None and not any(
                        max(operation.durable, operation.end) < cut
                        for operation in late):
                    survivors += feasible if low in partial else [value]
                survivors += [
                    operation.value for operation in late + era
                    if operation.kind == checkers.WRITE and
                    operation.value not in buried]
        if not survivors:
            return violation if low == checkers.BEFORE_ALL else _with_history(
                violation, operations, feasible, low)
        feasible = list(dict.fromkeys(survivors))
        pending = [operation for operation in pending + era
                   if operation.kind == checkers.WRITE and
                   operation.end >= cut and operation.value not in buried]
        low = cut
    return None


def _since(operations: list, written: dict, initial: int) -> dict:
    """Value → the moment by which it had been written for sure; none for
    those that were written twice."""
    since = {}
    for operation in operations:
        value = operation.value
        since[value] = min(operation.end, since.get(value, checkers.NEVER))
    since[initial] = checkers.BEFORE_ALL
    return {value: moment for value, moment in since.items()
            if written[value] == 1}


def _late(operation: checkers.Operation, since: float) -> checkers.Operation:
    """A write that was begun before a cut, and not answered by then, where
    what was found after the cut was there ``since``.

    If it began after that it is not under what was found: what is answered
    now is there from now on, as any other. Else it may have come before
    what was found did, and have been answered only now; if it comes yet,
    then before its answer.
    """
    if operation.begin > since:
        return operation
    return dataclasses.replace(operation, end=checkers.NEVER, expires=min(
        operation.expires, operation.end))


def _with_history(violation: checkers.Violation, operations: list,
                  feasible: list, cut: float) -> checkers.Violation:
    """Say what should have been there after the cut."""
    expected = [operation for operation in operations
                if operation.kind == checkers.WRITE and
                operation.begin < cut and operation.value in feasible]
    return checkers.Violation(
        '%s; after the power cut at %s, one of %s was possible' % (
            violation.what, cut, feasible),
        tuple(expected) + violation.operations)


def _clip(operation: checkers.Operation, cut: float) -> checkers.Operation:
    if operation.end < cut:
        return operation
    return dataclasses.replace(operation, end=checkers.NEVER)


def _buried(operations: list, initial: list,
            durable_begin: Optional[float]) -> set:
    """The values that lie under a durable write: they were there, since
    they were answered or read, before it began. A value that also was there
    initially, or was written twice, may have been read from the first."""
    if durable_begin is None:
        return set()
    writes = collections.defaultdict(list)
    seen = set()
    for operation in operations:
        if operation.kind == checkers.WRITE:
            writes[operation.value].append(operation)
        if operation.end < durable_begin:
            seen.add(operation.value)
    return {value for value in seen
            if len(writes[value]) == 1 and value not in initial or
            all(write.end < durable_begin for write in writes[value])}
