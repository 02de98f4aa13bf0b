"""Variants of a reference checkpoint, and comparisons of safetensors files.

    checkpoint.py shard FROM TO           the same in two shards with an index
    checkpoint.py bf16 FROM TO            weights cut to bf16
    checkpoint.py break FROM TO           one tensor misspelt, one dropped, one added, one turned
    checkpoint.py config FROM TO KEY=JSON ...  config.json with other values
    checkpoint.py same A.safetensors B.safetensors   fails unless both hold the same tensors, bit for bit
    checkpoint.py near A.safetensors B.safetensors   the same with B's bf16 against A's f32, rounded to nearest even
"""
import json
import os
import shutil
import struct
import sys


def read(path):
    data = open(path, "rb").read()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {
        name: (entry["dtype"], entry["shape"], data[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]])
        for name, entry in header.items()
    }


def write(path, tensors):
    header, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + data)


def rounded(values):
    """f32 bytes to bf16 bytes, to nearest even."""
    bits = struct.unpack("<%dI" % (len(values) // 4), values)
    return struct.pack("<%dH" % len(bits), *((b + 0x7FFF + (b >> 16 & 1)) >> 16 for b in bits))


command, source, target = sys.argv[1:4]
if command in ("same", "near"):
    a, b = read(source), read(target)
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    for name, (dtype, shape, values) in a.items():
        if command == "near":
            dtype, values = "BF16", rounded(values)
        assert (dtype, shape, values) == b[name], name
    print("same", len(a), "tensors")
    sys.exit()

os.makedirs(target)
shutil.copy(os.path.join(source, "config.json"), target)
tensors = read(os.path.join(source, "model.safetensors"))
single = os.path.join(target, "model.safetensors")
if command == "shard":
    names = sorted(tensors)
    index = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = "model-%05d-of-00002.safetensors" % number
        write(os.path.join(target, file), {name: tensors[name] for name in part})
        index.update({name: file for name in part})
    with open(single + ".index.json", "w") as out:
        json.dump({"metadata": {"total_size": 1}, "weight_map": index}, out)
elif command == "bf16":
    write(single, {name: ("BF16", shape, rounded(values)) for name, (_, shape, values) in tensors.items()})
elif command == "break":
    tensors["model.norms.weight"] = tensors.pop("model.norm.weight")
    del tensors["model.layers.1.attn.gk_proj.0.weight"]
    tensors["extra"] = ("F32", [1], b"\0" * 4)
    dtype, shape, values = tensors["lm_head.weight"]
    tensors["lm_head.weight"] = (dtype, shape[::-1], values)
    write(single, tensors)
elif command == "config":
    write(single, tensors)
    path = os.path.join(target, "config.json")
    config = json.load(open(path))
    for change in sys.argv[4:]:
        key, value = change.split("=")
        config[key] = json.loads(value)
    json.dump(config, open(path, "w"))
