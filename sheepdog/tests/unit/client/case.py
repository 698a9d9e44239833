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

"""Tests of the client library against two sheep that only seem to be."""

import unittest

from sheepdog.client import client
from sheepdog.testing import fake_sheep


class ClientCase(unittest.TestCase):
    timeout_seconds = 5.0

    def setUp(self):
        self.cluster = fake_sheep.FakeCluster()
        self.sheep = [fake_sheep.FakeSheep(self.cluster) for _ in range(2)]
        for sheep in self.sheep:
            sheep.start()
            self.addCleanup(sheep.stop)
        self.client = client.Client(
            [sheep.address for sheep in self.sheep],
            timeout=self.timeout_seconds)
        self.addCleanup(self.client.close)
