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

"""The handshake's state machine: each option, each way to get it wrong."""

import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.wire import nbd
from sheepdog.wire import nbd_client as client
from sheepdog.wire import nbd_handshake
from sheepdog.wire import nbd_options as options

EXPORT = nbd.Export('vdi', 1 << 30, nbd.export_flags(False, True),
                    'a description')
NAMES = ['vdi', 'other', 'ünï']


def answer(handshake):
    """What a face with one export would answer to the question."""
    question = handshake.question
    if question.option == options.OPT_LIST:
        handshake.list_exports(NAMES)
    elif question.option == options.OPT_STARTTLS:
        handshake.start_tls()
    elif question.name == EXPORT.name:
        handshake.accept(EXPORT)
    else:
        handshake.refuse(nbd.REP_ERR_UNKNOWN, 'no such export')


def run(handshake, stream, pieces=()):
    """Feed a stream, cut at the given positions, answering what is asked.

    :returns: (output, position up to which bytes were used)
    """
    held = bytearray()
    used = 0
    output = handshake.take_output()
    bounds = sorted({0, len(stream), *pieces})
    for start, end in zip(bounds, bounds[1:]):
        held += stream[start:end]
        while True:
            taken = handshake.receive(held, 0, len(held))
            del held[:taken]
            used += taken
            output += handshake.take_output()
            if handshake.question is None:
                break
            answer(handshake)
            output += handshake.take_output()
    return b''.join(output), used


class TestCase(unittest.TestCase):

    def setUp(self):
        self.handshake = nbd_handshake.Handshake()

    def start(self, flags=3):
        self.feed(client.pack_client_flags(flags))

    def feed(self, stream):
        output, used = run(self.handshake, stream)
        self.assertEqual(used, len(stream))
        return output

    def option(self, option, payload=b''):
        """The replies to an option: [(reply type, payload)]."""
        output = self.feed(client.pack_option(option, payload))
        replies = []
        position = 0
        while position < len(output):
            reply, position = client.unpack_option_reply(output, position,
                                                         len(output))
            self.assertEqual(reply.option, option)
            replies.append((reply.reply_type, reply.payload))
        return replies

    def refused(self, option, payload=b''):
        """The reply type of the refusal that an option meets."""
        (reply_type, text), = self.option(option, payload)
        self.assertTrue(text)
        self.assertIs(self.handshake.state, nbd_handshake.State.OPTION)
        return reply_type

    def refused_to_death(self, stream):
        with self.assertRaises(nbd.Violation):
            self.feed(stream)
        self.assertIs(self.handshake.state, nbd_handshake.State.CLOSED)
        self.assertTrue(self.handshake.reason)


class TestGreeting(TestCase):

    def test_greeting(self):
        output = self.feed(b'')
        self.assertEqual(output, b'NBDMAGICIHAVEOPT\0\3')
        self.assertEqual(client.unpack_greeting(output), 3)

    def test_unknown_client_flags(self):
        self.refused_to_death(client.pack_client_flags(4))

    def test_option_without_magic(self):
        self.start()
        self.refused_to_death(b'GET / HTTP/1.1\r\n\r\n')

    def test_no_options_but_one_without_fixed_newstyle(self):
        self.start(0)
        self.refused_to_death(client.pack_option(options.OPT_LIST))


