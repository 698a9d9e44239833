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

"""Targets: the native protocol, both roles, and what its clients store."""

from fuzz import registry
from fuzz import streams
from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.wire import attribute
from sheepdog.wire import native
from sheepdog.wire import native_client as client

OID = ids.data_oid(0xABCDEF, 7)


def requests() -> list:
    """One of each kind, as lists of buffers."""
    return [
        client.pack_read(1, OID, 4096, 512),
        client.pack_write(2, OID, 0, b'data' * 32),
        client.pack_create(3, OID, 0, b'x' * 100, copies=3, cow_oid=OID + 1),
        client.pack_remove(4, OID),
        client.pack_discard(5, OID),
        client.pack_flush(6, 0xABCDEF),
        client.pack_new_vdi(7, 'new', 1 << 30, copies=2),
        client.pack_new_vdi(8, 'clone', 1 << 30, base_vdi_id=5,
                            snapshot=True),
        client.pack_lock_vdi(9, 'alpha', 'tag', 3, native.LOCK_SHARED),
        client.pack_get_vdi_info(10, 'alpha'),
        client.pack_del_vdi(11, 'ä' * 40),
        client.pack_release_vdi(12, 0xABCDEF),
        client.pack_read_vdis(13),
        client.pack_get_cluster_default(14),
    ]


def request_seeds():
    yield from (b''.join(buffers) for buffers in requests())
    yield b''.join(b''.join(buffers) for buffers in requests())


@registry.target(
    'native-requests', (errors.SheepdogError, native.Unframeable),
    ('sheepdog.wire.native', 'sheepdog.model.inode'), request_seeds)
def run_requests(data):
    first = None
    for fields, payload in streams.whole_and_in_parts(
            data, native.split_requests):
        try:
            if fields[native.OPCODE] < native.NEW_VDI:
                native.check_object(fields, payload)
            else:
                request = native.parse_vdi(fields, payload)
                inode.encode_name(request.name)
                inode.encode_name(request.tag)
        except errors.SheepdogError as error:
            first = first or error
            header = native.pack_error(fields, error)
            assert len(header) == native.HEADER_BYTES
    if first:
        raise first


def response_seeds():
    fields = native.REQUEST.unpack(client.pack_read(9, OID, 0, 100)[0])
    yield native.pack_response(fields, length=100, epoch=4) + bytes(100)
    yield native.pack_error(fields, errors.NoSpace(''), 4)
    yield native.pack_vdi_response(fields, 3, 0, 0xABCDEF, 0, 3, 22)
    yield native.pack_cluster_default(fields, 3, 0, 22, 5)


@registry.target(
    'native-responses', (errors.SheepdogError, native.Unframeable),
    ('sheepdog.wire.native', 'sheepdog.wire.native_client',
     'sheepdog.model.errors'), response_seeds)
def run_responses(data):
    for fields, payload in streams.whole_and_in_parts(
            data, native.split_responses):
        client.read_data(fields, payload, len(payload))
        client.read_vdi_answer(fields)
        client.read_cluster_default(fields)


def bitmap_seeds():
    yield native.pack_vdi_bitmap([1, 0xABCDEF])[:4096]
    yield b''


@registry.target('native-bitmap', (errors.CorruptFrame,),
                 ('sheepdog.wire.native', 'sheepdog.wire.native_client'),
                 bitmap_seeds, cases=8)
def run_bitmap(data):
    if len(data) > 2:
        # A corpus of bitmaps would be large: these bytes say what is set.
        data = data.ljust(native.VDI_BITMAP_BYTES, b'\0')
    found = client.read_vdi_bitmap(data)
    assert native.pack_vdi_bitmap(found) == data


def attribute_seeds():
    yield attribute.pack(attribute.Attribute('vdi', 'key', b'value', 'tag',
                                             1 << 40, 2))
    yield attribute.pack(attribute.Attribute('', '', b''))


@registry.target('attribute', (errors.InvalidParameters,),
                 ('sheepdog.wire.attribute',), attribute_seeds)
def run_attribute(data):
    found = attribute.unpack(data)
    assert attribute.unpack(attribute.pack(found)) == found


def inode_seeds():
    yield inode.InodeHead('alpha', vdi_size=1 << 30, vdi_id=7).pack()
    yield inode.InodeHead('ä' * 100, tag='t', snap_ctime=1 << 33,
                          block_size_shift=28, parent_vdi_id=9).pack()


@registry.target('inode-head', (errors.SheepdogError,),
                 ('sheepdog.model.inode',), inode_seeds)
def run_inode(data):
    found = inode.InodeHead.unpack(data)
    assert inode.InodeHead.unpack(found.pack()) == found
