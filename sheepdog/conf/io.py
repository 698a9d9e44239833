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

"""[io]: a second network, for object data between the sheep."""

from oslo_config import cfg

from sheepdog.model import limits

GROUP = cfg.OptGroup('io', title='Network for data')

OPTIONS = [
    cfg.StrOpt(
        'host', default='',
        help='The address of this sheep in the network for data. Empty: '
             'data goes the way of everything else. Where the other sheep '
             'cannot be reached by it, they fall back to the first.'),
    cfg.PortOpt(
        'port', default=limits.PORT_DEFAULT,
        help='The TCP port there.'),
]
