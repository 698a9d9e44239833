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

"""Which of our copies have all that was ever acknowledged.

A copy is *clean* when this sheep, in this same incarnation, was a target of
the object in every view since one in which all its copies were clean, or has
recovered it since. All else must be recovered before it is read or written
here. A clean copy may become *doubtful*: who ordered the object changed
while a write was under way, or a block does not match its checksum.

A copy that became doubtful for a write that is perhaps not on all copies is
*apart* from then on: it has all that was acknowledged, but others may have
stayed clean, and been read without that write, or with one that ours has
not. If it is known that they may, ours has *missed* what was read.

Pure bookkeeping. What it says is used by the replica (may I answer?) and is
told to others who look for the copy to follow.
"""

import numpy

NEVER = 0
UNSURE = -1
TOGETHER = NEVER, UNSURE, False
"""What ``apart`` says of most copies."""
VIEWS_MAX = 32
"""Views kept while none is completed; more, and only versions count."""


class Standing:
    """:param is_target: called with (view, oid): is this sheep one of the
        object's targets in that view?
    :param are_targets: the same of many, with an array of ids; an array of
        booleans"""

    def __init__(self, is_target, are_targets):
        self.active = True
        self._is_target = is_target
        self._are_targets = are_targets
        self._view = None
        self._views = []
        self._recovered = {}
        self._reached = {}
        self._epoch = NEVER
        self._doubtful = {}
        self._doubts = 0
        self._apart = {}
        self._lost = set()
        self.losses = 0
        """How often something was lost."""

    def begin(self, view, is_trusted=False):
        """A view begins. ``is_trusted``: all copies are clean (the cluster
        is new, or was shut down in order)."""
        if is_trusted:
            self._doubtful.clear()
            self.complete(view)
        elif self._views:
            self._views.append(view)
            if len(self._views) > VIEWS_MAX:
                self._views = []
        # What was recovered is clean only for as long as we stay a target;
        # after that, how far it reaches is still worth to know.
        recovered = {}
        for oid, is_target in zip(self._recovered, self._are_targets(
                view, _array(self._recovered)).tolist()):
            if is_target:
                recovered[oid] = True
            else:
                self._reached[oid] = self._epoch
        self._recovered = recovered
        # Nobody asks for what we are no target of. Nor may it be made whole
        # here: what is written later in this epoch would not come, and the
        # copy would have the version of those that it came to.
        doubtful = _array(self._doubtful)
        for oid in doubtful[~self._are_targets(view, doubtful)].tolist():
            del self._doubtful[oid]
        self._view = view
        self._epoch = view.epoch
        self._update()

    def lapse(self):
        """Our identity died: others may have gone on without us."""
        self._views = []
        self._recovered.clear()
        self._reached.clear()
        self._doubtful.clear()
        self._apart.clear()
        self._lost.clear()
        self._update()

    def complete(self, view):
        """Every copy that we must hold in ``view`` is clean."""
        self._views = [view]
        self._recovered.clear()
        self._lost.clear()
        for oid in list(self._apart):
            if self.is_clean(oid):
                del self._apart[oid]
        self._update()

    @property
    def has_lost(self):
        """Copies are gone that this sheep had in this view already."""
        return bool(self._lost)

    def lose(self, oids):
        """Our copies of these objects are gone; whatever was known of them
        is not true any more."""
        self.losses += 1
        self._lost.update(oids)
        for oid in oids:
            self._recovered.pop(oid, None)
            self._reached.pop(oid, None)
            self._apart.pop(oid, None)
        self._update()

    def forget(self, oid):
        """There is no copy here any more, nor need there be one."""
        self._reached.pop(oid, None)
        self._apart.pop(oid, None)

    def drop_recovered(self, is_other):
        """Those that ``is_other(oid)`` are not clean for having been
        recovered."""
        for oid in [oid for oid in self._recovered if is_other(oid)]:
            del self._recovered[oid]

    def part(self, oid, epoch, serial, is_missed):
        """From now on, others may be clean where ours is not. To be said
        before the doubt.

        :param serial: of the lock; it tells what was earlier in an epoch
        :param is_missed: they may be read, too
        """
        known = self._apart.get(oid)
        if known is None:
            known = epoch, serial if self.is_clean(oid) else UNSURE, False
        self._apart[oid] = known[:2] + (known[2] or is_missed,)

    def join(self, oid):
        """Our copy is what all copies are to become."""
        self._apart.pop(oid, None)

    def apart(self, oid):
        """``(epoch, serial, is_missed)``: since when our copy is apart (the
        serial is UNSURE if it was not clean before), and whether others may
        have been read since. TOGETHER: it is not."""
        return self._apart.get(oid, TOGETHER)

    def doubt(self, oid):
        self._doubts += 1
        self._doubtful[oid] = self._doubts
        self.active = True

    def doubt_number(self, oid):
        """Names the newest doubt about a copy; for ``trust``."""
        return self._doubtful.get(oid)

    def trust(self, oid, doubt_number):
        """The copy was made whole; a doubt that came up meanwhile, later
        than ``doubt_number``, stays."""
        if self._doubtful.get(oid) == doubt_number:
            self._doubtful.pop(oid, None)
            self._apart.pop(oid, None)
        if not self.is_complete:
            if self._is_target(self._view, oid):
                self._recovered[oid] = True
            else:
                # (A place of a VDI that is being created with more copies
                # than the others: ours by the event that is to come.) What
                # is written from now on does not come here: should we be a
                # target in the next view, this copy is behind.
                self._reached[oid] = max(self._epoch - 1,
                                         self._reached.get(oid, NEVER))
        self._update()

    def _update(self):
        self.active = not self.is_complete or bool(self._doubtful)

    @property
    def is_complete(self):
        """All copies of the current view are clean, but for doubts."""
        return len(self._views) == 1 and not self._lost

    def is_clean(self, oid):
        if oid in self._doubtful:
            return False
        if oid in self._recovered:
            return True
        if oid in self._lost:
            return False
        views = self._views
        return bool(views) and all(self._is_target(v, oid) for v in views)

    def unclean(self, oids) -> list:
        """Those of many (an array) that are not clean."""
        if not self._views:
            clean = numpy.zeros(len(oids), dtype=bool)
        else:
            clean = ~numpy.isin(oids, _array(self._lost.union(
                self._doubtful)))
        for view in self._views:
            clean[clean] = self._are_targets(view, oids[clean])
        return [oid for oid in oids[~clean].tolist()
                if oid not in self._recovered or oid in self._doubtful]

    def through(self, oid, epoch):
        """The last epoch, up to ``epoch`` (the current one), through which
        our copy has every acknowledged write; NEVER when nothing is known
        but the copy's own version."""
        if oid in self._recovered:
            return epoch
        if oid in self._lost:
            return NEVER
        last = NEVER
        for view in self._views:
            if not self._is_target(view, oid):
                break
            last = view.epoch
        return max(last, self._reached.get(oid, NEVER))

    def doubtful(self):
        """Ids of the doubtful objects, sorted."""
        return sorted(self._doubtful)


def _array(oids):
    return numpy.fromiter(oids, numpy.uint64, len(oids))
