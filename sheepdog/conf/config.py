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

"""A configuration object from files, and where its values come from."""

import os

from oslo_config import cfg

from sheepdog.conf import notifications
from sheepdog.conf import opts

DEFAULT_FILE = '/etc/sheepdog/sheepdog.conf'

SOURCES = {
    cfg.Locations.opt_default: 'default',
    cfg.Locations.set_default: 'default',
    cfg.Locations.set_override: 'command line',
    cfg.Locations.user: 'file',
    cfg.Locations.command_line: 'command line',
    cfg.Locations.environment: 'environment',
}


class ConfigRefused(Exception):
    """The configuration cannot be used. The text names the option."""


def new_config(files=None) -> cfg.ConfigOpts:
    """A configuration with our options, read from ``files``.

    :param files: paths; None: the default file, where it exists
    :raises ConfigRefused: a file cannot be read or understood, or has
        options that do not exist
    """
    if files is None:
        files = [DEFAULT_FILE] if os.path.exists(DEFAULT_FILE) else []
    conf = cfg.ConfigOpts()
    opts.register(conf)
    for path in files:
        _check_names(path)
    try:
        conf(args=[], project='sheepdog', prog='sheep',
             default_config_files=list(files), default_config_dirs=[])
    except (cfg.Error, OSError) as exc:
        raise ConfigRefused(str(exc).replace('\n', ' ')) from None
    return conf


def reload(conf):
    """Read the files again. Only options that are declared mutable change;
    what the command line says still goes before.

    :raises ConfigRefused: a file cannot be used; nothing changes then
    """
    for path in conf.config_file or []:
        _check_names(path)
    try:
        conf.mutate_config_files()
    except (cfg.Error, OSError) as exc:
        raise ConfigRefused(str(exc).replace('\n', ' ')) from None


def override(conf, group, name, value):
    """Set from the command line.

    :param group: the group's name, '' for [DEFAULT]
    :raises ConfigRefused: it is no such value
    """
    try:
        conf.set_override(name, value, group=group or None)
    except ValueError as exc:
        raise _refusal(group, name, exc) from None


def shown_name(group, name) -> str:
    return '%s.%s' % (group, name) if group else name


def values(conf):
    """Yield (group name or '', option, value, source) of all options.

    :raises ConfigRefused: a value is none of its kind
    """
    for group, options in opts.list_opts():
        group_name = group.name if group is not None else ''
        for option in options:
            try:
                value = (conf[group_name][option.dest] if group_name
                         else conf[option.dest])
            except ValueError as exc:
                raise _refusal(group_name, option.dest, exc) from None
            except (cfg.Error, RecursionError) as exc:
                # "$name" stands for the value of another option.
                raise _refusal(group_name, option.dest, '%s (a "$" that '
                               'is meant is written "$$")' % exc) from None
            yield group_name, option, value, _source(conf, group_name,
                                                     option)


def _refusal(group, name, error) -> ConfigRefused:
    reason = str(error)
    # Python's own words for a text that should be a number.
    for words in ('invalid literal', 'could not convert'):
        if words in reason:
            reason = '%s is not a number' % reason.rpartition(': ')[2]
    return ConfigRefused('%s: %s' % (shown_name(group, name), reason))


def _source(conf, group_name, option) -> str:
    location = conf.get_location(option.dest, group_name or None)
    source = SOURCES[location.location]
    if source == 'file' and location.detail:
        return location.detail
    return source


def _check_names(path):
    """oslo.config passes over what it does not know. A typing mistake in a
    durability option must not go unnoticed.
    """
    sections = {}
    try:
        with open(path, encoding='utf-8'):
            pass
        cfg.ConfigParser(path, sections).parse()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigRefused('cannot read the configuration file %s: %s' % (
            path, getattr(exc, 'strerror', None) or exc)) from None
    except cfg.ParseError as exc:
        raise ConfigRefused('cannot understand the configuration file: %s'
                            % str(exc).replace('\n', ' ')) from None
    known = {group.name if group is not None else 'DEFAULT':
             {option.dest for option in options}
             for group, options in opts.list_opts()}
    for section, found in sections.items():
        if section in notifications.FOREIGN_GROUPS:
            continue
        if section not in known:
            raise ConfigRefused('%s: there is no section [%s]; there are %s'
                                % (path, section, ', '.join(
                                    '[%s]' % name for name in known)))
        for name in found:
            if name.replace('-', '_') not in known[section]:
                raise ConfigRefused('%s: there is no option %s in [%s]' % (
                    path, name, section))
