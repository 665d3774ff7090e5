"""Measures pulls from a registry on this machine and prints ratios.

    bench_pull.py --modeld PATH --pid PID --registry HOST:PORT [--size MIB] [--rounds N] DIRECTORY

The daemon answers at MODEL_RUNNER_SOCK. What a pull is compared with does the same with other
programs: the bytes come over one connection, are written, hashed and synced. Both take turns, round
by round. Only Python's own library is used.
"""

import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import time
import urllib.request

# Type numbers of GGUF's values.
U32, F32, STRING, ARRAY, I32 = 4, 6, 8, 9, 5
# What the beginning of the tensors is padded to.
ALIGNMENT = 32
MODELS = 1000


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def key(name, kind, raw):
    return text(name) + struct.pack("<I", kind) + raw


def array(kind, items):
    return struct.pack("<IQ", kind, len(items)) + b"".join(items)


def header(name, padding):
    """The beginning of a model file whose last tensor has so many bytes."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    keys = [
        key("general.architecture", STRING, text("llama")),
        key("general.name", STRING, text(name)),
        key("tokenizer.ggml.model", STRING, text("llama")),
        key("tokenizer.ggml.tokens", ARRAY, array(STRING, [text(token) for token in tokens])),
        key("tokenizer.ggml.scores", ARRAY, array(F32, [struct.pack("<f", 0)] * len(tokens))),
        key("tokenizer.ggml.token_type", ARRAY, array(I32, [struct.pack("<i", 1)] * len(tokens))),
        key("llama.attention.layer_norm_rms_epsilon", F32, struct.pack("<f", 1e-5)),
    ]
    for name, value in [
        ("context_length", 512),
        ("embedding_length", 64),
        ("feed_forward_length", 64),
        ("block_count", 1),
        ("attention.head_count", 1),
        ("attention.head_count_kv", 1),
        ("rope.dimension_count", 64),
    ]:
        keys.append(key(f"llama.{name}", U32, struct.pack("<I", value)))
    tensors = [
        text("token_embd.weight") + struct.pack("<IQQIQ", 2, 64, len(tokens), 0, 0),
        text("padding") + struct.pack("<IQIQ", 1, padding // 4, 0, 64 * len(tokens) * 4),
    ]
    raw = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    raw += b"".join(keys) + b"".join(tensors)
    raw += bytes(-len(raw) % ALIGNMENT)
    return raw + bytes(64 * len(tokens) * 4)


def write_model(path, name, padding):
    """A model file with `padding` bytes that nothing can compress."""
    with open(path, "wb") as file:
        file.write(header(name, padding))
        while padding:
            count = min(padding, 1 << 20)
            file.write(os.urandom(count))
            padding -= count


class Bench:
    def __init__(self, arguments):
        self.modeld = arguments.modeld
        self.pid = arguments.pid
        self.registry = arguments.registry
        self.dir = arguments.directory
        self.name = f"{self.registry}/bench/pull"

    def run(self, *command):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def layer(self):
        """The address of the model's one layer."""
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        url = f"http://{self.registry}/v2/bench/pull"
        with urllib.request.urlopen(
            urllib.request.Request(f"{url}/manifests/latest", headers=accept)
        ) as answer:
            layer = json.load(answer)["layers"][0]
        return f"{url}/blobs/{layer['digest']}"

    def pull(self):
        started = time.perf_counter()
        self.run(self.modeld, "pull", "--quiet", self.name)
        seconds = time.perf_counter() - started
        self.run(self.modeld, "rm", self.name)
        return seconds

    def curl(self):
        file = os.path.join(self.dir, "curl")
        hasher = "sha256sum" if shutil.which("sha256sum") else "shasum -a 256"
        script = f'curl -sSf "$0" | tee "$1" | {hasher} >/dev/null && sync "$1"'
        started = time.perf_counter()
        self.run("sh", "-c", script, self.layer(), file)
        seconds = time.perf_counter() - started
        os.remove(file)
        return seconds

    def skopeo(self):
        to = os.path.join(self.dir, "skopeo")
        started = time.perf_counter()
        self.run(
            "skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{self.name}", f"dir:{to}"
        )
        seconds = time.perf_counter() - started
        shutil.rmtree(to)
        return seconds

    def memory(self):
        """The most memory that the daemon had at once, in MiB; None where nobody says."""
        try:
            with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
                for line in status:
                    if line.startswith("VmHWM:"):
                        return int(line.split()[1]) / 1024
        except OSError:
            pass
        return None


def show(title, unit, values, ratio=""):
    low, high = min(values), max(values)
    print(f"  {title:22} {statistics.median(values):9.1f} {unit}  ({low:.1f} to {high:.1f}){ratio}")


def pulls(bench, size, rounds):
    file = os.path.join(bench.dir, "model.gguf")
    write_model(file, "bench", size << 20)
    bench.run(bench.modeld, "package", "--gguf", file, bench.name)
    os.remove(file)
    bench.run(bench.modeld, "push", bench.name)
    bench.run(bench.modeld, "rm", bench.name)
    before = bench.memory()
    ways = {"modeld": bench.pull, "curl, sha256sum, sync": bench.curl}
    if shutil.which("skopeo"):
        ways["skopeo copy"] = bench.skopeo
    seconds = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(way())
    print(f"pull of {size} MiB from a registry on this machine")
    for name, times in seconds.items():
        ratio = ""
        if name != "modeld":
            ratios = [other / own for own, other in zip(seconds["modeld"], times)]
            ratio = f"  modeld is {statistics.median(ratios):.2f} times as fast"
        show(name, "MiB/s", [size / time for time in times], ratio)
    after = bench.memory()
    if before is not None and after is not None:
        print("memory of the daemon, at most")
        print(f"  {'before the pulls':22} {before:9.1f} MiB")
        print(f"  {'after them':22} {after:9.1f} MiB")


def lists(bench, rounds):
    file = os.path.join(bench.dir, "small.gguf")
    for number in range(MODELS):
        write_model(file, f"small {number}", 0)
        bench.run(bench.modeld, "package", "--gguf", file, f"bench/small-{number}")
    times = []
    for _ in range(max(rounds, 5)):
        started = time.perf_counter()
        lines = bench.run(bench.modeld, "list").splitlines()
        times.append((time.perf_counter() - started) * 1000)
        if len(lines) < MODELS:
            raise SystemExit(f"modeld list shows {len(lines)} lines for {MODELS} models")
    print(f"modeld list, {MODELS} models")
    show("modeld", "ms", times)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--modeld", required=True)
    parser.add_argument("--pid", required=True, type=int)
    parser.add_argument("--registry", required=True)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("directory")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    pulls(bench, arguments.size, arguments.rounds)
    lists(bench, arguments.rounds)


if __name__ == "__main__":
    main()
