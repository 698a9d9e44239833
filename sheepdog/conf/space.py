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
"""[space]: what is kept free."""

from oslo_config import cfg

from sheepdog.conf import kinds

GROUP = cfg.OptGroup('space', title='Space')

OPTIONS = [
    cfg.Opt(
        'reserve', type=kinds.Size(), default=64 << 20,
        help='So much of the disk is kept for deleting, for recovery and '
             'for what the store itself needs: below it, writes that need '
             'room are refused; they are slowed down while no more than as '
             'much is left above it. 0 keeps nothing, and a disk that gets '
             'full may then have no room to delete anything.'),
]
