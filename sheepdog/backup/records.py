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

"""Which snapshot is which, in whatever cluster it is.

A snapshot has an *identity*: 32 hexadecimal digits, worked out of the
cluster and the VDI that it was made of. What was restored keeps the
identity of what it was: this is noted in an attribute of the VDI. So the
difference between two snapshots finds its base where that was restored, and
the other way round. The attributes go with the VDI, and then nothing is
taken for a base by mistake. Streams say themselves whose they are, so by that
alone nothing is taken for what a store of cluster snapshots has: there
snapshots have the identities that are worked out, or those that they were
loaded with, together with the digest of the image that was.

Another attribute, the *mark*, is there while a VDI is restored. Whoever dies
meanwhile leaves it, and the next one knows what has to be undone.
"""

import hashlib
import json

from sheepdog.backup import stream
from sheepdog.model import errors

MARK = b'sheepdog.restoring'
_RECORD = b'sheepdog.restored.'


def identity(client, vdi) -> str:
    """Of a snapshot, as ``VdiCalls.list`` has it."""
    return recorded(client, vdi)[0] or computed(client, vdi)


def recorded(client, vdi) -> tuple:
    """What was noted: the identity, and the digest of the image that it was
    loaded from, '' where it was none; or two empty ones."""
    try:
        noted = client.vdis.attribute(vdi['name'], _key(vdi)).decode()
    except (errors.NoObject, errors.NoVdi):
        return '', ''
    found, _, image = noted.partition(' ')
    return found, image


def computed(client, vdi) -> str:
    """What no other snapshot has, of whatever cluster."""
    settings = client.cluster.info()['settings']
    return hashlib.sha256(json.dumps([
        settings['created'], vdi['name'], vdi['vdi_id'],
        _milliseconds(vdi['created']), _milliseconds(vdi['snapped']),
    ]).encode()).hexdigest()[:stream.IDENTITY_DIGITS]


def record(client, vdi, wanted: str, image='') -> None:
    """That snapshot has this identity from now on. (What was noted of others
    goes with them: attributes have little room.)"""
    client.vdis.set_attribute(
        vdi['name'], _key(vdi), ' '.join(filter(None, (wanted, image))
                                         ).encode())
    noted = [key for key in client.vdis.attributes(vdi['name'])
             if key.startswith(_RECORD)]
    # (In this order: a snapshot that is made meanwhile is there.)
    there = {_key(one) for one in client.vdis.list(vdi['name'])
             if one['snapshot']}
    for key in noted:
        if key not in there:
            _remove(client, vdi['name'], key)


def mark(client, name, fields: dict) -> None:
    client.vdis.set_attribute(name, MARK, json.dumps(fields).encode())


def marked(client, name):
    """What ``mark`` was told; None: nobody was at it, or has ended."""
    try:
        return json.loads(client.vdis.attribute(name, MARK))
    except (errors.NoObject, errors.NoVdi):
        return None


def unmark(client, name) -> None:
    _remove(client, name, MARK)


def _remove(client, name, key):
    try:
        client.vdis.delete_attribute(name, key)
    except errors.NoObject:
        pass


def _key(vdi) -> bytes:
    return b'%s%06x.%d' % (_RECORD, vdi['vdi_id'],
                           _milliseconds(vdi['snapped']))


def _milliseconds(seconds) -> int:
    return int(seconds * 1000)