class TestExportName(TestCase):
    """Clients from before OPT_GO."""

    def test_with_124_zeroes(self):
        self.start(1)
        output = self.feed(client.pack_option(1, b'vdi'))
        self.assertEqual(output, options.CHOSEN.pack(
            EXPORT.size, EXPORT.flags) + bytes(124))
        self.assertIs(self.handshake.state, nbd_handshake.State.TRANSMISSION)

    def test_without_zeroes(self):
        self.start(3)
        output = self.feed(client.pack_option(1, b'vdi'))
        self.assertEqual(len(output), 10)

    def test_without_fixed_newstyle(self):
        self.start(0)
        self.assertEqual(len(self.feed(client.pack_option(1, b'vdi'))), 134)

    def test_what_follows_is_not_ours(self):
        self.start()
        _output, used = run(self.handshake,
                            client.pack_option(1, b'vdi') + b'a request')
        self.assertEqual(used, 16 + 3)

    def test_unknown_name_closes(self):
        self.start()
        self.assertEqual(self.feed(client.pack_option(1, b'none')), b'')
        self.assertIs(self.handshake.state, nbd_handshake.State.CLOSED)

    def test_too_long_name_closes(self):
        self.start()
        run(self.handshake, client.pack_option(1, b'x' * 4097))
        self.assertIs(self.handshake.state, nbd_handshake.State.CLOSED)

    def test_name_that_is_no_text_closes(self):
        self.start()
        self.assertEqual(self.feed(client.pack_option(1, b'\xff')), b'')
        self.assertIs(self.handshake.state, nbd_handshake.State.CLOSED)


class TestOptions(TestCase):

    def setUp(self):
        super().setUp()
        self.start()

    def test_abort(self):
        self.assertEqual(self.option(options.OPT_ABORT),
                         [(options.REP_ACK, b'')])
        self.assertIs(self.handshake.state, nbd_handshake.State.CLOSED)

    def test_list(self):
        replies = self.option(options.OPT_LIST)
        self.assertEqual(replies[-1], (options.REP_ACK, b''))
        self.assertEqual(
            [payload[4:].decode() for _type, payload in replies[:-1]], NAMES)
        self.assertEqual(replies[0],
                         (options.REP_SERVER, b'\0\0\0\3vdi'))

    def test_list_takes_no_data(self):
        self.assertEqual(self.refused(options.OPT_LIST, b'x'),
                         nbd.REP_ERR_INVALID)

    def test_list_that_is_not_to_be_had(self):
        self.handshake.receive(
            client.pack_option(options.OPT_LIST), 0, 16)
        self.handshake.refuse(nbd.REP_ERR_SHUTDOWN, 'stopping')
        self.assertIs(self.handshake.state, nbd_handshake.State.OPTION)

    def test_unknown_options_are_unsupported_and_their_payload_consumed(self):
        for option in (4, 12, 999, 0xFFFFFFFF, options.OPT_EXTENDED_HEADERS):
            self.assertEqual(self.refused(option, b'p' * 1000),
                             nbd.REP_ERR_UNSUP)
        self.assertEqual(len(self.option(options.OPT_LIST)), len(NAMES) + 1)

    def test_a_giant_payload_goes_by_without_memory(self):
        header = options.OPTION.pack(options.OPTION_MAGIC, 77, 0xFFFFFFFF)
        self.feed(header)
        self.assertIs(self.handshake.state, nbd_handshake.State.DROPPING)
        piece = bytes(1 << 20)
        for _count in range(4095):
            self.assertEqual(
                self.handshake.receive(piece, 0, len(piece)), len(piece))
        self.assertEqual(self.handshake.receive(piece, 0, len(piece)),
                         len(piece) - 1)

    def test_known_options_may_be_too_big(self):
        self.assertEqual(
            self.refused(options.OPT_GO,
                         bytes(options.PAYLOAD_MAX_BYTES + 1)),
            nbd.REP_ERR_TOO_BIG)

    def test_starttls_is_unsupported(self):
        self.assertEqual(self.refused(options.OPT_STARTTLS),
                         nbd.REP_ERR_UNSUP)

    def test_structured_replies(self):
        self.assertFalse(self.handshake.structured)
        self.assertEqual(self.option(options.OPT_STRUCTURED_REPLY),
                         [(options.REP_ACK, b'')])
        self.assertTrue(self.handshake.structured)

    def test_structured_replies_take_no_data(self):
        self.assertEqual(self.refused(options.OPT_STRUCTURED_REPLY, b'x'),
                         nbd.REP_ERR_INVALID)
        self.assertFalse(self.handshake.structured)


