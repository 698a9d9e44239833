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

import os
import types
import unittest

from bench import soak


def samples(*sheep):
    return [{'resident': [(now * 1e6, now * 1e6 + 5e6) for now in sizes]}
            for sizes in zip(*sheep)]


class SoakTest(unittest.IsolatedAsyncioTestCase):

    def test_highest(self):
        self.assertEqual(75, soak.highest_mb(samples([60, 70, 50],
                                                     [60, 61, 62])))

    def test_growth(self):
        flat = [50, 80, 60, 61, 60, 59, 61, 60, 60]
        # Up and down with the loads; where it happens to stand is chance.
        swinging = [77, 77, 84, 77, 85, 77, 84, 84, 84]
        for sizes, wanted in ((flat, 0), (swinging, 0),
                              ([60] * 6 + [75] * 3, 15),
                              (list(range(50, 59)), 3),
                              ([90, 90, 90, 60, 60, 60, 55, 55, 55], -5)):
            # The one that grew most counts.
            found = soak.growth_mb(samples([40] * 9, sizes))
            self.assertAlmostEqual(max(0, wanted), found)
        self.assertEqual(0, soak.growth_mb(samples([60])))

    async def test_whole_rounds(self):
        class Flood:
            async def run(self, warmup, seconds, sample):
                return types.SimpleNamespace(operations=3)

        seen, noted = [], []
        client = types.SimpleNamespace(
            flood=lambda load: seen.append(load) or Flood())
        result = await soak.run(client, [os.getpid()], 0.0,
                                note=noted.append)
        self.assertEqual(list(soak.LOADS), seen)
        self.assertEqual(result['samples'], noted)
        self.assertEqual(3 * len(seen), result['operations'])
        self.assertGreater(result['highest_mb'], 1)
