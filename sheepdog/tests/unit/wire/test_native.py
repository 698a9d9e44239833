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

import struct
import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.wire import native
from sheepdog.wire import native_client as client

u8 = strategies.integers(0, 0xFF)
u32 = strategies.integers(0, 0xFFFFFFFF)
u64 = strategies.integers(0, 0xFFFFFFFFFFFFFFFF)
vdi_ids = strategies.integers(0, limits.VDI_IDS_MAX - 1)
payloads = strategies.binary(min_size=1, max_size=40)
names = strategies.text('abcä-/ ', max_size=40)
quick = hypothesis.settings(deadline=None, max_examples=50)


def one_request(buffers):
    """What a server makes of the one request in ``buffers``."""
    data = b''.join(buffers)
    ((fields, payload),), used, _ = native.split_requests(data, 0, len(data))
    assert used == len(data)
    return fields, payload


def one_response(*buffers):
    data = b''.join(buffers)
    ((fields, payload),), used, _ = native.split_responses(data, 0,
                                                           len(data))
    assert used == len(data)
    return fields, payload


def header(version=1, opcode=0, flags=0, request_id=1, length=0):
    return native.REQUEST.pack(version, opcode, flags, 0, request_id, length,
                               *[0] * 9)


class FramingTest(unittest.TestCase):

    def test_forms_have_the_header_s_length(self):
        for form in (native.REQUEST, native.VDI_REQUEST, native.RESPONSE,
                     native.OBJECT_RESPONSE, native.VDI_RESPONSE,
                     native.CLUSTER_DEFAULT_RESPONSE):
            self.assertEqual(48, form.size)

    @hypothesis.given(strategies.lists(strategies.tuples(u32, u64, payloads),
                                       max_size=6),
                      strategies.data())
    @quick
    def test_any_cut(self, writes, data):
        # However the bytes arrive, the same requests come out.
        stream = b''
        for request_id, oid, payload in writes:
            stream += b''.join(client.pack_write(request_id, oid, 0, payload))
            stream += b''.join(client.pack_read(request_id, oid, 0, 9))
        expected, used, room = native.split_requests(stream, 0, len(stream))
        self.assertEqual((len(stream), 0), (used, room))
        self.assertEqual(
            [item for write in writes for item in (write[2], b'')],
            [payload for _, payload in expected])

        buffer = bytearray(b'zzz')     # something stands before it
        start, found = 3, []
        position = 0
        while position < len(stream):
            step = data.draw(strategies.integers(1, 100))
            buffer += stream[position:position + step]
            position += step
            messages, used, room = native.split_requests(
                buffer, start, len(buffer))
            found += messages
            rest = len(buffer) - used
            self.assertGreaterEqual(used, start)
            self.assertEqual(rest >= 48, room > 0)
            self.assertTrue(room == 0 or room > rest)
            start = used
        self.assertEqual(expected, found)
        self.assertEqual(len(buffer), start)

    def test_the_buffer_may_be_used_again(self):
        buffer = bytearray(b''.join(client.pack_write(1, 2, 3, b'abcd')))
        messages, _, _ = native.split_requests(buffer, 0, len(buffer))
        buffer[:] = bytes(len(buffer))
        buffer.extend(b'more')         # no view of it is left
        self.assertEqual(b'abcd', messages[0][1])

    def test_room(self):
        buffer = header(opcode=native.WRITE_OBJ, flags=native.FLAG_WRITE,
                        length=5000) + b'x' * 10
        self.assertEqual(([], 0, 5048),
                         native.split_requests(buffer, 0, len(buffer)))
        self.assertEqual(([], 0, 0), native.split_requests(buffer, 0, 47))

    def test_no_more_than_the_budget(self):
        stream = b''.join(client.pack_read(n, 1, 0, 100)[0]
                          for n in range(5))
        for budget, count in ((1, 1), (100, 1), (101, 2), (400, 4),
                              (9999, 5)):
            messages, used, room = native.split_requests(
                stream, 0, len(stream), budget)
            self.assertEqual((count, 48 * count, 0),
                             (len(messages), used, room))

    def test_longest_payload(self):
        longest = limits.FRAME_PAYLOAD_MAX_BYTES
        good = header(flags=native.FLAG_WRITE, length=longest)
        self.assertEqual(([], 0, longest + 48),
                         native.split_requests(good, 0, 48))
        bad = header(flags=native.FLAG_WRITE, length=longest + 1)
        with self.assertRaises(native.Unframeable):
            native.split_requests(bad, 0, 48)
        with self.assertRaises(native.Unframeable):
            native.split_responses(bad, 0, 48)
        # Without a payload it is a matter of the request, not of framing.
        wanted = header(opcode=native.READ_OBJ, length=longest + 1)
        ((fields, payload),), _, _ = native.split_requests(wanted, 0, 48)
        with self.assertRaises(errors.InvalidParameters):
            native.check_object(fields, payload)

    def test_a_response_carries_its_length_without_a_flag(self):
        fields, payload = one_response(
            native.pack_response((2, native.READ_OBJ, 0, 0, 7), length=3),
            b'abc')
        self.assertEqual((7, b'abc'), (fields[native.ID], payload))

    @hypothesis.given(strategies.binary(max_size=200),
                      strategies.integers(0, 60))
    @hypothesis.settings(deadline=None, max_examples=150)
    def test_garbage(self, data, start):
        start = min(start, len(data))
        for split in (native.split_requests, native.split_responses):
            try:
                messages, used, _ = split(data, start, len(data))
            except native.Unframeable:
                continue
            self.assertTrue(start <= used <= len(data))
            for fields, payload in messages:
                for read in (native.check_object, native.parse_vdi):
                    try:
                        read(fields, payload)
                    except (errors.InvalidParameters,
                            errors.VersionMismatch):
                        pass


