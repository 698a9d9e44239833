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

"""Two VDIs that are written all the time, and an operator who makes snapshots
of them (of both at one moment, too), clones of these (some share nothing),
snapshots of the clones, writes and discards in clones, rolls them back,
deletes any of all that in any order, and lets the two VDIs grow.

Each of them is a ``Made``; what it holds is a ``Moment`` of one of the two
VDIs, and what was changed in clones since. See ``family`` for what becomes of
them in the end.
"""

import contextlib
import dataclasses
import time
from typing import Optional

from sheepdog.model import errors
from sheepdog.tests.functional import ordeal
from sheepdog.tests.moments import cut
from sheepdog.tests.moments import numbered
from sheepdog.tests.thrash import users

SIZE_BYTES = 8 << 20
SIZE_MAX_BYTES = 14 << 20
GROWTH_BYTES = (1 << 20) + 24576
SHIFT = 20
CALL_SECONDS = 60.0
PAUSE_SECONDS = 0.3
PAUSE_MEAN_SECONDS = 0.15
KEPT_MAX = 12
WRITES_MAX = 6
CLONES_FROM = 1 << 40
"""Numbers of writes to clones; those of the two VDIs are lower."""
SIZE = -1
"""As if it were a block: the size that a VDI has."""
AS_BEFORE = None
"""Among the values that a block may have: what its moment has."""


class Growing(numbered.Numbered):
    """A guest whose VDI grows, and is read by the client library."""

    size = SIZE_BYTES
    shift = SHIFT
    pause_seconds = PAUSE_SECONDS

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._sizes = {SIZE_BYTES: 0}

    def grown(self) -> int:
        """What it has at least."""
        return max([SIZE_BYTES] + [
            size for size, number in self._sizes.items() for write
            in self.writes.of_block(SIZE) if write.number == number
            and write.acknowledged != cut.NEVER])

    def grow(self, vdis) -> None:
        """:raises SheepdogError: it may have, all the same"""
        size = self.grown() + GROWTH_BYTES
        if size > SIZE_MAX_BYTES:
            return
        if size not in self._sizes:
            self._sizes[size] = self.writes.issue(
                SIZE, time.monotonic()).number
        vdis.resize(self.name, size)
        for write in self.writes.of_block(SIZE):
            if write.number == self._sizes[size]:
                write.acknowledged = time.monotonic()

    def number_of_size(self, size: int) -> int:
        return self._sizes.get(size, -1)

    def join(self):
        self.stop()


@dataclasses.dataclass(eq=False)
class Moment:
    """What a guest's VDI held then. ``found``: block → number, as far as
    it was looked at."""

    guest: Growing
    asked: float
    answered: float = cut.NEVER
    found: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(eq=False)
class Made:
    """A snapshot, or a clone (without a tag). ``changed``: block → numbers
    that it may hold. ``is_there``: None: who knows. ``is_open``: what was
    asked for last may come yet, so nothing more is asked for."""

    name: str
    tag: str
    moment: Moment
    changed: dict = dataclasses.field(default_factory=dict)
    is_there: Optional[bool] = None
    is_open: bool = False

    def __str__(self):
        return '%s@%s' % (self.name, self.tag) if self.tag else self.name

    def may_be(self, changed: dict) -> None:
        """It has perhaps been changed to that."""
        for block in changed.keys() | self.changed.keys():
            self.changed[block] = (self.changed.get(block, {AS_BEFORE})
                                   | changed.get(block, {AS_BEFORE}))

    def compare(self, found: dict) -> None:
        """:raises Failure: it cannot hold that"""
        for block, number in found.items():
            allowed = self.changed.get(block, {AS_BEFORE})
            if number in allowed:
                continue
            if AS_BEFORE in allowed:
                known = self.moment.found.setdefault(block, number)
                if known == number:
                    continue
                allowed = allowed - {AS_BEFORE} | {known}
            raise ordeal.Failure('block %d of %s holds %d, not %s' % (
                block, self, number, ' or '.join(map(str, allowed))))