class TestInfo(TestCase):

    def setUp(self):
        super().setUp()
        self.start()

    def test_info_leaves_the_choice_open(self):
        replies = self.option(options.OPT_INFO, client.pack_info('vdi'))
        self.assertEqual([kind for kind, _payload in replies],
                         [options.REP_INFO, options.REP_ACK])
        self.assertEqual(client.unpack_export(replies[0][1]),
                         (EXPORT.size, EXPORT.flags))
        self.assertIs(self.handshake.state, nbd_handshake.State.OPTION)

    def test_go_chooses(self):
        replies = self.option(options.OPT_GO, client.pack_info('vdi'))
        self.assertEqual(replies[-1], (options.REP_ACK, b''))
        self.assertIs(self.handshake.state, nbd_handshake.State.TRANSMISSION)

    def test_all_kinds_of_information(self):
        replies = self.option(options.OPT_INFO, client.pack_info(
            'vdi', (options.INFO_NAME, options.INFO_DESCRIPTION,
                    options.INFO_BLOCK_SIZE, 99)))
        self.assertEqual(
            [payload for _type, payload in replies[1:]],
            [b'\0\1vdi', b'\0\2a description',
             b'\0\3' + (1).to_bytes(4, 'big') + (4096).to_bytes(4, 'big') +
             (32 << 20).to_bytes(4, 'big'), b''])

    def test_df_is_offered_with_structured_replies_only(self):
        (_kind, payload), *_rest = self.option(options.OPT_INFO,
                                               client.pack_info('vdi'))
        self.assertFalse(client.unpack_export(payload)[1] & nbd.FLAG_SEND_DF)
        self.option(options.OPT_STRUCTURED_REPLY)
        (_kind, payload), *_rest = self.option(options.OPT_INFO,
                                               client.pack_info('vdi'))
        self.assertTrue(client.unpack_export(payload)[1] & nbd.FLAG_SEND_DF)

    def test_unknown_export(self):
        for option in (options.OPT_INFO, options.OPT_GO):
            self.assertEqual(self.refused(option, client.pack_info('none')),
                             nbd.REP_ERR_UNKNOWN)

    def test_names_up_to_4096_bytes_and_one_more(self):
        for option in (options.OPT_INFO, options.OPT_GO):
            self.assertEqual(
                self.refused(option, client.pack_info('x' * 4096)),
                nbd.REP_ERR_UNKNOWN)
            self.assertEqual(
                self.refused(option, client.pack_info('x' * 4097)),
                nbd.REP_ERR_TOO_BIG)

    def test_lengths_that_do_not_add_up(self):
        good = client.pack_info('vdi', (1, 2))
        for payload in (b'', good[:3], good[:-1], good + b'x', good + b'xx',
                        b'\xff' * 4 + good[4:]):
            self.assertEqual(self.refused(options.OPT_INFO, payload),
                             nbd.REP_ERR_INVALID)

    def test_a_name_that_is_no_text(self):
        self.assertEqual(
            self.refused(options.OPT_GO, b'\0\0\0\1\xff\0\0'),
            nbd.REP_ERR_INVALID)


