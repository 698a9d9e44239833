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

"""Attributes of VDIs: a key and a value, set and read by scripts. Pure.

They are part of the replicated state, not objects of their own: who creates
one exclusively holds a lock, and whether he does is decided at one place of
the one total order, by what all know there. Asked for again by the same
operation it is answered from the state, so nobody is refused what he has got
himself. (An object would have to be written before the event that names it,
by a sheep that may die in between, or be so late that it comes over the next
one.)

They belong to a name: a snapshot gives the working VDI another id, and it
keeps its attributes. They go when the VDI is deleted.
"""

import base64
import functools
from typing import Any, Optional

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.model import shapes


class Attributes:
    """Of all VDIs. Immutable: a change makes another one.

    Keys are bytes in hexadecimal digits, values bytes in base 64: neither
    need be text. ``bytes``: what counts for the limit.
    """

    __slots__ = ('_by_name', 'bytes')

    def __init__(self, by_name: dict, size: int):
        self._by_name = by_name
        self.bytes = size

    def __eq__(self, other):
        return (isinstance(other, Attributes)
                and self._by_name == other._by_name)

    def get(self, name: str, key: str) -> Optional[str]:
        return self._by_name.get(name, {}).get(key)

    def keys(self, name: str) -> list:
        return sorted(self._by_name.get(name, ()))

    def changed(self, name: str, key: str,
                value: Optional[str]) -> 'Attributes':
        """With that value; None: without that key."""
        ours = dict(self._by_name.get(name, {}))
        size = self.bytes
        before = ours.pop(key, None)
        if before is not None:
            size -= _size(key, before)
        if value is not None:
            ours[key] = value
            size += _size(key, value)
        return self._with(name, ours, size)

    def without(self, name: str) -> 'Attributes':
        """The VDI is deleted."""
        ours = self._by_name.get(name)
        if ours is None:
            return self
        return self._with(name, {}, self.bytes - sum(
            _size(key, value) for key, value in ours.items()))

    def _with(self, name, ours, size):
        by_name = dict(self._by_name)
        if ours:
            by_name[name] = ours
        else:
            by_name.pop(name, None)
        return Attributes(by_name, size)

    def to_dict(self) -> dict:
        return self._by_name

    @classmethod
    @shapes.decoder('attributes')
    def from_dict(cls, fields: dict) -> 'Attributes':
        """:raises InvalidParameters:"""
        size = 0
        for name, ours in fields.items():
            for key, value in ours.items():
                check(key, value or '')
                size += _size(key, value)
        return cls({name: dict(ours) for name, ours in fields.items()}, size)


NONE = Attributes({}, 0)


def _size(key: str, value: str) -> int:
    return (len(key) // 2 + len(value) * 3 // 4
            + limits.ATTRIBUTE_OVERHEAD_BYTES)


def check(key: Any, value: Any) -> None:
    """
    :param value: None: there is to be none
    :raises InvalidParameters: it is none, or too long
    """
    data = _decoded(key, bytes.fromhex)
    if (not 0 < len(data) < limits.ATTRIBUTE_KEY_BYTES or b'\0' in data
            or data.hex() != key):
        raise errors.InvalidParameters(
            'the key of an attribute has 1 to %d bytes, none of them zero'
            % (limits.ATTRIBUTE_KEY_BYTES - 1))
    if value is not None and limits.ATTRIBUTE_VALUE_MAX_BYTES < len(
            _decoded(value, functools.partial(base64.b64decode,
                                              validate=True))):
        raise errors.InvalidParameters(
            'the value of an attribute has %d bytes at most'
            % limits.ATTRIBUTE_VALUE_MAX_BYTES)


def _decoded(text, decode) -> bytes:
    try:
        return decode(text)
    except (ValueError, TypeError):
        raise errors.InvalidParameters(
            'the key of an attribute is in hexadecimal digits, its value in '
            'base 64') from None


def decide(attributes: Attributes, name: str, key: Any, value: Any,
           is_exclusive: bool) -> dict:
    """The event that changes one.

    :raises VdiExists: it is there, and was to be created
    :raises NoObject: it is not, and was to be deleted
    :raises NoSpace: there are too many
    :raises InvalidParameters: no key, no value
    """
    check(key, value)
    before = attributes.get(name, key)
    if before is not None and is_exclusive:
        raise errors.VdiExists('the attribute %s of VDI %s exists already'
                               % (shown(key), name))
    if before is None and value is None:
        raise errors.NoObject('VDI %s has no attribute %s'
                              % (name, shown(key)))
    after = attributes.changed(name, key, value)
    if after.bytes > max(limits.ATTRIBUTES_MAX_BYTES, attributes.bytes):
        raise errors.NoSpace(
            'the attributes of all VDIs together may have %d bytes: delete '
            'some first' % limits.ATTRIBUTES_MAX_BYTES)
    return {'kind': 'vdi-attribute', 'name': name, 'key': key,
            'value': value}


def shown(key: str) -> str:
    return ascii(bytes.fromhex(key).decode(errors='backslashreplace'))
