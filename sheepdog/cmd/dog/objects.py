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

"""dog vdi object, dog vdi track: where objects are, and where they were."""

import dataclasses

from sheepdog.client import maps
from sheepdog.cmd.dog import command
from sheepdog.cmd.dog import tables
from sheepdog.cmd import exits
from sheepdog.cmd.options import Option
from sheepdog.cmd import places
from sheepdog.model import inode
from sheepdog.model import limits


def location(session):
    name = session.arguments[0]
    found = session.client.vdis.object(name, _index(session),
                                       **session.snapshot())
    copies = places.copies(found)
    session.show(dict(found, copies_found=[copy._asdict()
                                           for copy in copies]),
                 tables.object_location(found, copies, session.is_raw))
    silent = [copy for copy in copies if copy.error]
    for copy in silent:
        session.warn('%s: %s' % (copy.address, copy.error))
    return exits.SYSTEM if silent else exits.OK


def show_map(session):
    name, which = session.arguments[0], session.snapshot()
    rows = places.object_map(session.client, name, which)
    index = _index(session)
    if index >= 0:
        # Says what there is not: no such object, or none yet.
        session.client.vdis.object(name, index, ask=False, **which)
        rows = [row for row in rows if row[0] == index]
    session.show([{'index': index, 'vdi_id': vdi_id}
                  for index, vdi_id in rows],
                 tables.object_map(rows, session.is_raw))


def dump_inode(session):
    name, which = session.arguments[0], session.snapshot()
    if session.is_json:
        session.show(dataclasses.asdict(maps.head(session.client, name,
                                                  which)))
        return
    if session.streams.stdout.isatty():
        raise exits.UsageError('an inode is no text: write it to a file, or '
                               'take --json to see what it says')
    output = session.streams.stdout.buffer
    index = _index(session)
    if index < 0:
        pieces = session.client.vdis.inode(name, **which)
    else:
        session.client.vdis.object(name, index, ask=False, **which)
        pieces = session.client.vdis.inode(
            name, offset=inode.map_offset(index),
            size=inode.MAP_ENTRY_BYTES, **which)
    for piece in pieces:
        output.write(piece)
    output.flush()


def track(session):
    if {'index', 'oid'} <= set(session.values):
        raise exits.UsageError('give -i or -o, not both')
    found = session.client.vdis.object(
        session.arguments[0], _index(session),
        object=session.values.get('oid', '').removeprefix('0x'), ask=False,
        **session.snapshot())
    rows = places.track(found, session.client.cluster.info()['epochs'])
    session.show(
        {'object': found['object'], 'epochs': [
            {'epoch': epoch, 'copies': copies, 'nodes': addresses}
            for epoch, copies, addresses in rows]},
        tables.object_track(found, rows, session.is_raw,
                            'oid' in session.values))


def _index(session):
    """-1: the inode is meant."""
    text = session.values.get('index')
    if text is None:
        return -1
    return command.whole_number('-i', text, 0, limits.VDI_OBJECTS_MAX - 1)


_WHICH = (Option('i', 'index', 'the object of that number, instead of the '
                 'inode', 'INDEX'),
          Option('s', 'snapshot', 'the snapshot with that tag or id',
                 'SNAPSHOT'))

COMMANDS = (
    command.Command(
        ('vdi', 'object', 'location'), location,
        'show which nodes have an object of a VDI, and which should',
        'NAME', (1, 1), _WHICH),
    command.Command(
        ('vdi', 'object', 'map'), show_map,
        'list the objects that a VDI has, and which VDI each is from',
        'NAME', (1, 1),
        (Option('i', 'index', 'that one alone', 'INDEX'), _WHICH[1])),
    command.Command(
        ('vdi', 'object', 'dump-inode'), dump_inode,
        'write the inode of a VDI to standard output', 'NAME', (1, 1),
        (Option('i', 'index', 'only what it says of that object', 'INDEX'),
         _WHICH[1])),
    command.Command(
        ('vdi', 'track'), track,
        'show where an object of a VDI was to be in each epoch', 'NAME',
        (1, 1),
        (*_WHICH, Option('o', 'oid', 'the object with that id (hexadecimal)',
                         'OID'))),
)
