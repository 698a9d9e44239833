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

import uvloop

from bench import cluster as cluster_module
from bench import marks
from bench import native
from bench import soak
from sheepdog.tests.functional import case

SECONDS = 15.0
EACH_SECONDS = 0.8
VDI_BYTES = 64 << 20


class MemoryTest(case.DirectoryCase):

    def test_it_is_little_and_does_not_grow(self):
        with cluster_module.Cluster(self.directory) as cluster:
            cluster.start()
            cluster.form()
            cluster.create('load', VDI_BYTES)
            found = uvloop.run(self.load(cluster))
        self.assertTrue(found['operations'])
        self.assertLessEqual(found['highest_mb'], marks.RESIDENT_MB,
                             found['samples'])
        self.assertLessEqual(found['growth_mb'], marks.GROWTH_MB,
                             found['samples'])

    async def load(self, cluster):
        client = await native.NativeClient.open(
            cluster_module.HOST, cluster.sheep[0].port, 'load')
        await client.fill()
        found = await soak.run(client, cluster.pids, SECONDS, EACH_SECONDS)
        await client.close()
        return found
