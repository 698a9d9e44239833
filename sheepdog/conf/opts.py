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

"""All options, by group: for registering and for oslo-config-generator."""

from oslo_config import cfg

from sheepdog.conf import cluster
from sheepdog.conf import io
from sheepdog.conf import journal
from sheepdog.conf import log
from sheepdog.conf import metrics
from sheepdog.conf import nbd
from sheepdog.conf import notifications
from sheepdog.conf import recovery
from sheepdog.conf import scrub
from sheepdog.conf import security
from sheepdog.conf import sheep
from sheepdog.conf import slow
from sheepdog.conf import space

GROUPS = (sheep, cluster, security, io, journal, space, recovery, slow, scrub,
          log, nbd, metrics, notifications)


def list_opts():
    """The entry point ``oslo.config.opts``: (group, options) pairs."""
    return [(module.GROUP, module.OPTIONS) for module in GROUPS]


def register(conf):
    for group, options in list_opts():
        if group is None:
            conf.register_opts(options)
            continue
        # A group object of its own: it keeps values, not only names.
        conf.register_group(cfg.OptGroup(group.name, title=group.title))
        conf.register_opts(options, group=group.name)
