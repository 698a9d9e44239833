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
"""Which key file a tool uses: the option, the environment, the configuration
of the sheep on this host, the default."""

import functools
import os
from typing import Optional

from sheepdog.client import key_file

CONFIG_FILE = '/etc/sheepdog/sheepdog.conf'
"""As ``conf.config.DEFAULT_FILE``, which takes long to import."""


def path_for(option: Optional[str]) -> Optional[str]:
    """What to give to ``Client`` as ``key_file``.

    :param option: what the command line says, None for nothing
    """
    if option is not None:
        return option
    if key_file.VARIABLE in os.environ:
        return os.environ[key_file.VARIABLE]
    options = configured()
    path = options.key_file if options is not None else ''
    return path if path and os.access(path, os.R_OK) else None


@functools.cache
def configured():
    """[security] of the configuration, None where this user cannot read it.
    """
    if not os.access(CONFIG_FILE, os.R_OK):
        return None
    from sheepdog.conf import config
    try:
        return config.new_config([CONFIG_FILE]).security
    except config.ConfigRefused:
        return None
