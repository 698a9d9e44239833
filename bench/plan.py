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

"""What one sheep of a thousand computes when another one is lost.

The ring of the new view; what it tells the others of its objects; what it
takes in from them, and which of it all must be made whole here. With as many
objects as 1 TiB has, of 4 MiB each, and three copies of each.
"""

import time
import types

import numpy

from sheepdog.model import view as view_model
from sheepdog.peer import answers
from sheepdog.placement import moves
from sheepdog.placement import ring as ring_module
from sheepdog.recovery import standing as standing_module
from sheepdog.recovery import wanted as wanted_module

MEMBERS = 1000
COPIES = 3
OBJECTS = 262144
"""On each of them."""
OURS = 500
LOST = 999
_CHUNK = 1 << 20
_VDI_OBJECTS = 1 << 18


def views() -> tuple:
    """Before and after."""
    members = tuple(
        view_model.Member('n%d' % n, 'n%d.1' % n, '10.%d.%d.7' % divmod(
            n, 256), 7000, n, 128) for n in range(MEMBERS))
    return (view_model.View(1, 1, 0.0, members),
            view_model.View(2, 2, 0.0, members[:LOST] + members[LOST + 1:]))


class Situation:
    """``ours``: ids of our objects, sorted; ``lists``: what each of the
    others will tell us; ``coming``: how many objects are to come here."""

    def __init__(self, objects=OBJECTS):
        self.before, self.after = views()
        before = ring_module.Ring(self.before)
        after = ring_module.Ring(self.after)
        oids, holders = self._scan(before, objects * MEMBERS // COPIES)
        new = after.targets_many(oids, COPIES)
        is_ours_now = (new == OURS).any(axis=1)
        was_ours = (holders == OURS).any(axis=1)
        self.ours = oids[was_ours].tolist()
        self.coming = int((is_ours_now & ~was_ours).sum())
        oids, holders = oids[is_ours_now], holders[is_ours_now]
        self.lists = [
            answers.pack_list(oids[(holders == index).any(axis=1)])
            for index in range(MEMBERS) if index not in (OURS, LOST)]

    def _scan(self, ring, count):
        """All objects of the cluster that we hold, or that were lost with
        the other: ids and holders."""
        oids, holders = [], []
        for start in range(0, count, _CHUNK):
            number = numpy.arange(start, min(count, start + _CHUNK),
                                  dtype=numpy.uint64)
            chunk = ((number // _VDI_OBJECTS + 1) << numpy.uint64(32)
                     | number % _VDI_OBJECTS)
            targets = ring.targets_many(chunk, COPIES)
            chosen = ((targets == OURS) | (targets == LOST)).any(axis=1)
            oids.append(chunk[chosen])
            holders.append(targets[chosen])
        return numpy.concatenate(oids), numpy.concatenate(holders)


class Planner:
    """Our sheep, as far as it plans; ready in the view before."""

    def __init__(self, situation):
        self._situation = situation
        self._rings = {}
        self._cluster = cluster = types.SimpleNamespace(
            view=situation.before,
            incarnation=situation.before.members[OURS].incarnation,
            state=types.SimpleNamespace(gone_below=lambda oid: (0, ())))
        order = types.SimpleNamespace(
            code=lambda oid: None,
            copies_at=lambda oid, epoch: COPIES)
        self._standing = standing_module.Standing(
            None, lambda *args: self._wanted.are_targets(*args))
        self._wanted = wanted_module.Wanted(
            cluster, None, None, order, self._standing, self._ring, None)
        self._standing.begin(situation.before, is_trusted=True)
        self._ring(situation.before).targets(1, COPIES)

    def _ring(self, view):
        if view.epoch not in self._rings:
            self._rings[view.epoch] = ring_module.Ring(view)
        return self._rings[view.epoch]

    def place(self):
        """The ring of the new view."""
        self._cluster.view = self._situation.after
        self._standing.begin(self._cluster.view)
        self._ring(self._situation.after).targets(1, COPIES)

    def tell(self) -> int:
        """Bytes of the answers to all others."""
        shares = moves.Shares(self._ring(self._situation.after), numpy.array(
            self._situation.ours, dtype=numpy.uint64), COPIES)
        return sum(len(answers.pack_list(shares.of(index)))
                   for index in range(len(self._situation.after.members)))

    def plan(self) -> list:
        """Ids of the objects that come here."""
        lists = [answers.unpack_list(payload)
                 for payload in self._situation.lists]
        found = []
        for batch in wanted_module.batches(self._situation.ours, lists):
            found += self._wanted.select(self._situation.after, batch)
        return found


def measure(situation) -> dict:
    """CPU seconds of each step."""
    planner = Planner(situation)
    times = {'objects': len(situation.ours)}
    for step in (planner.place, planner.tell, planner.plan):
        begin = time.process_time()
        result = step()
        times[step.__name__] = time.process_time() - begin
    assert len(result) == situation.coming
    times['coming'] = len(result)
    times['cpu'] = times['place'] + times['tell'] + times['plan']
    return times
