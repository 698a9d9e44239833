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

"""Turns: what is under way on each object that this sheep orders.

Changes exclude whatever they overlap; reads go together. Whoever comes is
queued behind all before it that are in its way, also behind those that wait
themselves: so nobody starves, and no read sees a change half done, whichever
of the two came first.
"""


class Turns:
    """``table``: entries (``operation.Change``, ``operation.Read``) by
    object, in the order they came: at work, or waiting for others before
    them."""

    def __init__(self):
        self.table = {}

    def take(self, entry):
        """Queue it. True: it may go on at once; else ``entry.begin()`` is
        called when it may."""
        entries = self.table.get(entry.oid)
        if entries is None:
            self.table[entry.oid] = [entry]
            return True
        blockers = 0
        offset, end, is_change = entry.offset, entry.end, entry.is_change
        for other in entries:
            if other.offset < end and offset < other.end and (
                    is_change or other.is_change):
                if other.waiters is None:
                    other.waiters = []
                other.waiters.append(entry)
                blockers += 1
        entry.blockers = blockers
        entries.append(entry)
        return not blockers

    def holds(self, entry):
        return entry in self.table.get(entry.oid, ())

    def leave(self, entry):
        """It has ended, or goes another way: who waits for it goes on.
        (No-op where it has no place.) Nobody leaves who still waits."""
        entries = self.table.get(entry.oid)
        if entries is None or entry not in entries:
            return
        if len(entries) == 1:
            del self.table[entry.oid]
        else:
            entries.remove(entry)
        waiters = entry.waiters
        if waiters is not None:
            entry.waiters = None
            for waiter in waiters:
                waiter.blockers -= 1
                if not waiter.blockers:
                    waiter.begin()

    def clear(self):
        """Forget all of them; returns them, oldest first per object. None
        of them begins any more."""
        table, self.table = self.table, {}
        return [entry for entries in table.values() for entry in entries]
