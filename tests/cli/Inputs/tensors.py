"""Writes a safetensors file from NAME=SHAPE=VALUES arguments; VALUES repeat to fill SHAPE.

Elements are f64, or what a name ends with: `:i32`, `:i64`.

    tensors.py out.safetensors x=1,2,3=1,2,3 w=3=0.5 positions:i32=1,2=0,1
"""
import json
import struct
import sys

KINDS = {"f64": ("F64", "d", float), "i32": ("I32", "i", int), "i64": ("I64", "q", int)}
header, data = {}, b""
for argument in sys.argv[2:]:
    name, shape, values = argument.split("=")
    name, _, kind = name.partition(":")
    dtype, code, number = KINDS[kind or "f64"]
    shape = [int(size) for size in shape.split(",")]
    values = [number(value) for value in values.split(",")]
    count = 1
    for size in shape:
        count *= size
    begin = len(data)
    data += struct.pack("<%d%s" % (count, code), *(values[i % len(values)] for i in range(count)))
    header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, len(data)]}
text = json.dumps(header).encode()
with open(sys.argv[1], "wb") as out:
    out.write(struct.pack("<Q", len(text)) + text + data)
