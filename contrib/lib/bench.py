"""Measures chat streams of servers on Unix sockets, taking turns, and prints ratios.

    bench.py [--tokens N] [--rounds N] NAME=SOCKET...

The first server is the one that the others are compared with. Only Python's own library is used.
"""

import argparse
import http.client
import json
import socket
import statistics
import threading
import time

PATH = "/v1/chat/completions"
# Long enough that its prefill can be measured; the number at its beginning keeps it out of every
# prefix cache.
TEXT = "The sea is wide and the ship is small. " * 40


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=300)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(path, prompt, tokens):
    """One streamed answer: seconds to the first text, seconds from there, tokens."""
    body = {
        "model": "bench/model",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "messages": [{"role": "user", "content": prompt}],
    }
    connection = Connection(path)
    started = time.perf_counter()
    connection.request("POST", PATH, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status} {answer.read(500)!r}")
    first = last = None
    count = 0
    for line in answer:
        if not line.startswith(b"data: {"):
            continue
        now = time.perf_counter()
        chunk = json.loads(line[6:])
        if "error" in chunk:
            raise SystemExit(f"{path}: {chunk['error']}")
        if any(choice["delta"].get("content") for choice in chunk["choices"]):
            first, last = first or now, now
        if chunk.get("usage"):
            count = chunk["usage"]["completion_tokens"]
    connection.close()
    if first is None or count < 2:
        raise SystemExit(f"{path}: an answer without text")
    return first - started, last - first, count


class Serial:
    """Numbers that never come twice."""

    def __init__(self):
        self.value = 0

    def next(self):
        self.value += 1
        return self.value


def time_to_first(path, serial, _tokens):
    return ask(path, f"{serial.next()}. {TEXT}", 2)[0]


def decode_alone(path, serial, tokens):
    _, seconds, count = ask(path, f"{serial.next()}. Tell a story.", tokens)
    return (count - 1) / seconds


def decode_together(path, serial, tokens):
    """Tokens per second of eight clients together, from the first request to the last answer."""
    counts = []
    prompts = [f"{serial.next()}. Tell a story." for _ in range(8)]

    def one(prompt):
        counts.append(ask(path, prompt, tokens)[2])

    threads = [threading.Thread(target=one, args=(prompt,)) for prompt in prompts]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(counts) < len(prompts):
        raise SystemExit(f"{path}: {len(prompts) - len(counts)} of {len(prompts)} answers failed")
    return sum(counts) / (time.perf_counter() - started)


# Name, unit, how to measure, whether more is better.
MEASURES = [
    ("time to first token, about 400 tokens of prompt", "ms", time_to_first, False),
    ("decode, 1 client", "tok/s", decode_alone, True),
    ("decode, 8 clients", "tok/s", decode_together, True),
]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("servers", nargs="+", metavar="NAME=SOCKET")
    arguments = parser.parse_args()
    servers = [server.split("=", 1) for server in arguments.servers]
    serial = Serial()
    for name, path in servers:
        ask(path, "Hello", 4)
    for title, unit, measure, more_is_better in MEASURES:
        values = {name: [] for name, _ in servers}
        for _ in range(arguments.rounds):
            for name, path in servers:
                values[name].append(measure(path, serial, arguments.tokens))
        print(title)
        own = servers[0][0]
        for name, _ in servers:
            scale = 1000 if unit == "ms" else 1
            median = statistics.median(values[name]) * scale
            low, high = min(values[name]) * scale, max(values[name]) * scale
            line = f"  {name:14} {median:9.1f} {unit}  ({low:.1f} to {high:.1f})"
            if name != own:
                pairs = zip(values[own], values[name])
                ratios = [a / b if more_is_better else b / a for a, b in pairs]
                line += f"  {own} is {statistics.median(ratios):.2f} times as fast"
            print(line)


if __name__ == "__main__":
    main()
