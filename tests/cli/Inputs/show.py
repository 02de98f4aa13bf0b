"""Prints the f64 tensors of a safetensors file, one a line, by name."""
import json
import struct
import sys

data = open(sys.argv[1], "rb").read()
start = 8 + struct.unpack("<Q", data[:8])[0]
for name, entry in sorted(json.loads(data[8:start]).items()):
    begin, end = entry["data_offsets"]
    values = struct.unpack("<%dd" % ((end - begin) // 8), data[start + begin : start + end])
    print(name, entry["shape"], list(values))
