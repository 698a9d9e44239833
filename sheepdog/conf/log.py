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

"""[log]: what is logged, how, and where to."""

from oslo_config import cfg

GROUP = cfg.OptGroup('log', title='Logging')

LEVELS = ('emerg', 'alert', 'crit', 'err', 'warning', 'notice', 'info',
          'debug')
FORMATS = ('default', 'server', 'json')
DESTINATIONS = ('default', 'syslog', 'journal', 'stdout')

OPTIONS = [
    cfg.StrOpt(
        'dir', default='',
        help='The directory of sheep.log. Empty: the store.'),
    cfg.StrOpt(
        'level', default='info', choices=LEVELS, mutable=True,
        help='The least urgent level that is logged.'),
    cfg.DictOpt(
        'loggers', default={}, mutable=True,
        help='Levels of parts, where they differ: '
             'sheepdog.recovery:debug,sheepdog.peer:warning. The names are '
             'those in the log.'),
    cfg.StrOpt(
        'format', default='default', choices=FORMATS,
        help='How a line looks: short, as the services of OpenStack have '
             'it, or one JSON object.'),
    cfg.StrOpt(
        'destination', default='default', choices=DESTINATIONS,
        help='default: the file sheep.log; SIGHUP makes the sheep open it '
             'anew. journal: that of systemd, with fields.'),
    cfg.FloatOpt(
        'slow_seconds', default=5.0, min=0, mutable=True,
        help='A client\'s request that takes longer is logged, with what it '
             'waits for. 0: never.'),
]
