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

"""Tests of sheepdog.wire.hello: who gets in, and who does not."""

import json
import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.model import errors
from sheepdog.model import keys
from sheepdog.model import limits
from sheepdog.wire import hello
from sheepdog.wire import peer as wire

OLD = keys.Key('0000000a', b'o' * 32)
NEW = keys.Key('0000000b', b'n' * 32)
RING = keys.Keyring((OLD,))
NONCES = (b'c' * 32, b's' * 32)
TAG = 0x00050007


def client_of(ring=RING, role='peer', **options):
    return hello.ClientHello(
        role, 'ours.1', 'theirs.2' if role == 'peer' else '', ring,
        NONCES[0] if ring else b'', **options)


def same(_step, payload):
    return payload


def talk(client, ring=RING, change=same, server_ring=None, bound=b''):
    """All four payloads; ``change`` gets each on its way, and its number.

    :returns: the server's side
    """
    server = hello.ServerHello('theirs.2', bound)
    server.open(change(1, client.opening))
    challenge = server.challenge(server_ring or ring, NONCES[1])
    proof = client.take(change(2, challenge))
    end = server.check(change(3, proof), TAG)
    client.take(change(4, end))
    return server


class AgreementTest(unittest.TestCase):

    def test_both_know_the_key(self):
        for role in hello.ROLES:
            client = client_of(role=role)
            server = talk(client)
            self.assertEqual((role, 'ours.1', OLD.id), (
                server.role, server.incarnation, server.key_id))
            self.assertEqual(('theirs.2', TAG),
                             (client.incarnation, client.tag))
            self.assertEqual(client.seals, server.seals[::-1])
            self.assertNotEqual(*client.seals)

    def test_no_proof_asked_for(self):
        client = client_of(None)
        server = hello.ServerHello('theirs.2')
        server.open(client.opening)
        self.assertFalse(server.offers_proof)
        self.assertIsNone(client.take(server.welcome(TAG)))
        self.assertEqual((TAG, None, None),
                         (client.tag, client.seals, server.seals))

    def test_keys_of_a_connection_are_its_own(self):
        one = talk(client_of()).seals
        server = hello.ServerHello('theirs.2')
        client = client_of()
        server.open(client.opening)
        client.take(server.challenge(RING, b'x' * 32))
        server.check(wire.pack_json({'proof': hello._code(
            OLD, hello._CLIENT_PROOF, server._said).hex()}), TAG)
        self.assertFalse(set(one) & set(server.seals))

    def test_each_use_has_a_label(self):
        labels = [hello._TRANSCRIPT, hello._CLIENT_PROOF,
                  hello._SERVER_PROOF, hello._CLIENT_SEAL,
                  hello._SERVER_SEAL]
        for one in labels:
            self.assertEqual([one], [label for label in labels
                                     if label.startswith(one)])

    def test_during_a_change_of_keys(self):
        """Any two that have a key in common talk."""
        rings = {name: keys.Keyring(those) for name, those in (
            ('before', (OLD,)), ('between', (NEW, OLD)), ('after', (NEW,)))}
        for one in rings:
            for other in rings:
                with self.subTest(client=one, server=other):
                    client = client_of(rings[one])
                    if {one, other} == {'before', 'after'}:
                        with self.assertRaises(errors.AccessRefused):
                            talk(client, rings[other])
                        continue
                    talk(client, rings[other])
                    self.assertIsNotNone(client.seals)

    def test_the_current_key_goes_first(self):
        both = keys.Keyring((NEW, OLD))
        self.assertEqual(NEW.id, talk(client_of(both), both).key_id)


