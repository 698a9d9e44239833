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

"""[oslo_messaging_notifications]: what operators are told unasked.

Group and options are called as in all of OpenStack; they are declared here,
since a sheep that notifies nobody does not import oslo.messaging.
"""

from oslo_config import cfg

GROUP = cfg.OptGroup('oslo_messaging_notifications', title='Notifications')

DRIVERS = ('noop', 'log', 'messaging', 'messagingv2')
BROKERED = ('messaging', 'messagingv2')
"""Those that need a broker."""

FOREIGN_GROUPS = ('oslo_messaging_rabbit', 'oslo_messaging_kafka')
"""Groups of the same file that oslo.messaging reads by itself."""

OPTIONS = [
    cfg.MultiStrOpt(
        'driver', default=['noop'],
        help='How notifications are sent; may be given several times. '
             'messagingv2: to a message broker (messaging: in an older '
             'format); log: to the log; noop: not at all.'),
    cfg.StrOpt(
        'transport_url', default='', secret=True,
        sample_default='rabbit://USER:PASSWORD@HOST:5672/',
        help='The message broker, as oslo.messaging names it. What else it '
             'needs (TLS, say) stands in [oslo_messaging_rabbit], which '
             'oslo.messaging reads from the same file.'),
    cfg.ListOpt(
        'topics', default=['notifications'],
        help='The topics to send to.'),
]
