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

"""The blocking client library: tools and OpenStack drivers stand on it.

It knows ``wire`` and ``model`` only, uses no event loop, starts no threads,
and may be called from many (also green) threads at once.

    with client.Client(['10.0.0.1:7000', '10.0.0.2:7000']) as sheepdog:
        sheepdog.vdis.create('disk', 1 << 30)
        with sheepdog.open('disk') as volume:
            volume.write(0, b'hello')
            volume.flush()
"""

from sheepdog.client.client import Client
from sheepdog.client.volume import RemoteVolume

__all__ = ['Client', 'RemoteVolume']
