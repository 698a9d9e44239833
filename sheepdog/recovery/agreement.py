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

"""What the strips of a coded object amount to, when they are not known to be
at one state. Pure; ``doc/source/design-erasure.rst`` has the argument.

A strip's generation belongs to one list of targets: all of them had reached
it (in its ``nexts``) before anything was written under it. So a strip of the
greatest generation that lacks an update proves that nobody was told it was
done; and what all of them have may have been acknowledged.
"""

from typing import Callable, NamedTuple, Optional


class Generation(NamedTuple):
    """Settlement ``count`` of that epoch. ``is_birth``: the object did not
    exist then (count 0: nor was that asked); its strips are made one by one
    by its first write, so not all targets have reached it beforehand."""

    epoch: int
    count: int
    is_birth: bool = False


NONE = Generation(0, 0)


class Strip(NamedTuple):
    """What a sheep tells of one strip. ``holder`` is its stable id;
    ``nexts`` are the generations that were prepared since ``generation``,
    oldest first: the strip is as all of them begin; ``numbers`` the open
    updates, all of them at or above ``floor``. ``forgotten`` is the greatest
    generation that this strip, or one in its place before, had reached and
    is not like any more: it is no proof that nobody got there. ``is_bad``:
    not all of it can be used."""

    holder: str
    index: int
    generation: Generation
    nexts: tuple
    floor: int
    numbers: frozenset
    forgotten: Generation = NONE
    is_bad: bool = False

    def has_reached(self, generation) -> bool:
        return generation == self.generation or generation in self.nexts

    @property
    def replaced(self) -> int:
        """The epoch in which it took the place of one that is forgotten, by
        a settlement that has not begun; 0: it did not."""
        if self.generation != NONE or not self.nexts \
                or self.forgotten == NONE:
            return 0
        return self.nexts[0].epoch


class Verdict(NamedTuple):
    """``generation`` counts: its strips ``usable`` are equal once they have
    rolled back what is not in ``kept`` (of their open updates at or above
    ``floor``). With ``wait`` nothing can be said, and that is why; with
    ``is_gone`` there is no object."""

    generation: Generation = NONE
    floor: int = 0
    kept: frozenset = frozenset()
    usable: tuple = ()
    is_gone: bool = False
    wait: str = ''

    @property
    def reach(self) -> int:
        """All that was acknowledged up to that epoch is in it. Whoever
        prepared a later settlement of what is usable now had looked: nothing
        was, in the views before its own."""
        return max([self.generation.epoch] + [
            later.epoch - 1 for strip in self.usable
            for later in strip.nexts])

    def forgetful(self, strips) -> dict:
        """Holder → the epoch up to which it does not know any more what its
        strip was, but that this was more than what counts."""
        return {strip.holder: strip.replaced
                for strip in sorted(strips, key=lambda one: one.replaced)
                if strip.replaced and strip.forgotten > self.generation}


def decide(strips, data: int, present,
           targets_of: Callable[[int], Optional[frozenset]],
           is_given_up: Callable[[Generation], bool] = lambda _: False
           ) -> Verdict:
    """The verdict on all strips of one object that were found.

    :param data: d: so many strips are needed
    :param present: stable ids of all who were asked, and have answered
    :param targets_of: epoch → stable ids of the object's targets in it;
        None where that is not known any more
    :param is_given_up: an operator has said that who is missing, of those
        who may have reached that generation, will never come
    """
    found = {generation for strip in strips
             for generation in (strip.generation,) + strip.nexts}
    # (With bad blocks those that were made anew may be needed.)
    prepared, may_go_back = None, not any(strip.is_bad for strip in strips)
    for generation in sorted(found - {NONE}, reverse=True):
        of_it = [strip for strip in strips
                 if strip.has_reached(generation)]
        targets = targets_of(generation.epoch)
        is_lacking = targets is not None and bool(targets & present - {
            strip.holder for strip in strips
            if strip.has_reached(generation)
            or strip.forgotten >= generation})
        has_begun = any(strip.generation == generation for strip in of_it)
        verdict = None
        if generation.is_birth:
            verdict = _of_birth(generation, of_it, data, is_lacking)
        elif len({strip.index for strip in of_it}) >= data:
            verdict = _of(generation, of_it)
            if may_go_back and is_lacking and not has_begun and any(
                    strip.generation != NONE for strip in of_it):
                # Nor has anybody gone on to this one. It is taken where the
                # one before cannot be: with that one, whoever did not reach
                # this one is usable, too, and is not made anew.
                prepared = prepared or verdict
                continue
        elif not is_lacking or has_begun:
            verdict = Verdict(generation, wait=_too_few(of_it, data))
        if prepared and verdict and (verdict.wait or verdict.is_gone):
            return prepared
        if verdict is not None and not (verdict.wait
                                        and is_given_up(generation)):
            return verdict
        # Nobody can have gone on to it: one of its targets had not reached
        # it, and is here to say so.
    return Verdict(is_gone=True)


def _of_birth(generation, strips, data, is_lacking):
    verdict = _of(generation, strips)
    if is_lacking and not verdict.floor:
        # Its first write was not on all targets.
        return Verdict(is_gone=True)
    if len({strip.index for strip in strips}) >= data:
        return verdict
    return Verdict(generation, wait=_too_few(strips, data))


def _of(generation, strips):
    """All ``strips`` have it as their generation, or prepared."""
    begun = [strip for strip in strips if strip.generation == generation]
    floor = max((strip.floor for strip in begun), default=0)
    kept = frozenset()
    if len(begun) == len(strips):
        # (Else somebody had not begun, so nothing was acknowledged.)
        kept = frozenset(
            number for strip in begun for number in strip.numbers
            if number >= floor
            and all(number in other.numbers for other in begun))
    return Verdict(generation, floor, kept, tuple(strips))


def _too_few(strips, data):
    indexes = sorted({strip.index for strip in strips})
    return 'only the strips %s are here, it takes %d' % (
        ', '.join(map(str, indexes)), data)
