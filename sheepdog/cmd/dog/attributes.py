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

"""dog vdi setattr, dog vdi getattr: what scripts note of a VDI, and locks
that they make of it."""

import base64
import os

from sheepdog.cmd.dog import command
from sheepdog.cmd import exits
from sheepdog.cmd.options import Option
from sheepdog.model import errors
from sheepdog.model import limits


def set_attribute(session):
    name, key = session.arguments[0], os.fsencode(session.arguments[1])
    values, vdis = session.values, session.client.vdis
    if values.get('delete'):
        if values.get('exclusive') or len(session.arguments) > 2:
            raise exits.UsageError('-d deletes: it takes no value, nor -x')
        try:
            vdis.delete_attribute(name, key)
        except errors.NoObject:
            raise _missing(session) from None
    else:
        try:
            vdis.set_attribute(name, key, _value(session),
                               bool(values.get('exclusive')))
        except errors.VdiExists:
            raise exits.Stop("the attribute '%s' already exists" % _shown(
                session), exits.EXISTS) from None
    session.show({})


def _value(session) -> bytes:
    text = session.argument(2)
    if text is not None:
        return os.fsencode(text)
    # One byte more than there may be, so that it is noticed.
    return session.streams.stdin.buffer.read(
        limits.ATTRIBUTE_VALUE_MAX_BYTES + 1)


def get_attribute(session):
    name, key = session.arguments[0], os.fsencode(session.arguments[1])
    try:
        value = session.client.vdis.attribute(name, key)
    except errors.NoObject:
        raise _missing(session) from None
    if session.is_json:
        session.show(as_json(value))
        return
    output = session.streams.stdout.buffer
    output.write(value)
    output.flush()


def as_json(value: bytes) -> dict:
    """A value as JSON can have it."""
    try:
        return {'value': value.decode()}
    except UnicodeDecodeError:
        return {'value_base64': base64.b64encode(value).decode()}


def _missing(session):
    return exits.Stop("the attribute '%s' is not found" % _shown(session),
                      exits.MISSING)


def _shown(session):
    return os.fsencode(session.arguments[1]).decode(errors='replace')


COMMANDS = (
    command.Command(
        ('vdi', 'setattr'), set_attribute,
        'set an attribute of a VDI (without VALUE: to what comes on standard '
        'input)', 'NAME KEY [VALUE]', (2, 3),
        (Option('d', 'delete', 'delete it'),
         Option('x', 'exclusive', 'create it: of several who try at once, '
                'one succeeds'))),
    command.Command(
        ('vdi', 'getattr'), get_attribute,
        'write the value of an attribute to standard output', 'NAME KEY',
        (2, 2)),
)
