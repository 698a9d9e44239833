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

"""Reed-Solomon by the book, byte by byte: the twin of ``erasure.codec``.

Slow on purpose: multiplication bit by bit, Gaussian elimination.
"""

POLYNOMIAL = 0x11D
STRIPE_BYTES = 4096


def multiply(a, b):
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= POLYNOMIAL
        b >>= 1
    return product


def inverse(a):
    return next(b for b in range(1, 256) if multiply(a, b) == 1)


PRODUCTS = [bytes(multiply(a, b) for b in range(256)) for a in range(256)]
INVERSES = [0] + [inverse(a) for a in range(1, 256)]


def row(index, data):
    """The coefficients of strip ``index``."""
    if index < data:
        return [int(i == index) for i in range(data)]
    return [INVERSES[index ^ i] for i in range(data)]


def combine(coefficients, columns):
    """The sum of the columns (bytes), each times its coefficient."""
    total = bytes(len(columns[0]))
    for coefficient, column in zip(coefficients, columns):
        product = column.translate(PRODUCTS[coefficient])
        total = bytes(a ^ b for a, b in zip(total, product))
    return total


def encode(content, data, parity):
    """The strips of whole stripes, made stripe by stripe."""
    unit = STRIPE_BYTES // data
    strips = [b''] * (data + parity)
    for start in range(0, len(content), STRIPE_BYTES):
        units = [content[start + i * unit:start + (i + 1) * unit]
                 for i in range(data)]
        for index in range(data + parity):
            strips[index] += combine(row(index, data), units)
    return strips


def decode(strips, data):
    """The content, from exactly ``data`` strips (index → bytes)."""
    rows = [row(index, data) for index in sorted(strips)]
    columns = [strips[index] for index in sorted(strips)]
    matrix = inverted(rows)
    whole = [combine(coefficients, columns) for coefficients in matrix]
    unit = STRIPE_BYTES // data
    return b''.join(strip[start:start + unit]
                    for start in range(0, len(whole[0]), unit)
                    for strip in whole)


def inverted(rows):
    size = len(rows)
    work = [list(line) + [int(i == j) for j in range(size)]
            for i, line in enumerate(rows)]
    for column in range(size):
        pivot = next(i for i in range(column, size) if work[i][column])
        work[column], work[pivot] = work[pivot], work[column]
        scale = INVERSES[work[column][column]]
        work[column] = [PRODUCTS[scale][value] for value in work[column]]
        for i in range(size):
            factor = work[i][column]
            if i != column and factor:
                work[i] = [value ^ PRODUCTS[factor][other] for value, other
                           in zip(work[i], work[column])]
    return [line[size:] for line in work]
