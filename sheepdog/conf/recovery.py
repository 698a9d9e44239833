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

"""[recovery]: how hard a sheep works to restore redundancy."""

from oslo_config import cfg

from sheepdog.recovery import grace
from sheepdog.recovery import throttle

GROUP = cfg.OptGroup('recovery', title='Recovery')

OPTIONS = [
    cfg.IntOpt(
        'max', default=0, min=0, max=throttle.AT_ONCE_MAX, mutable=True,
        help='Objects under way at once. 0: what suits this version.'),
    cfg.IntOpt(
        'interval', default=0, min=0, max=throttle.PAUSE_MS_MAX, mutable=True,
        help='Milliseconds of rest behind each object.'),
    cfg.BoolOpt(
        'clients_first', default=True, mutable=True,
        help='Work at it less while clients wait for longer than they do '
        'when nothing is recovered. What they ask for is made whole at once '
        'in any case.'),
    cfg.IntOpt(
        'grace_seconds', default=0, min=0,
        max=grace.SECONDS_MAX, mutable=True,
        help='When a node goes away unasked, what it held is left as it is '
        'for so long, as it may come back: only what has changed is moved '
        'then. Only where more than one further loss can be borne (3 copies, '
        'or D:P of P 2 or more), and only until anything else happens to the '
        'cluster. What clients ask for is made whole at once in any case. '
        '0: all is made anew at once, which is safer.'),
]
