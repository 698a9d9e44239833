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

"""What may be said to a sheep, at each of its doors: see ``whole``."""

from fuzz import native as native_targets
from fuzz import nbd as nbd_targets
from sheepdog.model import ids
from sheepdog.wire import native_client as client
from sheepdog.wire import peer as wire

EPOCH = 1
VDI = ids.first_vdi_id('vm')
INODE = ids.vdi_oid(VDI)
DATA = ids.data_oid(VDI, 1)
CREATE = wire.FLAG_CREATE | wire.FLAG_DURABLE

ADMIN = (
    ('cluster.info', {}), ('cluster.facts', {}), ('cluster.copies', {}),
    ('cluster.format', {'copies': 2, 'force': True, 'store': 'plain',
                        'operation_id': 'o'}),
    ('cluster.shutdown', {'operation_id': 'o'}),
    ('cluster.recover', {'action': 'force', 'operation_id': 'o'}),
    ('node.list', {}), ('node.info', {}), ('node.space', {}),
    ('node.stat', {}), ('node.recovery', {}), ('node.progress', {}),
    ('node.kill', {'id': 1}), ('node.kill', {'local': True}),
    ('node.stop', {}), ('node.quiesce', {}), ('node.status', {}),
    ('node.facts', {'ping': True}), ('node.copies', {}),
    ('node.log', {'action': 'get', 'everyone': True}),
    ('node.log', {'action': 'set', 'level': 'info', 'logger': 'sheepdog'}),
    ('node.trace', {'action': 'on', 'names': 'vm,other'}),
    ('node.trace', {'action': 'show', 'everyone': True}),
    ('vdi.create', {'name': 'new', 'size': 1 << 30, 'copies': 1,
                    'copy_policy': 0, 'block_size_shift': 22,
                    'preallocate': False, 'operation_id': 'o'}),
    ('vdi.list', {'name': ''}), ('vdi.list', {}),
    ('vdi.resize', {'name': 'vm', 'size': 8 << 20, 'operation_id': 'o'}),
    ('vdi.delete', {'name': 'vm', 'tag': '', 'snap_id': 0,
                    'operation_id': 'o'}),
    ('vdi.locks', {}), ('vdi.unlock', {'name': 'vm', 'operation_id': 'o'}))


def _json(opcode, number, message) -> bytes:
    return b''.join(wire.pack_request(opcode, 0, EPOCH, number,
                                      payload=wire.pack_json(message)))


def _frame(opcode, number, oid=DATA, token=0, offset=0, aux=0, payload=b'',
           flags=0) -> bytes:
    return b''.join(wire.pack_request(
        opcode, flags, EPOCH, number, oid, token, offset, aux, payload))


def admin_seeds():
    for number in range(0, len(ADMIN), 3):
        yield b''.join(
            _json(wire.ADMIN, number, {'method': method,
                                       'arguments': arguments})
            for number, (method, arguments)
            in enumerate(ADMIN[number:number + 3]))


def volume_seeds():
    opened = [_json(wire.ADMIN, 1, {
        'method': 'volume.open', 'arguments': {
            'name': 'vm', 'read_only': read_only, 'user': user,
            'operation_id': 'o'}})
        for read_only, user in ((False, 'u'), (True, ''))]
    closed = _json(wire.ADMIN, 9, {'method': 'volume.close',
                                   'arguments': {'handle': 1}})
    yield b''.join((
        opened[0],
        _frame(wire.VOLUME_WRITE, 2, 1, 4096, payload=b'data' * 128,
               flags=wire.FLAG_DURABLE),
        _frame(wire.VOLUME_READ, 3, 1, 4096, aux=512),
        _frame(wire.VOLUME_ZERO, 4, 1, 0, aux=1 << 20),
        _frame(wire.VOLUME_FLUSH, 5, 1), closed))
    yield opened[1] + _frame(wire.VOLUME_READ, 3, 1, 0, aux=4096) + closed


def replica_seeds():
    """Of an object that is made by the first."""
    capacity = 20
    made = _frame(wire.WRITE, 1, token=1 << 48, aux=capacity,
                  payload=b'data' * 128, flags=CREATE)
    yield b''.join((
        made, _frame(wire.READ, 2, aux=512),
        _frame(wire.ZERO, 3, token=1 << 48 | 1, aux=capacity,
               payload=(4096).to_bytes(4, 'little')),
        _frame(wire.FLUSH, 4), _frame(wire.STABLE, 0, token=1 << 48 | 2),
        _frame(wire.REMOVE, 5, token=1 << 48 | 3, aux=capacity)))
    yield b''.join((
        made, _frame(wire.STATE, 2), _frame(wire.TABLE, 3),
        _frame(wire.LIST, 4, 0), _frame(wire.EXTENTS, 5),
        _frame(wire.RECOVER, 6), _frame(wire.DOUBT, 7, token=1 << 48),
        _frame(wire.READ, 8, aux=512, flags=wire.FLAG_RECOVERY)))
    yield made + _frame(wire.ALIGN, 2) + _frame(wire.PING, 3)
    yield b''.join((
        _frame(wire.ORDER_WRITE, 1, token=1 << 48, aux=capacity,
               payload=b'data' * 128, flags=CREATE),
        _frame(wire.ORDER_READ, 2, aux=512),
        _frame(wire.ORDER_ZERO, 3, token=1 << 48 | 1, aux=capacity,
               payload=(4096).to_bytes(4, 'little')),
        _frame(wire.ORDER_FLUSH, 4),
        _frame(wire.ORDER_REMOVE, 6, token=1 << 48 | 2, aux=capacity)))


