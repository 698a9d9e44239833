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

import asyncio
import types
import unittest

from sheepdog.cluster import entries
from sheepdog.placement import redundancy
from sheepdog.testing import alterations


class Catalogue:
    """Answers in the order in which it is told to; done in another."""

    def __init__(self):
        self.answers = []

    def find(self, name):
        return types.SimpleNamespace(created=7)

    async def alter_copies(self, name, copies, force, copy_policy):
        self.answers.append(asyncio.get_running_loop().create_future())
        await self.answers[-1]


class JudgeTest(unittest.IsolatedAsyncioTestCase):

    def setUp(self):
        self.catalogue = Catalogue()
        self.node = types.SimpleNamespace(sheep=types.SimpleNamespace(
            catalogue=self.catalogue))
        self.alterations = alterations.Alterations(
            types.SimpleNamespace(simulation=types.SimpleNamespace(
                trace=None)), None, alterations.AlterationSettings(1.0),
            None, 'seed')

    async def ask(self, copies):
        task = asyncio.ensure_future(
            self.alterations._answered(self.node, 'v',
                                       redundancy.Policy(copies)))
        await asyncio.sleep(0)
        return task

    def judge(self, copies):
        entry = entries.VdiEntry(1, 'v', created=7, copies=copies)
        return self.alterations.judge(types.SimpleNamespace(
            vdis={1: entry}, lookup=lambda name: entry))

    async def test_what_was_done_last_counts(self):
        for copies in (2, 4):
            task = await self.ask(copies)
            self.catalogue.answers[-1].set_result(None)
            await task
        self.assertEqual([], self.judge(4))
        self.assertEqual(['v has Policy(copies=2, copy_policy=0), not '
                          'Policy(copies=4, copy_policy=0)'], self.judge(2))

    async def test_of_two_at_once_nobody_knows(self):
        tasks = [await self.ask(2), await self.ask(4)]
        for answer in self.catalogue.answers:
            answer.set_result(None)
        await asyncio.gather(*tasks)
        self.assertEqual([], self.judge(2))
        self.assertEqual([], self.judge(4))