class BindingTest(unittest.TestCase):
    """Under TLS."""

    def test_both_have_seen_the_same(self):
        bound = hello.binding(b'client', b'server')
        client = client_of(bound=bound)
        server = talk(client, bound=bound)
        self.assertEqual(client.seals, server.seals[::-1])
        clear = client_of()
        talk(clear)
        self.assertNotEqual(clear.seals, client.seals)

    def test_somebody_in_between(self):
        """He has a certificate, too: each of the two sees his."""
        for ours, theirs in (
                (hello.binding(b'client', b'his'),
                 hello.binding(b'his', b'server')),
                (hello.binding(b'client', b'his'),
                 hello.binding(b'client', b'server')),
                (hello.binding(b'client', b'server'),
                 hello.binding(b'server', b'client'))):
            client = client_of(bound=ours)
            with self.assertRaisesRegex(errors.AccessRefused, 'proof'):
                talk(client, bound=theirs)
            self.assertIsNone(client.seals)

    def test_a_server_that_lets_him_pass_is_found_out(self):
        """The client looks for itself."""
        client = client_of(bound=hello.binding(b'client', b'his'))
        server = hello.ServerHello('theirs.2',
                                   hello.binding(b'client', b'server'))
        server.open(client.opening)
        client.take(server.challenge(RING, NONCES[1]))
        proof = hello._code(OLD, hello._CLIENT_PROOF, server._said)
        end = server.check(wire.pack_json({'proof': proof.hex()}), TAG)
        with self.assertRaisesRegex(errors.AccessRefused, 'not prove'):
            client.take(end)

    def test_only_one_of_them(self):
        bound = hello.binding(b'client', b'server')
        with self.assertRaisesRegex(errors.AccessRefused, 'earlier release'):
            talk(client_of(), bound=bound)
        with self.assertRaisesRegex(errors.AccessRefused, 'in between'):
            talk(client_of(bound=bound))

    def test_an_answer_of_one_of_them_only(self):
        bound = hello.binding(b'client', b'server')

        def strip(step, payload):
            if step == 2:
                message = wire.unpack_json(payload)
                del message['binding']
                return wire.pack_json(message)
            return payload

        with self.assertRaisesRegex(errors.AccessRefused, 'earlier release'):
            talk(client_of(bound=bound), bound=bound, change=strip)


