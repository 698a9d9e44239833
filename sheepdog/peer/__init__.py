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

"""Room 4: between sheep. Pipelined links, the server side, the replica.

``link``/``links`` call another sheep; ``server`` answers on the port that
the native face owns; ``replica`` stands between requests and the store and
checks lease, epoch, order and that the object is whole. The local sheep is
just another peer: the gateway calls its ``replica`` directly.
"""