def _from_leader(kind, **fields):
    return dict(fields, kind=kind, term='@term', leader='@me', to='@a')


def message_seeds():
    prepared = {'epoch': 2, 'term': '@term', 'attempt': 1,
                'sequence': '@sequence', 'created': '@created',
                'view': '@view'}
    lock = {'kind': 'lock', 'vdi_id': VDI, 'mode': 'exclusive',
            'owner': '@a'}
    for messages in (
            [{'kind': 'complain', 'about': '@a'},
             {'kind': 'execute', 'operation': 'o', 'name': 'lock',
              'arguments': {'vdi_id': VDI, 'mode': 'shared',
                            'owner': '@a'}},
             {'kind': 'execute', 'operation': 'p', 'name': 'unlock',
              'arguments': {'vdi_id': VDI, 'owner': '@a', 'force': True}}],
            [{'kind': 'execute', 'operation': 'o', 'name': 'settings',
              'arguments': {'changes': {'copies': 2, 'vdi_locks': True}}},
             {'kind': 'execute', 'operation': 'p', 'name': 'recovered',
              'arguments': {'incarnation': '@b', 'epoch': 1}}],
            [{'kind': 'execute', 'operation': 'o', 'name': 'vdi-create',
              'arguments': {'name': 'new', 'size': 1 << 30, 'copies': 2,
                            'copy_policy': 0, 'block_size_shift': 22}},
             {'kind': 'execute', 'operation': 'p', 'name': 'vdi-delete',
              'arguments': {'name': 'vm', 'tag': '', 'snap_id': 0}},
             {'kind': 'execute', 'operation': 'q', 'name': 'format',
              'arguments': {'copies': 1, 'force': True}}],
            [_from_leader('survey'), _from_leader('ping'),
             _from_leader('fetch')],
            [_from_leader('prepare', prepared=prepared),
             _from_leader('events', records=[
                 ['@sequence', '@term', 1.5,
                  {'kind': 'epoch', 'view': '@view'}, '', None]])],
            [_from_leader('events', records=[
                ['@sequence', '@term', 1.5, lock, 'o', {'serial': 9}]])],
            [_from_leader('dismiss'), _from_leader('waiting', reason='why',
                                                   status='wait-join',
                                                   missing=['n1'])],
            [_from_leader('refuse', reason='why')],
            [_from_leader('sync', state='@state', views='@views', cold=False,
                          clean=True)]):
        yield b''.join(_json(wire.MESSAGE, number, message)
                       for number, message in enumerate(messages))


def native_seeds():
    pieces = [b''.join(buffers) for buffers in native_targets.requests()]
    yield b''.join(pieces)
    yield b''.join(b''.join(buffers) for buffers in (
        client.pack_new_vdi(1, 'native', 1 << 30, copies=2),
        client.pack_lock_vdi(2, 'vm', '', 0),
        client.pack_read(3, INODE, 0, 4096),
        client.pack_create(4, DATA, 0, b'data' * 128),
        client.pack_write(5, DATA, 512, b'data' * 128),
        client.pack_read(6, DATA, 0, 1024), client.pack_flush(7, VDI),
        client.pack_discard(8, DATA), client.pack_remove(9, DATA),
        client.pack_release_vdi(10, VDI), client.pack_del_vdi(11, 'vm')))
    yield b''.join(b''.join(buffers) for buffers in (
        client.pack_read_vdis(1), client.pack_get_cluster_default(2),
        client.pack_get_vdi_info(3, 'vm'),
        client.pack_write(4, INODE, 544, bytes(8))))


def hello_seeds():
    for message in (
            {'protocol': wire.VERSION, 'role': 'tool', 'incarnation': '',
             'for': '', 'lane': '', 'nonce': '00' * 32, 'keys': ['0']},
            {'protocol': wire.VERSION, 'role': 'peer', 'incarnation': '@b',
             'for': '@a', 'lane': 'data', 'nonce': '00' * 32,
             'keys': ['0', '1']}):
        yield (_json(wire.HELLO, 1, message) +
               _json(wire.HELLO, 2, {'proof': '00' * 32}))


def seeds():
    """See ``registry.Target``."""
    for door, found in (
            (b'T', admin_seeds()), (b'T', volume_seeds()),
            (b'S', replica_seeds()), (b'B', replica_seeds()),
            (b'S', message_seeds()), (b's', message_seeds()),
            (b'b', message_seeds()), (b't', list(admin_seeds())[:3]),
            (b'S', list(admin_seeds())[:2]), (b'P', native_seeds()),
            (b'H', hello_seeds()), (b'N', nbd_seeds())):
        for one in found:
            yield door + one


def nbd_seeds():
    """A handshake of each kind that ends well, and requests behind it."""
    requests = list(nbd_targets.request_seeds())
    for handshake in list(nbd_targets.option_seeds())[:2]:
        handshake = handshake.replace(b'alpha', b'vm').replace(
            b'\0\0\0\x05vm', b'\0\0\0\x02vm')
        yield handshake
        yield handshake + requests[0]
