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

"""Networks in which clients may be: ``192.0.2.0/24``, ``2001:db8::/32``."""

import ipaddress


def parse(texts) -> tuple:
    """Of ``ipaddress`` networks. A single address is one, too.

    :raises ValueError: one of them is none; it says which
    """
    return tuple(ipaddress.ip_network(text.strip()) for text in texts
                 if text.strip())


def address_of(host: str):
    """The address, or None where ``host`` is a name, or nothing.
    ``::ffff:192.0.2.1`` (of sockets that take both) is 192.0.2.1."""
    try:
        address = ipaddress.ip_address(host.partition('%')[0])
    except ValueError:
        return None
    return getattr(address, 'ipv4_mapped', None) or address


def contain(networks, host: str) -> bool:
    address = address_of(host)
    return address is not None and any(
        address in network for network in networks)


def is_loopback(host: str) -> bool:
    address = address_of(host)
    return address is not None and address.is_loopback
