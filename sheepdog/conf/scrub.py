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

"""[scrub]: the check of all copies in the background."""

from oslo_config import cfg

from sheepdog.conf import kinds

GROUP = cfg.OptGroup('scrub', title='Scrub')

OPTIONS = [
    cfg.BoolOpt(
        'enabled', default=True, mutable=True,
        help='Read all copies again and again, compare them with their '
             'checksums and with each other, and mend what is bad.'),
    cfg.Opt(
        'bytes_per_second', type=kinds.Size(), default=16 << 20,
        mutable=True,
        help='What a sheep reads for it at most, with K, M, G; requests of '
             'clients go first.'),
    cfg.IntOpt(
        'pause', default=604800, min=0, max=31536000, mutable=True,
        help='Seconds between the end of one round through all copies and '
             'the begin of the next.'),
]