class Operator(users.User):
    """One thing after the other."""

    def __init__(self, name, cluster, record, guests, seed, story):
        super().__init__(name, cluster, record, None, seed)
        self.guests = guests
        self.made = []
        self.groups = []
        """Lists of moments that are one."""
        self._story = story
        self._names = 0
        self._writes = CLONES_FROM

    def session(self):
        time.sleep(self.chance.expovariate(1 / PAUSE_MEAN_SECONDS))
        clones = [one for one in self._there() if not one.tag]
        snapshots = [one for one in self._there() if one.tag]
        things = [(self._grow, self.guests, 1), (self._write, clones, 6),
                  (self._roll_back, clones, 2), (self._look, self._there(), 3)]
        if len(self._there()) < KEPT_MAX:
            things += [(self._snapshot, self.guests, 5),
                       (self._keep, clones, 2), (self._clone, snapshots, 5)]
        if len(self._there()) > KEPT_MAX / 2:
            things.append((self._delete, self._there(), 7))
        things = [one for one in things if one[1]]
        function, several, _ = self.chance.choices(
            things, [weight for _, _, weight in things])[0]
        sheep = list(self.cluster.sheep)
        self.chance.shuffle(sheep)
        with self.cluster.client(*sheep, timeout=CALL_SECONDS) as client:
            function(client, self.chance.choice(several))
        self.done += 1

    def _there(self):
        return [one for one in self.made
                if one.is_there and not one.is_open]

    def _new_name(self, what):
        self._names += 1
        return '%s-%d' % (what, self._names)

    @contextlib.contextmanager
    def _tells(self, *words):
        """Of what is tried, and how it ends."""
        began, end = time.monotonic(), 'no answer'
        try:
            yield
            end = 'done'
        except errors.SheepdogError as exc:
            end = '%s: %s' % (type(exc).__name__, exc)
            raise
        finally:
            self._story('%.6f-%.6f %s: %.200s' % (
                began, time.monotonic(), ' '.join(map(str, words)), end))

    def _snapshot(self, client, guest):
        """Of one guest's VDI, or of all at one moment."""
        guests = self.guests if self.chance.random() < 0.3 else [guest]
        tag = self._new_name('s')
        moments = [Moment(one, time.monotonic()) for one in guests]
        made = [Made(one.guest.name, tag, one) for one in moments]
        self.made += made
        self.groups.append(moments)
        names = [one.name for one in guests]
        with self._tells('snapshot', *names, tag):
            if len(names) > 1:
                client.vdis.snapshot_group(names, tag)
            else:
                client.vdis.snapshot(names[0], tag)
        for one, moment in zip(made, moments):
            moment.answered = time.monotonic()
            one.is_there = True

    def _keep(self, client, clone):
        kept = Made(clone.name, self._new_name('k'), clone.moment,
                    dict(clone.changed))
        self.made.append(kept)
        clone.is_open = True
        with self._tells('snapshot', kept):
            client.vdis.snapshot(clone.name, kept.tag)
        clone.is_open, kept.is_there = False, True

    def _clone(self, client, snapshot):
        shares_nothing = self.chance.random() < 0.3
        clone = Made(self._new_name('clone'), '', snapshot.moment,
                     dict(snapshot.changed))
        self.made.append(clone)
        with self._tells('clone', snapshot, clone,
                         'shares nothing' if shares_nothing else ''):
            client.vdis.clone(snapshot.name, snapshot.tag, clone.name,
                              shares_nothing)
        clone.is_there = True

    def _write(self, client, clone):
        with self._tells('use', clone), client.open(clone.name) as volume:
            for _ in range(self.chance.randrange(1, WRITES_MAX)):
                self._change(volume, clone)

    def _change(self, volume, clone):
        blocks = volume.size // numbered.offset_of(1)
        if self.chance.random() < 0.3:
            chosen, extent = numbered.choose_extent(self.chance, SHIFT,
                                                    blocks)
            number, how = 0, (volume.zero, *extent)
        else:
            block = self.chance.randrange(blocks)
            self._writes += 1
            chosen, number = [block], self._writes
            how = (volume.write, numbered.offset_of(block),
                   numbered.content(number), self.chance.random() < 0.5)
        clone.may_be({**clone.changed, **{block: {number}
                                          for block in chosen}})
        with self._tells('        blocks %s of %s: %d' % (
                chosen, clone, number)):
            how[0](*how[1:])
        for block in chosen:
            clone.changed[block] = {number}

    def _roll_back(self, client, clone):
        kept = [one for one in self._there()
                if one.name == clone.name and one.tag]
        if not kept:
            return
        to = self.chance.choice(kept)
        clone.may_be(to.changed)
        clone.is_open = True
        with self._tells('roll back', clone, to):
            client.vdis.rollback(clone.name, to.tag)
        clone.changed, clone.is_open = dict(to.changed), False

    def _delete(self, client, made):
        made.is_there = None
        with self._tells('delete', made):
            client.vdis.delete(made.name, made.tag)
        made.is_there = False

    def _grow(self, client, guest):
        with self._tells('grow', guest.name):
            guest.grow(client.vdis)

    def _look(self, client, made):
        made.compare(look(client, made.name, made.tag, made.moment.guest))


def look(client, name, tag, guest) -> dict:
    """Block → number, all of a VDI or snapshot; and its size."""
    with client.open(name, tag, read_only=True) as volume:
        size = volume.size
        data = memoryview(volume.read(0, size))
    found = {}
    for block in range(size // numbered.offset_of(1)):
        start = numbered.offset_of(block)
        found[block] = numbered.number_of(
            bytes(data[start:start + numbered.BLOCK_BYTES]))
    found[SIZE] = guest.number_of_size(size)
    return found
