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

"""How a cluster stands, in words: the same in all commands."""

_WORDS = {
    'starting': 'Waiting for the coordination service',
    'wait-format': 'Waiting for cluster to be formatted',
    'wait-join': 'Waiting for other nodes to join cluster',
    'frozen': 'changing membership, I/O waits',
    'lapsed': 'Rejoining the cluster, this node was not heard of in time',
    'refused': 'Joining the cluster was refused',
    'shutdown': 'System is shutting down',
}


def show(info) -> str:
    """One line for the result of ``cluster.info``."""
    status = info['status']
    if status == 'ok':
        enabled = (info.get('settings') or {}).get('recovery_enabled', True)
        return 'running, auto-recovery %s' % (
            'enabled' if enabled else 'disabled')
    words = _WORDS.get(status, status)
    if status == 'refused' and info.get('reason'):
        words += ': ' + info['reason']
    return words
