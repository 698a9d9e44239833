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

"""Targets: NBD's handshake and transmission, both roles."""

import struct

from fuzz import registry
from sheepdog.wire import nbd
from sheepdog.wire import nbd_client
from sheepdog.wire import nbd_handshake
from sheepdog.wire import nbd_options as options
from sheepdog.wire import nbd_transmission as transmission

EXPORT = nbd.Export('alpha', 1 << 30, nbd.export_flags(False, True), 'text')
CASES = 1000


def option_seeds():
    pack = nbd_client.pack_option
    flags = nbd_client.pack_client_flags()
    structured = pack(options.OPT_STRUCTURED_REPLY)
    go = pack(options.OPT_GO, nbd_client.pack_info('alpha', (0, 1, 2, 3)))
    contexts = nbd_client.pack_contexts('alpha')
    yield flags + structured + pack(options.OPT_SET_META_CONTEXT,
                                    contexts) + go
    yield flags + pack(options.OPT_EXPORT_NAME, b'alpha')
    yield flags + pack(options.OPT_LIST) + pack(options.OPT_ABORT)
    yield flags + pack(options.OPT_INFO, nbd_client.pack_info('none'))
    yield flags + structured + pack(
        options.OPT_LIST_META_CONTEXT,
        nbd_client.pack_contexts('alpha', ('base:', 'x:y')))
    yield flags + pack(99, b'unknown') + pack(options.OPT_STARTTLS)
    yield nbd_client.pack_client_flags(0) + pack(options.OPT_EXPORT_NAME,
                                                 b'alpha')


def _answer(handshake):
    question = handshake.question
    if question.option == options.OPT_LIST:
        handshake.list_exports(['alpha', 'beta'])
    elif question.option == options.OPT_STARTTLS:
        handshake.start_tls()
    elif question.name == 'alpha':
        handshake.accept(EXPORT)
    else:
        handshake.refuse(nbd.REP_ERR_UNKNOWN, 'no such export')


def _shake(data, tls, step):
    """Feed a server's handshake; (its output, its state, violated)."""
    handshake = nbd_handshake.Handshake(tls)
    output = []
    start, end = 0, 0
    violated = False
    try:
        while end < len(data):
            end = min(end + step, len(data))
            used = -1
            while used != start:
                used, start = start, handshake.receive(data, start, end)
                if handshake.question is not None:
                    _answer(handshake)
                    used = -1
                output += handshake.take_output()
                assert handshake.room_bytes <= options.PAYLOAD_MAX_BYTES
    except nbd.Violation:
        violated = True
        output += handshake.take_output()
        assert handshake.state is nbd_handshake.State.CLOSED
    return b''.join(output), handshake.state, violated


@registry.target('nbd-options', (nbd.Violation,),
                 ('sheepdog.wire.nbd', 'sheepdog.wire.nbd_handshake',
                  'sheepdog.wire.nbd_options'),
                 option_seeds, cases=CASES)
def run_options(data):
    whole = _shake(data, nbd_handshake.Tls.NONE, len(data) or 1)
    if len(data) < 400:
        assert _shake(data, nbd_handshake.Tls.NONE, 1) == whole
    _shake(data, nbd_handshake.Tls.REQUIRED, len(data) or 1)
    _shake(data, nbd_handshake.Tls.OFFERED, len(data) or 1)


def request_seeds():
    pack = nbd_client.pack_request
    yield (pack(nbd.CMD_READ, 1, 0, 4096) +
           pack(nbd.CMD_WRITE, 2, 512, 8, nbd.CMD_FLAG_FUA) + b'12345678' +
           pack(nbd.CMD_FLUSH, 3) + pack(nbd.CMD_TRIM, 4, 0, 1 << 31) +
           pack(nbd.CMD_WRITE_ZEROES, 5, 0, 1 << 31, 16) +
           pack(nbd.CMD_BLOCK_STATUS, 6, 0, 1 << 30, 8) +
           pack(nbd.CMD_DISC, 7))
    yield pack(nbd.CMD_WRITE, 8, 0, nbd.PAYLOAD_MAX_BYTES + 1) + bytes(64)
    yield pack(99, 9, (1 << 64) - 1, (1 << 32) - 1, 0xFFFF)


def _requests(data, step):
    taken = []

    def take(*request):
        taken.append(request)
        # The session pauses now and then.
        return len(taken) % 3 != 0

    reader = transmission.RequestReader(take)
    start, end = 0, 0
    try:
        while end < len(data):
            end = min(end + step, len(data))
            used = -1
            while used != start:
                used, start = start, reader.receive(data, start, end)
                assert used <= start <= end
                assert reader.room_bytes <= (
                    nbd.PAYLOAD_MAX_BYTES + transmission.REQUEST.size)
    except nbd.Violation:
        taken.append('violation')
    return taken


@registry.target('nbd-requests', (),
                 ('sheepdog.wire.nbd_transmission',), request_seeds,
                 cases=CASES)
def run_transmission(data):
    whole = _requests(data, len(data) or 1)
    if len(data) < 400:
        assert _requests(data, 1) == whole
    for request in whole:
        if request != 'violation':
            nbd_client.pack_request(request[1], request[2], request[3],
                                    request[4], request[0])


def option_reply_seeds():
    yield b''.join(_outputs())
    yield options.GREETING.pack(options.INIT_MAGIC, options.OPTION_MAGIC, 3)


def _outputs():
    for data in option_seeds():
        output, _state, _violated = _shake(
            data, nbd_handshake.Tls.NONE, len(data))
        yield output[options.GREETING.size:]


@registry.target('nbd-option-replies', (nbd.Violation,),
                 ('sheepdog.wire.nbd_client',), option_reply_seeds,
                 cases=CASES)
def run_option_replies(data):
    try:
        nbd_client.unpack_greeting(data[:options.GREETING.size])
        start = options.GREETING.size
    except nbd.Violation:
        start = 0
    while True:
        reply, behind = nbd_client.unpack_option_reply(data, start,
                                                       len(data))
        if reply is None:
            break
        assert behind > start
        start = behind
        if reply.reply_type == options.REP_INFO:
            try:
                nbd_client.unpack_export(reply.payload)
            except nbd.Violation:
                pass


def reply_seeds():
    chunk = transmission.CHUNK
    yield (transmission.simple_reply(1) + transmission.simple_reply(2, 5) +
           transmission.none_chunk(3) +
           transmission.error_chunk(4, 28, 'no space') +
           transmission.status_chunk(5, 1, [(4096, 0), (8192, 3)]))
    yield transmission.simple_reply(7) + bytes(16)
    yield transmission.DATA_CHUNK.pack(
        transmission.CHUNK_MAGIC, 1, transmission.CHUNK_OFFSET_DATA, 6, 12,
        4096) + b'data'
    yield chunk.pack(transmission.CHUNK_MAGIC, 1,
                     transmission.CHUNK_OFFSET_HOLE, 6, 12) + struct.pack(
                         '>QI', 4096, 512)


@registry.target('nbd-replies', (nbd.Violation,),
                 ('sheepdog.wire.nbd_client',
                  'sheepdog.wire.nbd_transmission'), reply_seeds,
                 cases=CASES)
def run_replies(data):
    reader = nbd_client.ReplyReader()
    reader.expect(7, 16)
    start = 0
    while True:
        reply, behind = reader.receive(data, start, len(data))
        if reply is None:
            break
        assert behind > start
        start = behind
