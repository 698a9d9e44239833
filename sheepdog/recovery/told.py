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

"""What sheep say to each other while the strips of an object are settled:
JSON, taken apart with a doubt. Pure.

A STRIP_STATE answer tells the strips of an object that a sheep has, its marks
(see ``peer.marks``), and the number of its *halt*: orders that do not name
the newest halt of who gets them are of a settlement that was given up. All
other messages are orders.
"""

from typing import NamedTuple

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.model import shapes
from sheepdog.recovery import agreement
from sheepdog.store import changed as store_changed
from sheepdog.store import history as store_history
from sheepdog.wire import peer as wire

STRIPS_MAX = 256
"""Of any policy."""

_NUMBER_END = 1 << 64
_TOKEN_END = 1 << 128
_COUNT_END = 1 << 31
_EPOCH_END = 1 << 32


class Told(NamedTuple):
    """One strip. ``open``: number → lasting token, of its open updates;
    ``is_bad``: not all of it can be used. ``changed``: generation → its
    floor, and what may have changed since it (``History.all_changes``)."""

    index: int
    generation: agreement.Generation
    nexts: tuple
    forgotten: agreement.Generation
    floor: int
    open: dict
    version: int
    capacity: int
    is_bad: bool
    changed: dict = {}

    def seen_by(self, holder: str) -> agreement.Strip:
        return agreement.Strip(
            holder, self.index, self.generation, self.nexts, self.floor,
            frozenset(self.open), self.forgotten, self.is_bad)

    @property
    def is_unknown(self) -> bool:
        """Nothing can be said of it."""
        return self.is_bad and self.is_left_out

    @property
    def is_left_out(self) -> bool:
        """It stands for one for which there was no room."""
        return self.generation == agreement.NONE and not self.nexts

    def generations(self) -> tuple:
        return (self.generation, self.forgotten) + self.nexts


class State(NamedTuple):
    strips: tuple
    marks: list
    serial: int
    halt: int
    is_torn: bool = False
    """Its strips may lack what was done to them last."""


class Order(NamedTuple):
    """``index``: of the strip; ``kept``: numbers (of ALIGN); ``sources``:
    (incarnation, index) of strips to build one from (none: the others
    go on without it), ``capacity``, ``version`` (of BUILD); ``is_needed``:
    without it there are too few; ``changed``: as in ``Told``, of all strips
    that are usable."""

    index: int
    generation: tuple
    halt: int
    marks: list
    kept: list = []
    sources: list = []
    capacity: int = 0
    version: int = 0
    is_needed: bool = False
    changed: dict = {}


def strip(index, history, state, is_bad) -> Told:
    """:param history: ``store.history.History``"""
    return Told(index, agreement.Generation(*history.generation),
                tuple(agreement.Generation(*one) for one in history.nexts),
                agreement.Generation(*history.forgotten), history.floor,
                {number: update.token for number, update
                 in sorted(history.open.items())},
                state.version, state.capacity, is_bad,
                {agreement.Generation(*generation): changes
                 for generation, changes in history.all_changes().items()})


def unknown(index) -> Told:
    """A strip that may be there, or may have been: nothing follows from it.
    """
    return Told(index, agreement.NONE, (), agreement.NONE, 0, {}, 0, 0, True)


def pack_state(state: State) -> bytes:
    fields = state._replace(strips=[
        one._replace(open=[(number, '%x' % token) for number, token
                           in one.open.items()],
                     changed=_packed(one.changed))
        for one in state.strips])._asdict()
    if not state.is_torn:
        # (Versions before this one do not know of it.)
        del fields['is_torn']
    return wire.pack_json(fields)


def unpack_state(payload) -> State:
    """:raises CorruptFrame: it is none"""
    try:
        return _state_of(wire.unpack_json(payload))
    except errors.InvalidParameters as exc:
        raise errors.CorruptFrame(str(exc)) from None


@shapes.decoder('STRIP_STATE answer')
def _state_of(fields):
    state = State(**fields)
    strips = tuple(_told_of(one) for one in state.strips)
    if len(strips) > STRIPS_MAX or len(
            {one.index for one in strips}) < len(strips):
        raise ValueError('%d strips' % len(strips))
    if type(state.is_torn) is not bool:
        raise ValueError('no state')
    return State(strips, _tokens(state.marks),
                 _number(state.serial, 1 << 64),
                 _number(state.halt, 1 << 64), state.is_torn)


def _told_of(fields):
    told = Told(*fields)
    opened = {_number(number, _NUMBER_END): _number(
        int(token, 16), _TOKEN_END)
              for number, token in told.open}
    if type(told.is_bad) is not bool \
            or len(told.nexts) > store_history.NEXTS_MAX:
        raise ValueError('no strip')
    return Told(_number(told.index, STRIPS_MAX),
                _generation(told.generation),
                tuple(_generation(one) for one in told.nexts),
                _generation(told.forgotten), _number(told.floor, _NUMBER_END),
                opened, _number(told.version, _EPOCH_END),
                _capacity(told.capacity), told.is_bad,
                _changed(told.changed))


def pack_order(order: Order) -> bytes:
    return wire.pack_json(order._replace(
        changed=_packed(order.changed))._asdict())


@shapes.decoder('order of a settlement')
def unpack_order(payload) -> Order:
    """:raises InvalidParameters: it is none"""
    order = Order(**wire.unpack_json(payload))
    sources = [(incarnation, _number(index, STRIPS_MAX))
               for incarnation, index in order.sources]
    if any(type(incarnation) is not str for incarnation, _ in sources):
        raise ValueError('no source')
    if type(order.is_needed) is not bool:
        raise ValueError('no order')
    return Order(_number(order.index, STRIPS_MAX),
                 tuple(_generation(order.generation)),
                 _number(order.halt, 1 << 64), _tokens(order.marks),
                 _numbers(order.kept, _NUMBER_END), sources,
                 _capacity(order.capacity),
                 _number(order.version, _EPOCH_END), order.is_needed,
                 _changed(order.changed))


def _packed(changed):
    return [(generation, floor, '%x' % bits)
            for generation, (floor, bits) in changed.items()]


def _changed(items):
    found = {_generation(generation): (
        _number(floor, _NUMBER_END),
        _number(int(bits, 16), store_changed.BITS_END))
        for generation, floor, bits in items}
    if len(found) > store_history.CHANGED_MAX + 1:
        raise ValueError('%d generations' % len(found))
    return found


def _number(value, end):
    if type(value) is not int or not 0 <= value < end:
        raise ValueError('%.40r is no number below %d' % (value, end))
    return value


def _numbers(values, end):
    return [_number(value, end) for value in values]


def _tokens(values):
    return _numbers(values, 1 << 64)


def _capacity(value):
    return _number(value, (1 << limits.OBJECT_SHIFT_MAX) + 1)


def _generation(value):
    epoch, count, is_birth = value
    if type(is_birth) is not bool:
        raise ValueError('%.40r is no generation' % (value,))
    return agreement.Generation(_number(epoch, _EPOCH_END),
                                _number(count, _COUNT_END), is_birth)
