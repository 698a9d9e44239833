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

"""Authorities and certificates for the tests."""

import datetime
import ipaddress
import os

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography import x509
from cryptography.x509 import oid

from sheepdog.model import pem

_DAY = datetime.timedelta(days=1)


class Authority:
    """Issues certificates into a directory: ``NAME-cert.pem``,
    ``NAME-key.pem``, its own ``ca-cert.pem``."""

    def __init__(self, directory: str, name: str = 'authority'):
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([
            x509.NameAttribute(oid.NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False,
            key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True,
            encipher_only=False, decipher_only=False)
        certificate = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        ).add_extension(usage, critical=True).sign(
            self._key, hashes.SHA256())
        self.path = self._write(
            'ca-cert.pem', certificate.public_bytes(
                serialization.Encoding.PEM))

    def issue(self, name: str, days: int = 10,
              verify_clients: bool = False) -> pem.TlsFiles:
        """A certificate for ``name``, localhost and 127.0.0.1.

        :param days: how long it is still good; less than 0: it was
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([
            x509.NameAttribute(oid.NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([
            x509.DNSName(name), x509.DNSName('localhost'),
            x509.IPAddress(ipaddress.ip_address('127.0.0.1'))])
        certificate = self._builder(subject, key, days).add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True
        ).add_extension(names, critical=False).sign(
            self._key, hashes.SHA256())
        key_path = self._write(name + '-key.pem', key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))
        path = self._write(name + '-cert.pem', certificate.public_bytes(
            serialization.Encoding.PEM))
        return pem.TlsFiles(path, key_path, self.path, verify_clients)

    def _builder(self, subject, key, days: int = 10):
        now = datetime.datetime.now(datetime.timezone.utc)
        return x509.CertificateBuilder(
            issuer_name=self._name, subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - 20 * _DAY,
            not_valid_after=now + days * _DAY)

    def _write(self, name: str, data: bytes) -> str:
        path = os.path.join(self.directory, name)
        with open(os.open(path + '.new', os.O_CREAT | os.O_WRONLY |
                          os.O_TRUNC, 0o600), 'wb') as file:
            file.write(data)
        os.rename(path + '.new', path)
        return path