class TestContexts(TestCase):

    def setUp(self):
        super().setUp()
        self.start()

    def select(self, name='vdi', queries=(nbd.CONTEXT_ALLOCATION,),
               option=options.OPT_SET_META_CONTEXT):
        return self.option(option, client.pack_contexts(name, queries))

    def go(self, name='vdi'):
        self.option(options.OPT_GO, client.pack_info(name))
        return self.handshake.has_allocation

    def test_structured_replies_come_first(self):
        for option in (options.OPT_LIST_META_CONTEXT,
                       options.OPT_SET_META_CONTEXT):
            self.assertEqual(
                self.refused(option, client.pack_contexts('vdi')),
                nbd.REP_ERR_INVALID)
        self.assertFalse(self.go())

    def test_selected(self):
        self.option(options.OPT_STRUCTURED_REPLY)
        self.assertEqual(
            self.select(queries=('x:y', 'base:allocation')),
            [(options.REP_META_CONTEXT, b'\0\0\0\1base:allocation'),
             (options.REP_ACK, b'')])
        self.assertTrue(self.go())

    def test_selected_before_export_name(self):
        self.option(options.OPT_STRUCTURED_REPLY)
        self.select()
        self.feed(client.pack_option(1, b'vdi'))
        self.assertTrue(self.handshake.has_allocation)

    def test_selected_for_another_export(self):
        self.option(options.OPT_STRUCTURED_REPLY)
        self.select()
        go = client.pack_option(options.OPT_GO, client.pack_info('other'))
        self.handshake.receive(go, 0, len(go))
        self.handshake.accept(EXPORT._replace(name='other'))
        self.assertFalse(self.handshake.has_allocation)

    def test_the_last_selection_counts(self):
        self.option(options.OPT_STRUCTURED_REPLY)
        self.select()
        self.assertEqual(self.select(queries=()), [(options.REP_ACK, b'')])
        self.assertFalse(self.go())

    def test_a_selection_that_fails_counts_too(self):
        self.option(options.OPT_STRUCTURED_REPLY)
        self.select()
        self.assertEqual(self.refused(options.OPT_SET_META_CONTEXT, b''),
                         nbd.REP_ERR_INVALID)
        self.assertFalse(self.go())

    def test_of_an_unknown_export(self):
        self.option(options.OPT_STRUCTURED_REPLY)
        self.select()
        self.assertEqual(
            self.refused(options.OPT_SET_META_CONTEXT,
                         client.pack_contexts('none')),
            nbd.REP_ERR_UNKNOWN)
        self.assertFalse(self.go())

    def test_list(self):
        self.option(options.OPT_STRUCTURED_REPLY)
        for queries in (), ('base:',), ('base:allocation', 'x:'):
            replies = self.select(queries=queries,
                                  option=options.OPT_LIST_META_CONTEXT)
            self.assertEqual(len(replies), 2)
        self.assertEqual(
            self.select(queries=('qemu:',),
                        option=options.OPT_LIST_META_CONTEXT),
            [(options.REP_ACK, b'')])
        self.assertFalse(self.go())

    def test_only_a_list_goes_by_namespace(self):
        self.option(options.OPT_STRUCTURED_REPLY)
        self.assertEqual(self.select(queries=('base:',)),
                         [(options.REP_ACK, b'')])

    def test_queries_up_to_4096_bytes_and_one_more(self):
        self.option(options.OPT_STRUCTURED_REPLY)
        self.assertEqual(self.select(queries=('x:' * 2048,)),
                         [(options.REP_ACK, b'')])
        self.assertEqual(
            self.refused(options.OPT_SET_META_CONTEXT, client.pack_contexts(
                'vdi', ('x' * 4097,))), nbd.REP_ERR_TOO_BIG)

    def test_lengths_that_do_not_add_up(self):
        self.option(options.OPT_STRUCTURED_REPLY)
        good = client.pack_contexts('vdi')
        for payload in (b'', good[:-1], good + b'x', good[:6],
                        good[:7] + b'\xff' * 4 + good[11:]):
            self.assertEqual(
                self.refused(options.OPT_SET_META_CONTEXT, payload),
                nbd.REP_ERR_INVALID)


