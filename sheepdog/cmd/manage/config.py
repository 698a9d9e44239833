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

"""sheepdog-manage config."""

from cliff import lister

from sheepdog.cmd import exits
from sheepdog.conf import config
from sheepdog.conf import settings


class Config(lister.Lister):
    """Show the options a sheep would take, and where each comes from.

    What a sheep is given on its command line goes before these.
    """

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--config-file', action='append', metavar='PATH',
            help='instead of %s, if it exists; may be repeated'
            % config.DEFAULT_FILE)
        return parser

    def take_action(self, parsed_args):
        try:
            conf = config.new_config(parsed_args.config_file)
            rows = [(config.shown_name(group, option.name),
                     settings.shown(option, value), source)
                    for group, option, value, source in config.values(conf)]
            if not conf.meta:
                # It is usually given on the command line.
                config.override(conf, '', 'meta', '/')
            settings.build(conf)
        except config.ConfigRefused as exc:
            raise exits.UsageError(str(exc)) from None
        return ('Option', 'Value', 'Source'), rows
