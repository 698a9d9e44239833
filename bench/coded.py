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

"""What a strip costs beside a copy: six sheep, 4:2 and three copies.

Long sequential requests, one VDI after the other on the same cluster, over
content that is there already. What the sheep spend when nobody asks is in
the numbers, as it is in those of the other rows.
"""

from bench import cluster as cluster_module
from bench import native
from bench import rows
from sheepdog.placement import redundancy

SHEEP = 6
POLICIES = ('4:2', '3')
DEPTHS = (1, 4)
SIZE_BYTES = 1 << 20


def all_rows() -> list:
    return [rows.Row('native', False, is_write, False, SIZE_BYTES, depth)
            for is_write in (True, False) for depth in DEPTHS]


def name_of(policy: str, row: rows.Row) -> str:
    return '%s %s' % (policy if ':' in policy else policy + ' copies',
                      row.name.partition(' ')[2])


async def measure(cluster, options, note) -> list:
    """Each row's numbers (see ``rows.measure``); ``note`` is called with
    them as they come."""
    found = []
    for policy in POLICIES:
        vdi = 'bench-' + policy.replace(':', '-')
        cluster.create(vdi, options.size, *redundancy.parse(policy))
        client = await native.NativeClient.open(
            cluster_module.HOST, cluster.sheep[0].port, vdi)
        await client.fill()
        await rows.settle(cluster.pids)
        for row in all_rows():
            result = await rows.measure(client, row, cluster.pids,
                                        options.seconds, options.warmup)
            result['name'] = name_of(policy, row)
            note(result)
            found.append(result)
        await client.close()
    return found