class ObjectTest(unittest.TestCase):

    def test_offsets(self):
        data, payload = client.pack_create(
            0x01020304, 0x1122334455667788, 0x0A0B0C0D, b'data',
            native.FLAG_CACHE, 3, 0x22, 0x99)
        self.assertEqual(b'data', payload)
        for offset, form, value in (
                (0, '<B', 1), (1, '<B', 0x01), (2, '<H', 0x07), (4, '<I', 0),
                (8, '<I', 0x01020304), (12, '<I', 4),
                (16, '<Q', 0x1122334455667788), (24, '<Q', 0x99),
                (32, '<B', 3), (33, '<B', 0x22), (34, '<B', 0),
                (36, '<I', 0), (40, '<I', 0x0A0B0C0D)):
            self.assertEqual((value,), struct.unpack_from(form, data, offset))

    @hypothesis.given(u32, u64, u32, payloads, u8, u8, u64)
    @quick
    def test_writes(self, request_id, oid, offset, data, copies, policy,
                    cow_oid):
        for buffers, opcode, flags in (
                (client.pack_write(request_id, oid, offset, data),
                 native.WRITE_OBJ, native.FLAG_WRITE | native.FLAG_DIRECT),
                (client.pack_write(request_id, oid, offset, data,
                                   native.FLAG_CACHE),
                 native.WRITE_OBJ, native.FLAG_WRITE | native.FLAG_CACHE),
                (client.pack_create(request_id, oid, offset, data, 0, copies,
                                    policy, cow_oid),
                 native.CREATE_AND_WRITE_OBJ,
                 native.FLAG_WRITE | (native.FLAG_COW if cow_oid else 0))):
            fields, payload = one_request(buffers)
            native.check_object(fields, payload)
            self.assertEqual(data, payload)
            self.assertEqual(
                (opcode, flags, request_id, len(data), oid, offset),
                tuple(fields[at] for at in (
                    native.OPCODE, native.FLAGS, native.ID,
                    native.DATA_LENGTH, native.OID, native.OFFSET)))
        self.assertEqual((cow_oid, copies, policy), (
            fields[native.COW_OID], fields[native.COPIES],
            fields[native.COPY_POLICY]))

    @hypothesis.given(u32, u64, u32,
                      strategies.integers(1, limits.FRAME_PAYLOAD_MAX_BYTES))
    @quick
    def test_reads(self, request_id, oid, offset, size):
        fields, payload = one_request(
            client.pack_read(request_id, oid, offset, size))
        native.check_object(fields, payload)
        self.assertEqual(
            (native.READ_OBJ, request_id, size, oid, offset, b''),
            (fields[native.OPCODE], fields[native.ID],
             fields[native.DATA_LENGTH], fields[native.OID],
             fields[native.OFFSET], payload))

    @hypothesis.given(u32, u64, vdi_ids)
    @quick
    def test_bare(self, request_id, oid, vdi_id):
        for buffers, opcode, meant in (
                (client.pack_remove(request_id, oid), native.REMOVE_OBJ, oid),
                (client.pack_discard(request_id, oid), native.DISCARD_OBJ,
                 oid),
                (client.pack_flush(request_id, vdi_id), native.FLUSH_VDI,
                 1 << 63 | vdi_id << 32)):
            fields, payload = one_request(buffers)
            native.check_object(fields, payload)
            self.assertEqual((opcode, request_id, meant), (
                fields[native.OPCODE], fields[native.ID],
                fields[native.OID]))

    def test_refused(self):
        write = native.FLAG_WRITE
        for opcode, flags, length, payload in (
                (native.READ_OBJ, 0, 0, b''),
                (native.READ_OBJ, write, 4, b'data'),
                (native.WRITE_OBJ, 0, 4, b''),
                (native.WRITE_OBJ, write, 0, b''),
                (native.CREATE_AND_WRITE_OBJ, 0, 4, b''),
                (native.REMOVE_OBJ, write, 4, b'data'),
                (native.DISCARD_OBJ, write, 4, b'data'),
                (native.FLUSH_VDI, write, 4, b'data'),
                (native.NEW_VDI, 0, 0, b''),
                (0x00, 0, 0, b''), (0x42, write, 4, b'data'),
                (0x80, 0, 0, b'')):
            fields, _ = one_request(
                [header(opcode=opcode, flags=flags, length=length), payload])
            with self.subTest(opcode=opcode, flags=flags):
                with self.assertRaises(errors.InvalidParameters):
                    native.check_object(fields, payload)

    def test_version(self):
        for version in range(5):
            fields, _ = one_request(
                [header(version, native.READ_OBJ, length=1)])
            if version in (1, 2):
                native.check_object(fields, b'')
                self.assertEqual(version, native.pack_response(fields)[0])
            else:
                with self.assertRaises(errors.VersionMismatch):
                    native.check_object(fields, b'')

    @hypothesis.given(u32, u32, strategies.integers(0, 0x7F), u8)
    @quick
    def test_answers(self, request_id, epoch, result, copies):
        request, _ = one_request(client.pack_read(request_id, 1, 0, 3))
        data = native.pack_response(request, result, epoch, 3, copies)
        self.assertEqual((result, copies, 0),
                         struct.unpack_from('<IB3xQ', data, 16))
        fields, payload = one_response(data, b'abc')
        self.assertEqual((1, native.READ_OBJ, 0, epoch, request_id, 3),
                         fields[:6])
        if result:
            with self.assertRaises(errors.SheepdogError) as caught:
                client.read_data(fields, payload, 3)
            self.assertIs(type(errors.from_result(result)),
                          type(caught.exception))
        else:
            self.assertEqual(b'abc', client.read_data(fields, payload, 3))
            with self.assertRaises(errors.CorruptFrame):
                client.read_data(fields, payload, 4)

    def test_errors(self):
        request, _ = one_request(client.pack_discard(9, 1))
        for error, result in ((errors.NoObject('x'), 0x02),
                              (errors.NotServing('x'), 0x03),
                              (ValueError('x'), 0x01)):
            fields, payload = one_response(
                native.pack_error(request, error, 5))
            self.assertEqual((9, 5, result, b''), (
                fields[native.ID], fields[native.EPOCH],
                fields[native.RESULT], payload))


