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

"""Which certificate a tool shows: the option, the environment, that of the
sheep on this host."""

import os
from typing import Optional

from sheepdog.cmd import keys

VARIABLE = 'SHEEPDOG_TLS_DIR'


def tls_for(option: Optional[str]):
    """What to give to ``Client`` as ``tls``.

    :param option: what the command line says, None for nothing
    :raises TlsRefused: a file cannot be used
    """
    directory = os.environ.get(VARIABLE) if option is None else option
    files = None
    if directory is None:
        files = _configured()
    if not (directory or files):
        return None
    # It takes long to import, and most have no use for it.
    from sheepdog.client import tls
    return tls.ClientTls(files or tls.files_in(directory))


def _configured():
    """What the configuration names, if sheep are spoken to under TLS only,
    and this user may read all of it."""
    options = keys.configured()
    if options is None or options.tls != 'required':
        return None
    paths = options.tls_cert, options.tls_key, options.tls_ca
    if not all(path and os.access(path, os.R_OK) for path in paths):
        return None
    from sheepdog.model import pem
    return pem.TlsFiles(*paths)
