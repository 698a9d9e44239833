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

"""The application: options of all commands, and the table of commands."""

import sys

from cliff import app
from cliff import commandmanager

from sheepdog import client
from sheepdog.cmd import certificates
from sheepdog.cmd import exits
from sheepdog.cmd import keys
from sheepdog.cmd.manage import attribute
from sheepdog.cmd.manage import cluster
from sheepdog.cmd.manage import config
from sheepdog.cmd.manage import departure
from sheepdog.cmd.manage import domain
from sheepdog.cmd.manage import image
from sheepdog.cmd.manage import key
from sheepdog.cmd.manage import log
from sheepdog.cmd.manage import node
from sheepdog.cmd.manage import quarantine
from sheepdog.cmd.manage import status
from sheepdog.cmd.manage import vdi
from sheepdog.cmd import version
from sheepdog.model import limits

COMMANDS = {
    'config': config.Config,
    'status': status.Status,
    'safe-to-stop': departure.SafeToStop,
    'key check': key.Check,
    'key create': key.Create,
    'key list': key.List,
    'key rotate': key.Rotate,
    'cluster show': cluster.Show,
    'cluster epochs': cluster.Epochs,
    'cluster format': cluster.Format,
    'cluster recover': cluster.Recover,
    'cluster reweight': cluster.Reweight,
    'cluster shutdown': cluster.Shutdown,
    'domain export': domain.Export,
    'domain import': domain.Import,
    'image export': image.Export,
    'image import': image.Import,
    'node activity': node.Activity,
    'node list': node.List,
    'node space': node.Space,
    'node stat': node.Stat,
    'node recovery': node.Recovery,
    'node stop': node.Stop,
    'node throttle': node.Throttle,
    'node vnodes': node.Vnodes,
    'quarantine add': quarantine.Add,
    'quarantine delete': quarantine.Delete,
    'quarantine list': quarantine.List,
    'quarantine show': quarantine.Show,
    'vdi attribute delete': attribute.Delete,
    'vdi attribute list': attribute.List,
    'vdi attribute set': attribute.Set,
    'vdi attribute show': attribute.Show,
    'vdi create': vdi.Create,
    'vdi delete': vdi.Delete,
    'vdi list': vdi.List,
    'vdi location': vdi.Location,
    'vdi resize': vdi.Resize,
    'vdi track': vdi.Track,
    'log level show': log.Show,
    'log level set': log.Set,
    'trace on': log.TraceOn,
    'trace off': log.TraceOff,
    'trace show': log.TraceShow,
    'lock list': vdi.Locks,
    'lock break': vdi.Unlock,
}


class ManageApp(app.App):
    NAME = 'sheepdog-manage'
    CONSOLE_MESSAGE_FORMAT = NAME + ': %(message)s'

    def __init__(self, streams=sys):
        manager = commandmanager.CommandManager()
        for name, command in COMMANDS.items():
            manager.add_command(name, command)
        super().__init__(
            'Manage a Sheepdog cluster.', version.release(), manager,
            stdin=streams.stdin, stdout=streams.stdout,
            stderr=streams.stderr, deferred_help=True)
        self.error = None
        self.late_exit_code = exits.OK
        """Of a command that shows what it found all the same."""
        self._client = None

    def build_option_parser(self, description, version, *arguments,
                            **keywords):
        parser = super().build_option_parser(description, version,
                                             *arguments, **keywords)
        parser.add_argument(
            '-a', '--address', action='append', metavar='ADDRESS',
            help='of a sheep, may be repeated (default: localhost)')
        parser.add_argument(
            '-p', '--port', type=int, default=limits.PORT_DEFAULT,
            help='where an address names none (default: %(default)s)')
        parser.add_argument(
            '--key-file', metavar='PATH',
            help='the key of the cluster (default: SHEEPDOG_KEY_FILE, or '
            'that of the sheep on this host)')
        parser.add_argument(
            '--tls-dir', metavar='DIR',
            help='with client-cert.pem, client-key.pem and ca-cert.pem, for '
            'clusters under TLS (default: SHEEPDOG_TLS_DIR, or those of the '
            'sheep on this host)')
        parser.add_argument(
            '--timeout', type=float, default=60.0, metavar='SECONDS',
            help='for each request (default: %(default)s)')
        return parser

    @property
    def client(self) -> client.Client:
        if self._client is None:
            self._client = client.Client(
                self.options.address or ['localhost'],
                timeout=self.options.timeout, port=self.options.port,
                key_file=keys.path_for(self.options.key_file),
                tls=certificates.tls_for(self.options.tls_dir))
        return self._client

    def clean_up(self, cmd, result, err):
        self.error = err
        if self._client is not None:
            self._client.close()

    def run_subcommand(self, argv):
        try:
            self.command_manager.find_command(argv)
        except ValueError as exc:
            print('%s: %s' % (self.NAME, exc), file=self.stderr)
            return exits.USAGE
        return super().run_subcommand(argv)


def main(argv=None, streams=sys) -> int:
    """The entry point; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    manage = ManageApp(streams)
    try:
        code = manage.run(words or ['--help'])
    except SystemExit as exc:
        # argparse's own code for a wrong command line is 2, which means
        # something else here.
        return exits.USAGE if exc.code == 2 else exc.code or exits.OK
    if manage.error is not None:
        return exits.code_of(manage.error)
    return code or manage.late_exit_code


if __name__ == '__main__':
    sys.exit(main())
