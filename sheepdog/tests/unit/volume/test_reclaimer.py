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

import random
import types
import unittest

from sheepdog.cluster import family
from sheepdog.volume import reclaimer


class HeirsTest(unittest.TestCase):

    def test_all_that_came_from_a_deleted_vdi(self):
        for seed in range(50):
            chance = random.Random(seed)
            vdis = {}
            for vdi_id in chance.sample(range(1, 100), 40):
                vdis[vdi_id] = types.SimpleNamespace(
                    parent=chance.choice([0, *vdis]) if vdis else 0,
                    deleted=chance.random() < 0.4,
                    pending=chance.choice(('', '', '', 'somebody')))
            deleted = {vdi_id for vdi_id, entry in vdis.items()
                       if entry.deleted and chance.random() < 0.8}
            expected = {vdi_id for vdi_id, entry in vdis.items()
                        if not (entry.deleted or entry.pending)
                        and family.came_from(vdis, entry) & deleted}
            self.assertEqual(expected, reclaimer._heirs(vdis, deleted))
