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

"""sheepdog-manage safe-to-stop."""

import time

from cliff import columns as cliff_columns

from sheepdog.cmd import departure
from sheepdog.cmd import exits
from sheepdog.cmd.manage import verdict as verdict_module

ATTEMPTS = 5
PAUSE_SECONDS = 0.5


class SafeToStop(verdict_module.ShowVerdict):
    """Tell whether a node can go now, and what would be lost.

    Ends with 0 if it can, 1 if it cannot, 2 if that cannot be told. The
    answer is of now: ask again right before you stop it.
    """

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'node', help='its number in node list, HOST:PORT or HOST')
        parser.add_argument(
            '--ignore-clients', action='store_true',
            help='clients that use VDIs through it are no reason against')
        return parser

    def take_action(self, parsed_args):
        cluster = self.app.client.cluster
        node = None
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE_SECONDS)
            facts, copies = cluster.facts(), cluster.copies()
            try:
                # It may drop out of sight between two looks.
                node = node or departure.find(facts, parsed_args.node)
            except departure.UnknownNode as exc:
                raise exits.Stop(str(exc), exits.MISSING) from None
            answer = departure.judge(facts, copies, node,
                                     parsed_args.ignore_clients)
            if answer.exit_code != departure.UNKNOWN:
                break
        self.exit_code = answer.exit_code
        return ('node', 'safe', 'against', 'effects') + tuple(
            answer.counts), (
                answer.node, answer.verdict, Remarks(answer.against),
                Remarks(answer.effects)) + tuple(answer.counts.values())


class Remarks(cliff_columns.FormattableColumn):
    """A list of ``departure.Remark``."""

    def human_readable(self):
        return '\n'.join(remark.text for remark in self._value)

    def machine_readable(self):
        return [remark._asdict() for remark in self._value]
