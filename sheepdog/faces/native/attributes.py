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

import asyncio

from sheepdog.cluster import decisions
from sheepdog.model import errors

ATTEMPTS = 20
PAUSE_SECONDS = 0.01


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
        """Of the leader, and of what we know. We have heard of all that was
        acknowledged, perhaps of what will not be; the leader says nothing
        that is not decided, but may be one no more. What both say was so
        while they were asked."""
        for attempt in range(ATTEMPTS):
            said = await _outcome(self.cluster.execute(
                'attribute', arguments))
            if not self.cluster.serving():
                raise errors.NotServing('this sheep lost its place in the '
                                        'cluster: try again')
            known = await _outcome(self._look(arguments))
            if _shown(said) == _shown(known):
                if isinstance(said, errors.SheepdogError):
                    raise said
                return said
            await asyncio.sleep(PAUSE_SECONDS * (attempt + 1))
        raise errors.NotServing('the attributes of VDI %s are being changed '
                                'all the time' % arguments['name'])

    async def _look(self, arguments):
        return decisions.look_at_attributes(arguments, self.cluster.state)


async def _outcome(coroutine):
    """What it returns, or the error that is an answer, too."""
    try:
        return await coroutine
    except errors.SheepdogError as exc:
        if exc.retry:
            raise
        return exc


def _shown(outcome):
    if isinstance(outcome, errors.SheepdogError):
        return outcome.result
    return outcome
