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

"""Where certificates are, and what is in their files."""

import base64
import re
import typing

_FIRST = re.compile('-----BEGIN (?:X509 )?CERTIFICATE-----(.*?)'
                    '-----END (?:X509 )?CERTIFICATE-----', re.DOTALL)


def first(text: str) -> bytes:
    """The first certificate (DER) in the text of a PEM file: whose file it
    is; those behind it are between it and the authority.

    :raises ValueError: there is none
    """
    found = _FIRST.search(text)
    if found is None:
        raise ValueError('it has no CERTIFICATE')
    return base64.b64decode(found.group(1))


class TlsFiles(typing.NamedTuple):
    """Paths of PEM files, and what they are for."""

    certificate: str
    """Our own, with those between it and the authority."""
    key: str
    """Of the certificate; without a password."""
    authorities: str = ''
    """Whose certificates are believed; '' where nobody's is asked for."""
    verify_clients: bool = False
    """Only who has a certificate of the authorities' may connect."""
