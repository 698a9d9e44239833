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

"""[journal]: where small writes become durable."""

from oslo_config import cfg

from sheepdog.conf import kinds

GROUP = cfg.OptGroup('journal', title='Journal')

OPTIONS = [
    cfg.Opt(
        'size', type=kinds.Size(), default=512 << 20,
        help='Its size on disk, at least 2M. The larger, the rarer the '
             'checkpoints.'),
    cfg.StrOpt(
        'dir', default='',
        help='Its directory, perhaps on a faster disk. Empty: in the '
             'store.'),
    cfg.BoolOpt(
        'skip', default=False,
        help='Keep none: each durable write syncs its object file. Blocks '
             'written at the moment of a crash are then repaired from '
             'other copies; of erasure coded VDIs they may be lost.'),
]
