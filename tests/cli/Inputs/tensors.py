"""Writes a safetensors file from NAME=SHAPE=VALUES arguments, f64; VALUES repeat to fill SHAPE.

    tensors.py out.safetensors x=1,2,3=1,2,3 w=3=0.5
"""
import json
import struct
import sys

header, data = {}, b""
for argument in sys.argv[2:]:
    name, shape, values = argument.split("=")
    shape = [int(size) for size in shape.split(",")]
    values = [float(value) for value in values.split(",")]
    count = 1
    for size in shape:
        count *= size
    begin = len(data)
    data += struct.pack("<%dd" % count, *(values[i % len(values)] for i in range(count)))
    header[name] = {"dtype": "F64", "shape": shape, "data_offsets": [begin, len(data)]}
text = json.dumps(header).encode()
with open(sys.argv[1], "wb") as out:
    out.write(struct.pack("<Q", len(text)) + text + data)