class VdiTest(unittest.TestCase):

    def test_offsets(self):
        data, payload = client.pack_new_vdi(
            7, 'vm', 0x1122334455667788, 0x00ABCDEF, 3, 0x22, 1, 21, True)
        self.assertEqual(b'vm'.ljust(256, b'\0'), payload)
        for offset, form, value in (
                (1, '<B', 0x11), (2, '<H', 1), (8, '<I', 7), (12, '<I', 256),
                (16, '<Q', 0x1122334455667788), (24, '<I', 0x00ABCDEF),
                (28, '<B', 3), (29, '<B', 0x22), (30, '<B', 1),
                (31, '<B', 21), (32, '<I', 1), (36, '<I', 0)):
            self.assertEqual((value,), struct.unpack_from(form, data, offset))

    @hypothesis.given(u32, names, u64, vdi_ids, u8, u8, u8, u8,
                      strategies.booleans())
    @quick
    def test_new(self, request_id, name, size, base, copies, copy_policy,
                 store_policy, shift, snapshot):
        self.assertEqual(
            native.VdiRequest(
                native.NEW_VDI, native.FLAG_WRITE, request_id, name, '', size,
                base, copies, copy_policy, store_policy, shift,
                int(snapshot), 0),
            native.parse_vdi(*one_request(client.pack_new_vdi(
                request_id, name, size, base, copies, copy_policy,
                store_policy, shift, snapshot))))

    @hypothesis.given(u32, names, names, u32, strategies.sampled_from([0, 1]))
    @quick
    def test_named(self, request_id, name, tag, snap_id, lock_type):
        for buffers, opcode, expected_type in (
                (client.pack_lock_vdi(request_id, name, tag, snap_id,
                                      lock_type),
                 native.LOCK_VDI, lock_type),
                (client.pack_get_vdi_info(request_id, name, tag, snap_id),
                 native.GET_VDI_INFO, 0),
                (client.pack_del_vdi(request_id, name, tag, snap_id),
                 native.DEL_VDI, 0)):
            request = native.parse_vdi(*one_request(buffers))
            self.assertEqual(
                (opcode, request_id, name, tag, snap_id, expected_type),
                (request.opcode, request.id, request.name, request.tag,
                 request.snap_id, request.lock_type))

    def test_name_alone(self):
        for opcode in (native.LOCK_VDI, native.GET_VDI_INFO, native.DEL_VDI):
            request = native.parse_vdi(*one_request(
                [header(opcode=opcode, flags=1, length=256),
                 b'vm'.ljust(256, b'\0')]))
            self.assertEqual(('vm', ''), (request.name, request.tag))

    def test_unnamed(self):
        request = native.parse_vdi(*one_request(
            client.pack_release_vdi(5, 0x7C2B25, native.LOCK_SHARED)))
        self.assertEqual((native.RELEASE_VDI, 0x7C2B25, 1), (
            request.opcode, request.base_vdi_id, request.lock_type))
        for buffers, opcode in (
                (client.pack_read_vdis(6), native.READ_VDIS),
                (client.pack_get_cluster_default(6),
                 native.GET_CLUSTER_DEFAULT)):
            request = native.parse_vdi(*one_request(buffers))
            self.assertEqual((opcode, 6), (request.opcode, request.id))

    def test_some_name_what_they_release(self):
        request = native.parse_vdi(*one_request(
            [header(opcode=native.RELEASE_VDI, flags=1, length=5),
             b'test\0']))
        self.assertEqual(native.RELEASE_VDI, request.opcode)

    def test_refused(self):
        good = b'vm'.ljust(256, b'\0')
        for opcode, payload in (
                (native.NEW_VDI, b''), (native.NEW_VDI, good + good),
                (native.NEW_VDI, b'x' * 256), (native.NEW_VDI, b'vm\0'),
                (native.NEW_VDI, b'\xff'.ljust(256, b'\0')),
                (native.LOCK_VDI, b''), (native.LOCK_VDI, good + b'\0'),
                (native.LOCK_VDI, good + b'x' * 256),
                (native.GET_VDI_INFO, b'x' * 512),
                (native.DEL_VDI, good * 3),
                (native.RELEASE_VDI, good * 3),
                (native.READ_VDIS, good),
                (native.GET_CLUSTER_DEFAULT, good),
                (native.READ_OBJ, good), (0x19, b''), (0x7F, good)):
            fields, _ = one_request(
                [header(opcode=opcode, flags=1, length=len(payload)),
                 payload])
            with self.subTest(opcode=opcode, payload=payload[:4]):
                with self.assertRaises(errors.InvalidParameters):
                    native.parse_vdi(fields, payload)
        # Promised, but not sent.
        fields, payload = one_request(
            [header(opcode=native.LOCK_VDI, length=512)])
        with self.assertRaises(errors.InvalidParameters):
            native.parse_vdi(fields, payload)

    def test_bitmap_wanted(self):
        for wanted, good in ((0, True), (2 << 20, True), (4096, False)):
            fields, _ = one_request(
                [header(opcode=native.READ_VDIS, length=wanted)])
            if good:
                native.parse_vdi(fields, b'')
            else:
                with self.assertRaises(errors.InvalidParameters):
                    native.parse_vdi(fields, b'')

    def test_version(self):
        fields, payload = one_request(
            [header(9, native.GET_CLUSTER_DEFAULT)])
        with self.assertRaises(errors.VersionMismatch):
            native.parse_vdi(fields, payload)

    def test_tgt_releases_without_a_version(self):
        # As tgt 1.0.85 sends it.
        data = bytes.fromhex('0013' + '00' * 22 + '1ca4fb00' + '00' * 8
                             + '01' + '00' * 11)
        fields, payload = one_request([data])
        request = native.parse_vdi(fields, payload)
        self.assertEqual((native.RELEASE_VDI, 0xFBA41C),
                         (request.opcode, request.base_vdi_id))
        self.assertEqual(0, native.pack_response(fields)[0])
        fields, payload = one_request([header(3, native.RELEASE_VDI)])
        with self.assertRaises(errors.VersionMismatch):
            native.parse_vdi(fields, payload)