class TestTls(TestCase):
    """The seam: what the machine does once a face has certificates."""

    def test_starttls_resets_every_option(self):
        self.handshake = nbd_handshake.Handshake(nbd_handshake.Tls.OFFERED)
        self.start()
        self.option(options.OPT_STRUCTURED_REPLY)
        self.option(options.OPT_SET_META_CONTEXT,
                    client.pack_contexts('vdi'))
        self.assertEqual(self.option(options.OPT_STARTTLS),
                         [(options.REP_ACK, b'')])
        self.assertTrue(self.handshake.is_encrypted)
        self.assertFalse(self.handshake.structured)
        self.option(options.OPT_GO, client.pack_info('vdi'))
        self.assertFalse(self.handshake.has_allocation)

    def test_bytes_in_clear_behind_starttls(self):
        self.handshake = nbd_handshake.Handshake(nbd_handshake.Tls.OFFERED)
        self.start()
        self.refused_to_death(client.pack_option(options.OPT_STARTTLS) +
                              client.pack_option(options.OPT_LIST))

    def test_starttls_once(self):
        self.handshake = nbd_handshake.Handshake(nbd_handshake.Tls.OFFERED)
        self.start()
        self.option(options.OPT_STARTTLS)
        self.assertEqual(self.refused(options.OPT_STARTTLS),
                         nbd.REP_ERR_INVALID)

    def test_required(self):
        self.handshake = nbd_handshake.Handshake(nbd_handshake.Tls.REQUIRED)
        self.start()
        for option in (options.OPT_LIST, options.OPT_GO, 999):
            self.assertEqual(self.refused(option, b'x'),
                             nbd.REP_ERR_TLS_REQD)
        self.option(options.OPT_STARTTLS)
        self.assertEqual(len(self.option(options.OPT_LIST)), len(NAMES) + 1)

    def test_required_closes_on_export_name(self):
        self.handshake = nbd_handshake.Handshake(nbd_handshake.Tls.REQUIRED)
        self.start()
        run(self.handshake, client.pack_option(1, b'vdi'))
        self.assertIs(self.handshake.state, nbd_handshake.State.CLOSED)


class TestAnswers(TestCase):

    def test_an_answer_without_a_question_is_a_bug(self):
        with self.assertRaises(AssertionError):
            self.handshake.accept(EXPORT)

    def test_long_texts_are_cut_between_characters(self):
        self.assertEqual(nbd.encode_text('é' * 3000), 'é'.encode() * 2048)
        self.assertEqual(nbd.encode_text('x' + 'é' * 3000),
                         b'x' + 'é'.encode() * 2047)


OPTION_STREAMS = strategies.one_of(
    strategies.binary(max_size=200),
    strategies.builds(
        client.pack_option,
        strategies.one_of(strategies.integers(0, 12),
                          strategies.integers(0, 0xFFFFFFFF)),
        strategies.one_of(
            strategies.binary(max_size=60),
            strategies.builds(
                client.pack_info, strategies.sampled_from(('vdi', '', 'x')),
                strategies.lists(strategies.integers(0, 5), max_size=4)),
            strategies.builds(
                client.pack_contexts,
                strategies.sampled_from(('vdi', '', 'x')),
                strategies.lists(strategies.sampled_from(
                    ('base:', 'base:allocation', 'x:')), max_size=3)))))


class TestAnything(unittest.TestCase):

    def outcome(self, tls, stream, pieces):
        """All that can be seen of a handshake that got this stream."""
        handshake = nbd_handshake.Handshake(tls)
        try:
            output, used = run(handshake, stream, pieces)
        except nbd.Violation as violation:
            self.assertIs(handshake.state, nbd_handshake.State.CLOSED)
            return str(violation)
        return (output, used, handshake.state, handshake.structured,
                handshake.has_allocation, handshake.room_bytes)

    @hypothesis.settings(deadline=None, max_examples=300)
    @hypothesis.given(
        strategies.sampled_from((nbd_handshake.Tls.NONE,
                                 nbd_handshake.Tls.REQUIRED)),
        strategies.lists(OPTION_STREAMS, max_size=6),
        strategies.lists(strategies.integers(0, 500), max_size=20))
    def test_cuts_make_no_difference_and_garbage_is_a_violation(
            self, tls, parts, pieces):
        stream = client.pack_client_flags() + b''.join(parts)
        pieces = [piece for piece in pieces if piece < len(stream)]
        self.assertEqual(self.outcome(tls, stream, pieces),
                         self.outcome(tls, stream, ()))

    @hypothesis.settings(deadline=None, max_examples=200)
    @hypothesis.given(strategies.binary(max_size=300))
    def test_garbage_from_the_first_byte(self, stream):
        self.outcome(nbd_handshake.Tls.NONE, stream, ())
        self.outcome(nbd_handshake.Tls.NONE, stream, range(len(stream)))
