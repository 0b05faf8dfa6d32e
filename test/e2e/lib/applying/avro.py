"""Values as Avro, each with a schema that is made for it; fastavro writes no field twice."""

import base64
import json
import re
import struct
import uuid
from datetime import date, datetime
from typing import Any

Schema = Any

# Where a server of these tests looks for schemas; nobody listens there.
REGISTRY = "http://127.0.0.1:1"

# By a superuser: what a registry would have said.
KNOW = (
    "CREATE FUNCTION public.know(schemas jsonb) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$"
    ' INSERT INTO public.djkafka_schema (registry, schema_id, type, schema, "references", is_encrypted)'
    f" SELECT '{REGISTRY}', id::bigint, 'AVRO', text, '{{}}', false FROM jsonb_each_text(schemas) s (id, text) ON CONFLICT DO NOTHING $$"
)

# How fields have their values: as they are, in unions that fit many, as logical types where these look like such.
STYLES = ["plain", "union", "logical"]

SCALARS = ["null", "boolean", "long", "double", "string"]

# By text, the id; they stay the same for a run.
_ids: dict[str, int] = {}


def number(value: int) -> bytes:
    zigzag = (value << 1) ^ (value >> 63)
    made = bytearray()
    while zigzag > 0x7F:
        made.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*made, zigzag])


def sized(value: bytes) -> bytes:
    return number(len(value)) + value


def logical(value: str) -> tuple[Schema, bytes] | None:
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            return {"type": "int", "logicalType": "date"}, number((date.fromisoformat(value) - date(1970, 1, 1)).days)
        if re.fullmatch(r"\d{4}-\d\d-\d\dT[0-9:]+Z", value):
            millis = int(datetime.fromisoformat(value).timestamp()) * 1000
            return {"type": "long", "logicalType": "timestamp-millis"}, number(millis)
        if re.fullmatch(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", value):
            return {"type": "fixed", "logicalType": "uuid", "name": f"U{uuid.uuid4().hex}", "size": 16}, uuid.UUID(value).bytes
        if value.startswith("\\x"):
            return "bytes", sized(bytes.fromhex(value[2:]))
    except ValueError:
        pass
    return None


def scalar(value: Any, style: str) -> tuple[Schema, bytes]:
    if value is None:
        return "null", b""
    if isinstance(value, bool):
        return "boolean", bytes([value])
    if isinstance(value, int):
        return "long", number(value)
    if isinstance(value, float):
        return "double", struct.pack("<d", value)
    return (style == "logical" and logical(value)) or ("string", sized(value.encode("utf-8", "surrogatepass")))


def encode(value: Any, style: str) -> tuple[Schema, bytes]:
    if not isinstance(value, (list, dict)):
        return scalar(value, style)
    named = value.items() if isinstance(value, dict) else [(None, item) for item in value]
    items = [(name, *encode(item, style)) for name, item in named]
    union = SCALARS + [schema for _, schema, _ in items if schema not in SCALARS]
    made = [(b"" if name is None else sized(name.encode())) + number(union.index(schema)) + item for name, schema, item in items]
    block = number(len(made)) + b"".join(made) if made else b""
    return ({"type": "map", "values": union} if isinstance(value, dict) else {"type": "array", "items": union}), block + number(0)


def record(name: str, fields: list[list], style: str) -> tuple[Schema, bytes]:
    """The same name may be there twice."""
    types, made = [], b""
    for field, value in fields:
        schema, encoded = encode(value, style)
        if style == "union":
            union = SCALARS if schema in SCALARS else [*SCALARS, schema]
            schema, encoded = union, number(union.index(schema)) + encoded
        types.append({"name": field, "type": schema})
        made += encoded
    return {"type": "record", "name": name, "fields": types}, made


def framed(schema: Schema, encoded: bytes) -> dict[str, str]:
    """As djkafka_run takes bytes."""
    text = re.sub("U[0-9a-f]{32}", lambda name: f"U{name.start()}", json.dumps(schema))
    known = _ids.setdefault(text, len(_ids) + 1)
    return {"base64": base64.b64encode(b"\0" + struct.pack(">I", known) + encoded).decode()}


def value_of(fields: list[list], style: str, inner: bool) -> dict[str, str]:
    schema, encoded = record("Row", fields, style)
    if inner:
        schema = {"type": "record", "name": "Envelope", "fields": [{"name": "in", "type": schema}]}
    return framed(schema, encoded)


def key_of(key: Any, style: str) -> dict[str, str]:
    return framed(*(record("Key", list(map(list, key.items())), style) if isinstance(key, dict) else encode(key, style)))


def know_sql(messages: list[dict]) -> list[str]:
    """A statement, if the messages name any schemas."""
    texts = {known: text for text, known in _ids.items()}
    parts = [base64.b64decode(part["base64"]) for message in messages for part in (message["key"], message["value"]) if isinstance(part, dict)]
    schemas = {known: texts[known] for known in sorted({struct.unpack(">I", part[1:5])[0] for part in parts})}
    return ["SELECT know('" + json.dumps(schemas).replace("'", "''") + "')"] if schemas else []
