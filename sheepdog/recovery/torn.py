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

"""Strips that have forgotten what was done to them last. Pure.

A journal that is *torn* (see ``store.scan``) has mostly lost nothing but what
was being written. But it may have lost records that were durable: a bit has
flipped there. Then a strip says of an acknowledged update that it does not
have it. What tells the two apart is what the others have: an acknowledged
update is on all but those that are lost; and no more may be lost than leave d.
So where d others have what the strip lacks, it has forgotten it, perhaps; it
is as good as lost, and is built anew. (Was it never durable there, nothing is
lost by that either: what was not acknowledged may be kept.) Where fewer have
it, it was not acknowledged, and the strip counts as any other.

So after a power cut of all, when all may be torn, nobody is waited for, and
only the strips of objects that were just being written are built anew.
"""

from typing import Callable, Optional

from sheepdog.recovery import agreement


def forgetful(strips, torn, data: int,
              targets_of: Callable[[int], Optional[frozenset]]) -> set:
    """(holder, index) of the strips whose word does not count, that they lack
    something; index None: the holder's, that it has none.

    :param strips: ``agreement.Strip``: all that were found
    :param torn: holders
    :param data: d
    :param targets_of: as of ``agreement.decide``
    """
    found = set()
    told = [strip for strip in strips if not _is_nothing(strip)]
    # Who has least goes first: what the others have must be left.
    for own in sorted(told, key=_amount):
        if own.holder in torn and _lacks(own, [
                strip for strip in told if strip.holder != own.holder
                and (strip.holder, strip.index) not in found], data):
            found.add((own.holder, own.index))
    left = [strip for strip in told
            if (strip.holder, strip.index) not in found]
    for name in sorted(set(torn).difference(
            strip.holder for strip in told)):
        forgotten = max((strip.forgotten for strip in strips
                         if strip.holder == name), default=agreement.NONE)
        if _lacks_birth(name, forgotten, left, data, targets_of):
            found.add((name, None))
    return found


def lacks_floor(own_floor: int, numbers, floor: int) -> bool:
    """It had an update, of those that all targets had: one more than that
    one's number is ``floor``."""
    return floor > own_floor and floor - 1 not in numbers


def _is_nothing(strip):
    return strip.generation == agreement.NONE and not strip.nexts


def _amount(strip):
    """(What comes last is lost first: it mostly has the greatest number.)"""
    return (_reached(strip), strip.generation,
            max((strip.floor - 1, *strip.numbers)), len(strip.numbers),
            strip.holder, strip.index)


def _reached(strip):
    return max((strip.generation,) + strip.nexts)


def _lacks_birth(name, forgotten, others, data, targets_of):
    births = {generation for strip in others
              for generation in (strip.generation,) + strip.nexts
              if generation.is_birth}
    return any(
        name in (targets_of(birth.epoch) or ()) and forgotten < birth
        and _are_enough([strip for strip in others
                         if strip.has_reached(birth)], data)
        for birth in births)


def _lacks(own, others, data):
    """(Of a settlement that it does not know at all it need not be told: who
    has begun that one counts.)"""
    generation = _reached(own)
    begun = [strip for strip in others if strip.generation == generation]
    floor = max((strip.floor for strip in begun), default=0)
    if own.generation != generation:
        # It knows that this one was prepared, and not that it began.
        return bool(floor) or _are_enough(begun, data) and any(
            strip.numbers for strip in begun)
    return lacks_floor(own.floor, own.numbers, floor) or any(
        number >= own.floor and number not in own.numbers
        and _are_enough([strip for strip in begun
                         if number in strip.numbers], data)
        for number in set().union(*(strip.numbers for strip in begun)))


def _are_enough(strips, data):
    return len({strip.index for strip in strips}) >= data
