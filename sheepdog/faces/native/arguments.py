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

"""What a method of the admin face may be given: plain values, or lists of
texts, by name, each of the type that its parameter has."""

import inspect

from sheepdog.model import errors

TYPES = {'action': str, 'copies': int, 'follower': int, 'handle': int,
         'id': int, 'index': int, 'key': str, 'length': int, 'maker': str,
         'name': str, 'names': list, 'offset': int, 'size': int,
         'source': str, 'tag': str,
         'vdi': str, 'vdi_id': int, 'vnodes': int,
         'node': str, 'object': str, 'path': str}
"""Of parameters without a default that tells. (Lists are of texts.)"""


def checked(method: str, function, arguments, **passed_on) -> dict:
    """Keyword arguments to call ``function`` with.

    :param passed_on: given by the sheep, never by who asks, to a function
        that takes them
    :raises InvalidParameters: one is missing, unknown, or of another type
    """
    if not isinstance(arguments, dict) or any(
            isinstance(value, dict) or isinstance(value, list)
            and not (TYPES.get(name) is list
                     and all(isinstance(one, str) for one in value))
            for name, value in arguments.items()):
        raise errors.InvalidParameters(
            '%s: arguments are names and plain values' % method)
    signature = inspect.signature(function)
    given = {name: value for name, value in passed_on.items()
             if name in signature.parameters}
    try:
        signature.bind(**given, **arguments)
    except TypeError as exc:
        raise errors.InvalidParameters('%s: %s' % (method, exc)) from None
    for name, value in arguments.items():
        kind = type_of(signature.parameters.get(name))
        if kind is not None and type(value) is not kind:
            raise errors.InvalidParameters('%s: %s is %.40r, and no %s' % (
                method, name, value, kind.__name__))
    return dict(given, **arguments)


def type_of(parameter):
    """What it must be; None: the method itself looks."""
    if parameter is None:
        return None  # One of many that a method takes by any name.
    if parameter.default in (inspect.Parameter.empty, None):
        return TYPES[parameter.name]
    return type(parameter.default)
