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
"""[security]: who may connect, and what as."""

from oslo_config import cfg

GROUP = cfg.OptGroup('security', title='Who may connect')

OPTIONS = [
    cfg.StrOpt(
        'key_file', default='', sample_default='/etc/sheepdog/cluster.key',
        help='The file of the cluster\'s key, the same on all sheep, made by '
             '"sheepdog-manage key create". Who has it is a member or an '
             'administrator of the cluster. Empty: '
             '/etc/sheepdog/cluster.key if it exists. Without a key a sheep '
             'only serves its own machine.'),
    cfg.ListOpt(
        'trusted_uids', default=[], item_type=cfg.types.Integer(0),
        bounds=False, sample_default=['107'],
        help='Numbers of users who may use the unix socket in the store, as '
             'clients and as administrators, besides root and the user of '
             'the sheep.'),
    cfg.ListOpt(
        'public_networks', default=[], sample_default=['10.1.0.0/24'],
        help='Networks whose hosts may speak the native protocol (QEMU, '
             'tgt), besides this machine. Such clients cannot prove '
             'anything: each host in there can read and write every VDI.'),
    cfg.BoolOpt(
        'allow_unauthenticated', default=False,
        help='Take sheep and tools from anywhere without proof of a key. '
             'For the time in which a cluster gets its first key, or a '
             'network with nobody else in it.'),
    cfg.StrOpt(
        'tls', default='none',
        choices=[('none', 'in clear; where there is a key, changes are '
                  'noticed'),
                 ('offered', 'under TLS where the other side can; for the '
                  'time in which a cluster gets its certificates'),
                 ('required', 'under TLS')],
        help='TLS between sheep, and for tools, over TCP. Both sides show '
             'a certificate; the key is needed besides. Public connections '
             'of the native protocol stay in clear.'),
    cfg.StrOpt(
        'tls_cert', default='',
        help='Our certificate, PEM, with those between it and its '
             'authority; for both ends of a connection. Files that change '
             'serve the next connection, without a restart.'),
    cfg.StrOpt(
        'tls_key', default='',
        help='Its key, PEM, without a password; readable by the sheep '
             'only.'),
    cfg.StrOpt(
        'tls_ca', default='',
        help='The authorities of the cluster, PEM. Nobody else should get '
             'certificates from them.'),
]