class AnswerTest(unittest.TestCase):

    def setUp(self):
        self.request, _ = one_request(client.pack_get_vdi_info(7, 'vm'))

    def test_vdi(self):
        data = native.pack_vdi_response(
            self.request, epoch=4, vdi_id=0x7C2B25, attr_id=9, copies=3,
            block_size_shift=22)
        self.assertEqual((0x7C2B25, 9, 3, 22),
                         struct.unpack_from('<IIBB', data, 24))
        fields, _ = one_response(data)
        self.assertEqual((4, 7), (fields[native.EPOCH], fields[native.ID]))
        self.assertEqual(client.VdiAnswer(0x7C2B25, 9, 3, 22),
                         client.read_vdi_answer(fields))

    def test_cluster_default(self):
        data = native.pack_cluster_default(self.request, 3, 0x22, 22)
        self.assertEqual((0, 3, 0x22, 22),
                         struct.unpack_from('<IBBB', data, 16))
        self.assertEqual(
            client.ClusterDefault(3, 0x22, 22),
            client.read_cluster_default(one_response(data)[0]))

    def test_failures(self):
        fields, _ = one_response(
            native.pack_error(self.request, errors.NoVdi('x')))
        for read in (client.check_response, client.read_vdi_answer,
                     client.read_cluster_default):
            with self.assertRaises(errors.NoVdi):
                read(fields)

    @hypothesis.given(strategies.sets(vdi_ids, max_size=10))
    @hypothesis.settings(deadline=None, max_examples=5)
    def test_bitmap(self, in_use):
        bitmap = native.pack_vdi_bitmap(in_use)
        fields, payload = one_response(
            native.pack_vdi_response(self.request, length=len(bitmap)),
            bitmap)
        client.check_response(fields)
        self.assertEqual(sorted(in_use), client.read_vdi_bitmap(payload))

    def test_bitmap_of_another_length(self):
        with self.assertRaises(errors.CorruptFrame):
            client.read_vdi_bitmap(bytes(100))

    def test_bit_order(self):
        bitmap = native.pack_vdi_bitmap([0, 10])
        self.assertEqual(b'\x01\x04', bitmap[:2])
        self.assertEqual(2 << 20, len(bitmap))
