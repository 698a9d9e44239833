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

"""Targets: what sheep say to each other about the cluster."""

from fuzz import ledger as ledger_targets
from fuzz import registry
from sheepdog.cluster import messages
from sheepdog.model import errors
from sheepdog.wire import peer as wire


def message_seeds():
    prepared = messages.Prepared(
        2, 1, 1, 10, ledger_targets.SETTINGS.created, ledger_targets.VIEW)
    leader, to = (member.incarnation for member in
                  ledger_targets.MEMBERS[:2])
    records = messages.pack_records(ledger_targets.cluster_records()[:3])
    state = ledger_targets.state.State()
    for record in ledger_targets.cluster_records()[:2]:
        state.apply(record)
    for message in (
            {'kind': 'survey'}, {'kind': 'fetch'}, {'kind': 'ping'},
            {'kind': 'prepare', 'prepared': prepared.to_dict()},
            {'kind': 'events', 'records': records},
            {'kind': 'sync', 'state': state.to_dict(), 'cold': False,
             'views': [ledger_targets.VIEW.to_dict()], 'clean': True},
            {'kind': 'waiting', 'status': 'wait-join', 'reason': 'why',
             'missing': ['n1']},
            {'kind': 'refuse', 'reason': 'why'}, {'kind': 'dismiss'}):
        yield wire.pack_json(dict(message, term=1, leader=leader, to=to))
    yield wire.pack_json({'kind': 'execute', 'operation': 'o',
                          'name': 'lock', 'arguments': {'vdi_id': 1}})
    yield wire.pack_json({'kind': 'complain', 'about': 'n1.1'})


@registry.target('cluster-messages', (errors.InvalidParameters,),
                 ('sheepdog.cluster.messages', 'sheepdog.cluster.entries',
                  'sheepdog.cluster.state'),
                 message_seeds)
def run_messages(data):
    message = messages.checked(wire.unpack_json(data))
    if message['kind'] == 'prepare':
        prepared = messages.Prepared.from_dict(message['prepared'])
        assert prepared.key and prepared.is_pending((0, 0)) in (True, False)
        prepared.to_dict()
    elif message['kind'] == 'events':
        for record in messages.unpack_records(message['records']):
            record.event.get('kind')
    elif message['kind'] == 'sync':
        state = ledger_targets.state.State.from_dict(message['state'])
        wire.pack_json(state.to_dict())


def answer_seeds():
    yield wire.pack_json({'ok': True, 'answer': messages.Answer(
        'n1.5', True, (1, 9), 3, 7 << 32, messages.Prepared(
            2, 1, 1, 10, 7 << 32), False).to_dict()})
    yield wire.pack_json({'refused': 'term', 'promised': 9})


@registry.target('cluster-answers', (errors.InvalidParameters,),
                 ('sheepdog.cluster.messages',), answer_seeds)
def run_answers(data):
    reply = wire.unpack_json(data)
    if reply.get('ok'):
        answer = messages.Answer.from_dict(
            reply.get('answer'))
        assert messages.Answer.from_dict(
            wire.unpack_json(wire.pack_json(answer.to_dict()))) == answer
