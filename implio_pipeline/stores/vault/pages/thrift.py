"""Read and write the Thrift structs of Parquet: footers, column metadata and page headers.

Parquet's structs are in Thrift's compact protocol. This module knows the protocol and not the structs: a struct is the
mapping of its field numbers to typed values. So a field that this program does not know is kept as it is. Decision
0104 says why no library is used.

Source: Thrift compact protocol, https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

from implio_pipeline.stores.vault.pages.faults import Unsuitable

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
"""The wire types of the compact protocol. Plain numbers: an enumeration would take half of the time (measured)."""


class Field(NamedTuple):
    """A typed value of a struct."""

    type: int
    value: Any
    """A bool, a number, `bytes`, `Listed` or `Struct`."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A list or a set."""

    type: int
    values: list[Any]


Struct = dict[int, Field]
"""Field numbers and values, in the order of the octets."""

_LONG_LIST = 15
_MOST_STEP = 15
_LOW_BITS, _MORE = 127, 128
_MOST_SHIFT = 63
_MOST_DEPTH = 32
"""Parquet's structs are nested six deep. The limit stops octets that were made to exhaust the stack."""


def decode_struct(octets: bytes, begin: int = 0) -> tuple[Struct, int]:
    """Return the struct that begins at a place, and the place after it.

    Raises:
        Unsuitable: there is no whole struct at that place, or it has a map, which no struct of Parquet has.
    """
    reader = _Reader(octets, begin)
    try:
        return reader.struct(0), reader.place
    except (IndexError, struct.error):
        raise Unsuitable("a Thrift struct is cut off") from None


def encode_struct(fields: Struct) -> bytes:
    """Return the octets of a struct."""
    written = bytearray()
    _write_struct(written, fields)
    return bytes(written)


class _Reader:
    def __init__(self, octets: bytes, begin: int) -> None:
        self._octets = octets
        self.place = begin

    def struct(self, depth: int) -> Struct:
        if depth > _MOST_DEPTH:
            raise Unsuitable("a Thrift struct is nested too deep")
        octets, fields, number = self._octets, dict[int, Field](), 0
        while True:
            head = octets[self.place]
            self.place += 1
            if not head:
                return fields
            # A field's number is the difference to the one before, in four bits; 0 says that it follows in full.
            wire, step = head & 15, head >> 4
            number = number + step if step else self._signed()
            if I16 <= wire <= I64:  # most fields, and most in one octet
                zigzag = octets[self.place]
                if zigzag < _MORE:
                    self.place += 1
                else:
                    zigzag = self._unsigned()
                fields[number] = Field(wire, (zigzag >> 1) ^ -(zigzag & 1))
            elif wire <= FALSE:
                fields[number] = Field(wire, wire == TRUE)
            else:
                fields[number] = Field(wire, self._value(wire, depth))

    def _value(self, wire: int, depth: int) -> Any:
        if I16 <= wire <= I64:
            return self._signed()
        if wire == BINARY:
            return self._taken(self._unsigned())
        if wire == STRUCT:
            return self.struct(depth + 1)
        if wire in {LIST, SET}:
            return self._list(depth + 1)
        if wire in {TRUE, FALSE, BYTE}:  # in a list, unlike in a field, the value of a bool is an octet
            return self._taken(1)[0]
        if wire == DOUBLE:
            return struct.unpack("<d", self._taken(8))[0]
        raise Unsuitable("a Thrift struct has a map or an unknown type")

    def _list(self, depth: int) -> Listed:
        head = self._taken(1)[0]
        wire, count = head & 15, head >> 4
        if count == _LONG_LIST:
            count = self._unsigned()
        if depth > _MOST_DEPTH or count > len(self._octets):  # every element takes an octet at least
            raise Unsuitable("a Thrift list is longer than its octets, or nested too deep")
        return Listed(wire, [self._value(wire, depth) for _ in range(count)])

    def _unsigned(self) -> int:
        number = shift = 0
        while True:
            octet = self._octets[self.place]
            self.place += 1
            number |= (octet & _LOW_BITS) << shift
            if octet < _MORE:
                return number
            shift += 7
            if shift > _MOST_SHIFT:
                raise Unsuitable("a Thrift number is longer than 64 bits")

    def _signed(self) -> int:
        zigzag = self._unsigned()
        return (zigzag >> 1) ^ -(zigzag & 1)

    def _taken(self, size: int) -> bytes:
        end = self.place + size
        if end > len(self._octets):
            raise IndexError
        taken = bytes(self._octets[self.place : end])
        self.place = end
        return taken


def _write_struct(written: bytearray, fields: Struct) -> None:
    last = 0
    for number, (wire, value) in fields.items():
        step = number - last
        if 0 < step <= _MOST_STEP:
            written.append(step << 4 | wire)
        else:
            written.append(wire)
            _write_signed(written, number)
        last = number
        if I16 <= wire <= I64 and 0 <= value <= _LOW_BITS >> 1:
            written.append(value << 1)
        elif wire > FALSE:
            _write_value(written, wire, value)
    written.append(0)


def _write_value(written: bytearray, wire: int, value: Any) -> None:
    if I16 <= wire <= I64:
        _write_signed(written, value)
    elif wire == BINARY:
        write_unsigned(written, len(value))
        written += value
    elif wire == STRUCT:
        _write_struct(written, value)
    elif wire in {LIST, SET}:
        count = len(value.values)
        written.append(min(count, _LONG_LIST) << 4 | value.type)
        if count >= _LONG_LIST:
            write_unsigned(written, count)
        for each in value.values:
            _write_value(written, value.type, each)
    elif wire == DOUBLE:
        written += struct.pack("<d", value)
    else:
        written.append(value)


def write_unsigned(written: bytearray, number: int) -> None:
    """Append a number of no sign in groups of seven bits, the lowest first."""
    while number > _LOW_BITS:
        written.append(number & _LOW_BITS | _MORE)
        number >>= 7
    written.append(number)


def _write_signed(written: bytearray, number: int) -> None:
    write_unsigned(written, (number << 1) ^ (number >> 63))
