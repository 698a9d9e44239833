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

import itertools
import random
import unittest

import hypothesis
from hypothesis import strategies

from sheepdog.erasure import codec
from sheepdog.placement import redundancy
from sheepdog.tests.unit.erasure import plain_code

policies = strategies.tuples(strategies.sampled_from((2, 4, 8, 16)),
                             strategies.integers(1, 15))


def content_of(seed, stripes):
    return random.Random(seed).randbytes(stripes * plain_code.STRIPE_BYTES)


class CodecTest(unittest.TestCase):

    @hypothesis.given(policies, strategies.integers(1, 3),
                      strategies.integers(0, 1000))
    @hypothesis.settings(deadline=None, max_examples=25)
    def test_encodes_as_the_plain_code_does(self, policy, stripes, seed):
        content = content_of(seed, stripes)
        self.assertEqual(plain_code.encode(content, *policy),
                         codec.codec_of(*policy).encode(content))

    @hypothesis.given(policies, strategies.integers(1, 3),
                      strategies.integers(0, 1000), strategies.data())
    @hypothesis.settings(deadline=None, max_examples=25)
    def test_restores_what_any_d_strips_tell(self, policy, stripes, seed,
                                             draw):
        data, parity = policy
        content = content_of(seed, stripes)
        code = codec.codec_of(data, parity)
        strips = dict(enumerate(code.encode(content)))
        kept = draw.draw(strategies.permutations(list(strips)))[:data]
        left = {index: strips[index] for index in kept}
        self.assertEqual(content, plain_code.decode(left, data))
        self.assertEqual(content, code.decode(left))
        self.assertEqual(strips, code.restore(left, range(data + parity)))

    def test_what_is_long_is_encoded_in_pieces(self):
        content = content_of(3, 40)
        code = codec.codec_of(4, 2)
        for buffer in content, memoryview(content):
            pieces = code.encode_pieces(buffer)
            self.assertEqual([3] * 6, [len(strip) for strip in pieces])
            self.assertEqual(plain_code.encode(content, 4, 2),
                             [b''.join(strip) for strip in pieces])

    def test_every_pattern_of_small_policies(self):
        for data, parity in ((2, 1), (2, 2), (2, 5), (4, 2), (4, 6)):
            code = codec.codec_of(data, parity)
            content = content_of(data, 2)
            strips = dict(enumerate(code.encode(content)))
            for kept in itertools.combinations(strips, data):
                left = {index: strips[index] for index in kept}
                self.assertEqual(strips, code.restore(left, strips),
                                 (data, parity, kept))

    def test_every_policy_restores_from_its_last_strips(self):
        for data in redundancy.DATA_STRIPS:
            for parity in range(1, redundancy.PARITY_STRIPS_MAX + 1):
                code = codec.codec_of(data, parity)
                content = content_of(parity, 1)
                strips = dict(enumerate(code.encode(content)))
                left = dict(list(strips.items())[parity:])
                self.assertEqual(content, code.decode(left), (data, parity))

    def test_stripes_do_not_mix(self):
        code = codec.codec_of(4, 2)
        first, second = content_of(1, 1), content_of(2, 1)
        apart = zip(code.encode(first), code.encode(second))
        self.assertEqual([a + b for a, b in apart],
                         code.encode(first + second))

    def test_zeroes_encode_to_zeroes(self):
        for strip in codec.codec_of(8, 3).encode(bytes(8192)):
            self.assertEqual(bytes(1024), strip)

    def test_any_buffer_will_do(self):
        code = codec.codec_of(4, 2)
        content = content_of(3, 2)
        strips = code.encode(content)
        self.assertEqual(strips, code.encode(bytearray(content)))
        self.assertEqual(strips, code.encode(memoryview(content)))
        for stripes in (1, 2):
            part = memoryview(content)[:4096 * stripes]
            strips = code.encode(part)
            self.assertTrue(all(type(s) is bytes for s in strips))
            left = {index: memoryview(strips[index]) for index in range(2, 6)}
            self.assertEqual(part, code.decode(left))
            self.assertEqual(part, code.join(
                [memoryview(strip) for strip in strips[:4]]))

    def test_too_few_strips_are_a_bug(self):
        code = codec.codec_of(4, 2)
        strips = code.encode(bytes(4096))
        with self.assertRaises(AssertionError):
            code.restore({0: strips[0], 1: strips[1], 2: strips[2]}, [3])
