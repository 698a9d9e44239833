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

"""sheepdog-manage status."""

import time

from cliff import columns as cliff_columns

from sheepdog.cmd import diagnosis
from sheepdog.cmd.manage import columns
from sheepdog.cmd.manage import verdict as verdict_module
from sheepdog.cmd import overview
from sheepdog.model import errors


class Status(verdict_module.ShowVerdict):
    """Show how the cluster stands, what it waits for, and what to mind.

    Told by the sheep that is asked, as far as it can. With --why, by all
    sheep that can be reached: what the cluster waits for or suffers from,
    since when, what that means and what to do. The exit code is then 0 when
    all is well, 1 when something is wrong, 2 when nothing is served.
    """

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--why', action='store_true',
            help='say what is wrong, and what to do about it')
        return parser

    def take_action(self, parsed_args):
        if parsed_args.why:
            return self._why()
        rows = overview.summary(overview.gather(self.app.client))
        return [name for name, _value in rows], [
            _column(name, value) for name, value in rows]

    def _why(self):
        try:
            found = diagnosis.diagnose(self.app.client.cluster.facts())
        except errors.Unreachable as exc:
            found = diagnosis.unanswered(str(exc))
        self.exit_code = found.exit_code
        return ('verdict', 'serving', 'known', 'epoch', 'leader',
                'findings'), (
                    found.verdict, found.serving, found.known, found.epoch,
                    found.leader, Findings(found.findings))

    def produce_output(self, parsed_args, column_names, data):
        if not parsed_args.why or parsed_args.formatter != 'table':
            return super().produce_output(parsed_args, column_names, data)
        verdict, serving, known, epoch, leader, findings = data
        self.app.stdout.write('%s: %d of %d nodes serve, epoch %d, %s\n' % (
            verdict, serving, known, epoch,
            'led by %s' % leader if leader else 'nobody leads'))
        text = findings.human_readable()
        if text:
            self.app.stdout.write('\n' + text + '\n')
        return 0


class Findings(cliff_columns.FormattableColumn):
    """A list of ``symptoms.Finding``."""

    def human_readable(self):
        return '\n\n'.join(map(_paragraph, self._value))

    def machine_readable(self):
        return [finding.to_dict() for finding in self._value]


def _paragraph(finding):
    told = finding.to_dict()
    head = '%s (%s%s)' % (told['code'], told['severity'],
                          ', since ' + _time(told['since'])
                          if told['since'] else '')
    return '\n'.join((
        head, '    what:  ' + told['what'], '    means: ' + told['means'],
        '    to do: ' + told['todo'], '    page:  ' + told['page']))


def _time(seconds):
    return time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(seconds))


def _column(name, value):
    if name.endswith('_bytes'):
        return columns.Size(value)
    if isinstance(value, list):
        return columns.Lines(value)
    return value
