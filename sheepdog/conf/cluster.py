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

"""[cluster]: how the sheep find each other."""

from oslo_config import cfg

GROUP = cfg.OptGroup('cluster', title='Coordination')

OPTIONS = [
    cfg.StrOpt(
        'url', default='local',
        help='The coordination service: local[:DIR] (one machine), '
             'zookeeper:HOST:PORT[,HOST:PORT...][/CLUSTER][,timeout=MS], '
             'etcd:HOST:PORT[,HOST:PORT...], redis:HOST:PORT, or any URL of '
             'tooz.'),
    cfg.FloatOpt(
        'ttl_seconds', default=4.0, min=1.0, max=600.0,
        help='A sheep that was not heard of for so long is taken out of '
             'the cluster. The same on all sheep. ZooKeeper allows no less '
             'than two and no more than twenty of its ticks.'),
]