class RefusalTest(unittest.TestCase):

    def assert_refused(self, client, **options):
        with self.assertRaises(errors.SheepdogError):
            talk(client, **options)
        self.assertIsNone(client.seals)

    def test_another_secret(self):
        other = keys.Keyring((keys.Key(OLD.id, b'x' * 32),))
        with self.assertRaisesRegex(errors.AccessRefused, 'proof is wrong'):
            talk(client_of(other))

    def test_an_unknown_key(self):
        with self.assertRaisesRegex(errors.AccessRefused, NEW.id):
            talk(client_of(keys.Keyring((NEW,))))

    def test_a_server_that_does_not_know_it(self):
        """It can guess no proof, and turn none of ours into its own."""
        for forge in (lambda proof: {},
                      lambda proof: {'proof': '00' * 32},
                      lambda proof: {'proof': json.loads(proof)['proof']}):
            client = client_of()
            proof = client.take(wire.pack_json({
                'incarnation': 'theirs.2', 'nonce': '11' * 32,
                'key': OLD.id}))
            with self.assertRaisesRegex(errors.AccessRefused, 'not prove'):
                client.take(wire.pack_json(dict(forge(proof), tag=TAG)))
            self.assertIsNone(client.seals)

    def test_every_bit_of_what_is_said(self):
        """Changed on its way, nobody believes it."""
        for step in (1, 2, 3, 4):
            lengths = {}
            talk(client_of(), change=lambda number, payload: (
                lengths.update({number: len(payload)}) or payload))
            for bit in range(8 * lengths[step]):
                def flip(number, payload, step=step, bit=bit):
                    if number != step:
                        return payload
                    changed = bytearray(payload)
                    changed[bit // 8] ^= 1 << bit % 8
                    return bytes(changed)

                client = client_of()
                try:
                    server = talk(client, change=flip)
                except errors.SheepdogError:
                    # The server may have come to its end before: it has
                    # heard the right proof.
                    self.assertIsNone(client.seals)
                else:
                    # A capital digit, or a letter in a name that is not
                    # there: the same thing was said.
                    self.assertEqual((3, 4).count(step), 1)
                    self.assertEqual(client.seals, server.seals[::-1])
                    self.assertEqual(TAG, client.tag)

    def test_fields_replaced(self):
        """By somebody in the middle who can write JSON."""
        for step, field, value in (
                (1, 'role', 'tool'), (1, 'incarnation', 'evil.1'),
                (1, 'nonce', '22' * 32), (1, 'keys', [NEW.id]),
                (1, 'for', 'other.1'), (1, 'more', 1),
                (2, 'incarnation', 'other.1'), (2, 'nonce', '22' * 32),
                (2, 'key', NEW.id), (2, 'more', 1), (4, 'tag', 9)):
            def replace(number, payload, step=step, field=field,
                        value=value):
                if number != step:
                    return payload
                return wire.pack_json(dict(json.loads(payload),
                                           **{field: value}))

            with self.subTest(step=step, field=field):
                self.assert_refused(client_of(keys.Keyring((OLD, NEW))),
                                    server_ring=keys.Keyring((OLD, NEW)),
                                    change=replace)

    def test_a_proof_of_before(self):
        """Recorded from another connection."""
        said = {}
        talk(client_of(), change=lambda number, payload: (
            said.update({number: payload}) or payload))
        server = hello.ServerHello('theirs.2')
        server.open(said[1])
        server.challenge(RING, b't' * 32)
        with self.assertRaises(errors.AccessRefused):
            server.check(said[3], TAG)
        self.assertIsNone(server.seals)

    def test_reflection(self):
        """A sheep is asked for the proof that it asks of us."""
        victim = client_of()
        oracle = client_of()
        # What it says as a client is given to it as a server's answer.
        mirrored = dict(json.loads(victim.opening), incarnation='theirs.2',
                        key=OLD.id)
        proof = oracle.take(wire.pack_json(mirrored))
        victim.take(wire.pack_json(mirrored))
        with self.assertRaises(errors.AccessRefused):
            victim.take(wire.pack_json(
                {'tag': TAG, 'proof': json.loads(proof)['proof']}))
        # And its own opening is not for itself.
        server = hello.ServerHello('ours.1')
        with self.assertRaises(errors.NotServing):
            server.open(victim.opening)

    def test_downgrade(self):
        """Who has a key does without proof only where that is meant."""
        welcome = wire.pack_json({'incarnation': 'theirs.2', 'tag': TAG})
        client = client_of()
        with self.assertRaisesRegex(errors.AccessRefused, 'not prove'):
            client.take(welcome)
        client = client_of(is_proof_due=False)
        self.assertIsNone(client.take(welcome))
        server = hello.ServerHello('theirs.2')
        opening = json.loads(client_of().opening)
        for field in ('nonce', 'keys'):
            server = hello.ServerHello('theirs.2')
            server.open(wire.pack_json({
                name: value for name, value in opening.items()
                if name != field}))
            with self.assertRaisesRegex(errors.AccessRefused, 'asks for'):
                server.challenge(RING, NONCES[1])

    def test_asked_without_a_key(self):
        client = client_of(None)
        with self.assertRaisesRegex(errors.AccessRefused, 'none was'):
            client.take(wire.pack_json({
                'incarnation': 'theirs.2', 'nonce': '11' * 32,
                'key': OLD.id}))

    def test_a_proof_in_the_first_round(self):
        server = hello.ServerHello('theirs.2')
        server.open(wire.pack_json(dict(
            json.loads(client_of().opening), proof='00' * 32)))
        self.assertIsNone(server.seals)

    def test_no_challenge_no_check(self):
        server = hello.ServerHello('theirs.2')
        server.open(client_of().opening)
        with self.assertRaises(AssertionError):
            server.check(b'{}', TAG)

    def test_who_is_not_welcome(self):
        good = json.loads(client_of(None).opening)
        for error, changes in (
                (errors.VersionMismatch, {'protocol': wire.VERSION + 1}),
                (errors.VersionMismatch, {'protocol': None}),
                (errors.InvalidParameters, {'role': 'king'}),
                (errors.InvalidParameters, {'role': ['peer']}),
                (errors.NotServing, {'for': 'theirs.1'}),
                (errors.InvalidParameters,
                 {'more': 'x' * limits.HELLO_MAX_BYTES})):
            with self.subTest(changes), self.assertRaises(error):
                hello.ServerHello('theirs.2').open(
                    wire.pack_json(dict(good, **changes)))

    @hypothesis.given(strategies.dictionaries(
        strategies.sampled_from(('nonce', 'keys', 'incarnation')),
        strategies.recursive(
            strategies.none() | strategies.integers(-2 ** 63, 2 ** 64 - 1)
            | strategies.text(max_size=70),
            lambda inner: strategies.lists(inner, max_size=9),
            max_leaves=9)))
    @hypothesis.settings(deadline=None, max_examples=100)
    def test_nonsense_is_refused_in_order(self, fields):
        server = hello.ServerHello('theirs.2')
        server.open(wire.pack_json(dict(
            json.loads(client_of().opening), **fields)))
        try:
            server.challenge(RING, NONCES[1])
        except errors.AccessRefused:
            pass
        client = client_of()
        try:
            client.take(wire.pack_json(dict(
                {'incarnation': 'theirs.2', 'nonce': '11' * 32,
                 'key': OLD.id}, **fields)))
        except errors.SheepdogError:
            pass
        self.assertIsNone(client.seals)
