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

"""Attributes of VDIs, for tools (see ``cluster.attributes``)."""

from sheepdog.model import errors


class Attributes:
    """Keys come in hexadecimal digits, values in base 64."""

    def __init__(self, cluster):
        self.cluster = cluster

    async def set(self, name, key, value='', exclusive=False, delete=False,
                  operation_id=''):
        """
        :raises VdiExists: it is to be created, and there is one
        :raises NoObject: it is to be deleted, and there is none
        :raises NoVdi, NoSpace, InvalidParameters:
        """
        await self.cluster.execute('attribute', {
            'action': 'set', 'name': name, 'key': key,
            'value': None if delete else value,
            'exclusive': exclusive}, operation_id)

    async def get(self, name, key):
        """``value``.

        :raises NoObject: there is none
        :raises NoVdi:
        """
        return await self._ask({'action': 'get', 'name': name, 'key': key})

    async def list(self, name):
        """``keys``.

        :raises NoVdi:
        """
        return await self._ask({'action': 'list', 'name': name})

    async def _ask(self, arguments):
        """Of who decides about changes: what it says is so everywhere."""
        found = await self.cluster.execute('attribute', arguments)
        if not self.cluster.serving():
            raise errors.NotServing('this sheep lost its place in the '
                                    'cluster: try again')
        return found
