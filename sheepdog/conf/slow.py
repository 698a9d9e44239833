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

"""[slow]: what becomes of a disk, or a sheep, that is much slower than others.
"""

from oslo_config import cfg

from sheepdog.cluster import patrol

GROUP = cfg.OptGroup('slow', title='Slow disks and sheep')

_DEFAULTS = patrol.SlowSettings()

OPTIONS = [
    cfg.IntOpt(
        'demote_ms', default=_DEFAULTS.demote_ms, min=0, mutable=True,
        help='A disk that takes so many milliseconds, or a sheep that '
             'answers so late, and five times as long as the others, is '
             'slow: what can is read elsewhere first. 0: nobody looks. Have '
             'it alike on all sheep: the leader\'s counts.'),
    cfg.IntOpt(
        'evict_ms', default=_DEFAULTS.evict_ms, min=0, mutable=True,
        help='From so many milliseconds on it is evicted if it stays so for '
             'ten seconds, where that leaves zones for all copies: it keeps '
             'no objects until it is well again. 0: nobody is evicted.'),
]
