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

"""[nbd]: VDIs as network block devices."""

from oslo_config import cfg

from sheepdog.model import limits

GROUP = cfg.OptGroup('nbd', title='Network block devices')

OPTIONS = [
    cfg.BoolOpt(
        'enabled', default=False,
        help='Serve NBD: each VDI is an export of its name.'),
    cfg.StrOpt(
        'host', default='127.0.0.1',
        help='The address to listen on. Without TLS that verifies clients '
             'there is no authentication: whoever reaches it, and is let '
             'in by networks, can read and write every VDI.'),
    cfg.IntOpt(
        'port', default=limits.NBD_PORT_DEFAULT, min=-1, max=65535,
        help='The TCP port. -1: not over TCP. 0: any free one.'),
    cfg.StrOpt(
        'path', default='',
        help='A unix socket to serve too. Empty: none.'),
    cfg.StrOpt(
        'default_export', default='',
        help='What a client gets that names no export. Empty: it is '
             'refused.'),
    cfg.BoolOpt(
        'read_only', default=False,
        help='Let nobody write.'),
    cfg.ListOpt(
        'networks', default=[], mutable=True, sample_default=['192.0.2.0/24'],
        help='Who may connect over TCP, besides this machine: networks or '
             'addresses. Empty: whoever reaches the address.'),
    cfg.ListOpt(
        'read_only_networks', default=[], mutable=True,
        help='Who may connect and only read.'),
    cfg.StrOpt(
        'tls', default='none',
        choices=[('none', 'STARTTLS is refused'),
                 ('offered', 'the client may choose'),
                 ('required', 'nothing is told or served without; over the '
                  'unix socket it is only offered')],
        help='TLS over NBD.'),
    cfg.StrOpt(
        'tls_cert', default='',
        help='Our certificate, PEM, with those between it and its '
             'authority. Files that change serve the next connection, '
             'without a restart.'),
    cfg.StrOpt(
        'tls_key', default='',
        help='Its key, PEM, without a password; readable by the sheep '
             'only.'),
    cfg.StrOpt(
        'tls_ca', default='',
        help='The authorities whose clients verify_clients lets in, PEM.'),
    cfg.BoolOpt(
        'verify_clients', default=False,
        help='Serve only clients that show a certificate of the '
             'authorities in tls_ca. Needs tls = required.'),
    cfg.ListOpt(
        'certificate_exports', default=[], mutable=True,
        sample_default=['node1=vm-*'],
        help='Which VDIs a client may have over TCP, by its certificate: '
             'NAME=PATTERN, any number of them. NAME is the common name or '
             'an alternative name (DNS, URI, email) of the certificate, or '
             '* for every one; in PATTERN * stands for any text. Empty: '
             'each certificate opens every VDI. Needs verify_clients.'),
    cfg.IntOpt(
        'connections_max', default=2000, min=1,
        help='Connections at once; one more is closed.'),
    cfg.FloatOpt(
        'handshake_timeout_seconds', default=30.0, min=0.1,
        help='How long a client may take to choose an export.'),
    cfg.FloatOpt(
        'request_timeout_seconds', default=300.0, min=0.0,
        help='A connection is closed when one of its requests is not '
             'answered in this time (or up to half of it later), so that '
             'the client can go to another sheep, or report an error. 0: '
             'requests wait for the cluster as long as it takes.'),
    cfg.FloatOpt(
        'lock_wait_seconds', default=3.0, min=0.0,
        help='How long to try again where a VDI cannot be opened at once.'),
]
