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

"""Limits of VDIs, for tools (see ``cluster.qos``)."""

from sheepdog.cluster import qos


class Limits:
    def __init__(self, cluster, catalogue, throttles):
        self.cluster = cluster
        self.catalogue = catalogue
        self.throttles = throttles

    async def set(self, name, changes='', clear=False,
                  operation_id=''):
        """``limits`` that the VDI has now: kind → [rate, burst].

        :param changes: see ``qos.parse_changes``
        :param clear: nothing of what there was stays
        :raises NoVdi, InvalidParameters:
        """
        return await self.cluster.execute('qos', {
            'name': name, 'changes': qos.parse_changes(changes),
            'clear': clear}, operation_id)

    async def list(self, name=''):
        """Of all VDIs with limits, or of that one: ``name``, ``limits``, and
        of this sheep ``waiting``, ``delayed``, ``delayed_seconds``.

        :raises NoVdi:
        """
        table = self.cluster.state.qos
        if name:
            table = {name: table.get(self.catalogue.find(name).name, {})}
        here = dict(self.throttles.named())
        return [dict(_here(here.get(one)), name=one,
                     limits=qos.to_dict(found))
                for one, found in sorted(table.items())]


def _here(throttle):
    if throttle is None:
        return {'waiting': 0, 'delayed': 0, 'delayed_seconds': 0.0}
    return {'waiting': throttle.waiting, 'delayed': throttle.delayed,
            'delayed_seconds': round(throttle.delayed_seconds, 3)}
