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

"""Nouns out of JSON: the right names, the right types, or a clear error."""

import functools
import types
import typing

from sheepdog.model import errors

_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)
_KNOWN = {}
_NONE = {}


def build(cls, fields):
    """An object of a dataclass or NamedTuple, from its fields by name.

    Fields of a simple type must be of just that (an int does for a float,
    None where it is optional); JSON's lists do for tuples. Where the class
    has ``RANGES`` (name → lowest and highest), its numbers must be in them.

    :raises InvalidParameters: a field is missing, unknown, of another type
        or out of its range
    """
    known = _KNOWN.get(cls)
    if known is None:
        known = _KNOWN[cls] = _types_of(cls)
    try:
        for name, value in fields.items():
            if type(value) not in known[name]:
                raise errors.InvalidParameters(
                    '%s: %s is %.40r' % (cls.__name__, name, value))
        for name, (lowest, highest) in getattr(cls, 'RANGES', _NONE).items():
            if not lowest <= fields.get(name, lowest) <= highest:
                raise errors.InvalidParameters('%s: %s is %d' % (
                    cls.__name__, name, fields[name]))
        return cls(**fields)
    except (KeyError, TypeError, AttributeError):
        raise errors.InvalidParameters(
            'these fields make no %s: %.200r' % (cls.__name__, fields)
        ) from None


def decoder(what: str):
    """For a function that takes apart what came in as JSON: where it is not
    of the shape expected, it raises InvalidParameters."""
    def decorate(function):
        @functools.wraps(function)
        def decode(*arguments):
            try:
                return function(*arguments)
            except _MALFORMED as exc:
                raise errors.InvalidParameters(
                    'malformed %s: %s: %s' % (what, type(exc).__name__, exc)
                ) from None
        return decode
    return decorate


def check(fields: dict, wanted: dict, what: str) -> None:
    """
    :param wanted: name → type, of fields that must be there
    :raises InvalidParameters: one is missing or of another type
    """
    for name, kind in wanted.items():
        if type(fields.get(name)) is not kind:
            raise errors.InvalidParameters(
                '%s: %s is missing, or no %s' % (what, name, kind.__name__))


class _Anything:
    """Contains all types."""

    def __contains__(self, kind):
        return True


def _types_of(cls) -> dict:
    return {name: _allowed(hint)
            for name, hint in typing.get_type_hints(cls).items()}


def _allowed(hint):
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return {one for part in typing.get_args(hint)
                for one in _allowed(part)}
    if hint is float:
        return {float, int}
    if hint in (int, str, bool, bytes, dict, type(None)):
        return {hint}
    if hint is tuple or origin is tuple:
        return {tuple, list}
    if isinstance(hint, type) and hint is not typing.Any:
        return {hint}
    return _Anything()
