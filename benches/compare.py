#!/usr/bin/env python3
"""compare.py FILE...: the JSON lines of the load benchmark and of its peers as a Markdown table.

Medians (smallest-largest) of the repeats, and our median over each peer's. Lines taken while
others used more than --others cores are left out where a clean one of the same measurement
exists; a figure that has none is marked with '!'. Errors are shown, never averaged away.
--fields names what else stands in the table, such as p999_us, max_us, compaction_s and, beside
watchers, puts_per_s and ack_p50_us.
"""

import argparse
import json
import statistics
import sys

PLACE = ("members", "via", "workload", "concurrency", "watchers", "offered_puts_per_s")
HEADS = {
    "p50_us": "p50 µs",
    "p99_us": "p99 µs",
    "p999_us": "p99.9 µs",
    "max_us": "max µs",
    "cpu_us_per_op": "CPU µs/op",
    "puts_per_s": "puts/s",
    "ack_p50_us": "p50 µs behind the answer",
    "ack_p99_us": "p99 µs behind the answer",
}
OURS = "quorate"


def short(number):
    """A number as people read it."""
    if abs(number) >= 100_000:
        return f"{number / 1000:,.0f}k"
    if abs(number) >= 10_000:
        return f"{number / 1000:.1f}k"
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def figure(lines, field):
    """The median of a field with its spread, and the bare median."""
    values = [line[field] for line in lines if isinstance(line.get(field), (int, float))]
    if not values:
        return "", None
    middle = statistics.median(values)
    text = short(middle)
    if min(values) != max(values):
        text += f" ({short(min(values))}–{short(max(values))})"
    return text, middle


def clean(lines, others):
    """The undisturbed lines, or all of them with a mark."""
    kept = [
        line
        for line in lines
        if line.get("others_cpu", 0) <= others and line.get("steal_cpu", 0) <= 0.1
    ]
    return (kept, "") if kept else (lines, "!")


def read(files):
    """Lines by place and by peer; callers of another kind than tasks are a peer of their own."""
    table, peers = {}, []
    for name in files:
        with open(name, encoding="utf-8") as file:
            for line in file:
                if not line.startswith("{"):
                    continue
                record = json.loads(line)
                peer = record["peer"]
                if record.get("callers", "tasks") != "tasks":
                    peer += " " + record["callers"]
                if record.get("streams"):
                    peer += f" on {record['streams']} streams"
                if record.get("writers"):
                    peer += f", writers are {record['writers']}"
                place = tuple(record.get(field) for field in PLACE)
                table.setdefault(place, {}).setdefault(peer, []).append(record)
                if peer not in peers:
                    peers.append(peer)
    return table, peers


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--others", type=float, default=0.35)
    parser.add_argument("--fields", default="p50_us,p99_us,cpu_us_per_op")
    arguments = parser.parse_args()
    table, peers = read(arguments.files)
    rivals = [peer for peer in peers if not peer.startswith(OURS) and peer != "disk"]
    used = [at for at in range(len(PLACE)) if any(place[at] is not None for place in table)]

    fields = arguments.fields.split(",")
    head = [PLACE[at] for at in used] + ["who", "ops/s"]
    head += [HEADS.get(field, field) for field in fields]
    head += [f"ours / {rival}" for rival in rivals]
    print("| " + " | ".join(head) + " |")
    print("|" + " --- |" * len(head))
    failed = 0
    for place, by_peer in table.items():
        rates = {}
        for peer in rivals:
            kept, _ = clean(by_peer.get(peer, []), arguments.others)
            rates[peer] = figure(kept, "ops_per_s")[1]
        for peer in [peer for peer in peers if peer in by_peer]:
            kept, mark = clean(by_peer[peer], arguments.others)
            row = [str(place[at]) if place[at] is not None else "" for at in used]
            row.append(peer)
            rate, middle = figure(kept, "ops_per_s")
            row.append(rate + mark)
            row += [figure(kept, field)[0] for field in fields]
            for rival in rivals:
                is_ratio = peer.startswith(OURS) and rates[rival] and middle
                row.append(f"**{middle / rates[rival]:.2f}×**" if is_ratio else "")
            print("| " + " | ".join(row) + " |")
            errors = sum(line.get("errors", 0) for line in by_peer[peer])
            if errors:
                failed += 1
                first = next(line["first_error"] for line in by_peer[peer] if "errors" in line)
                print(f"{peer} {place}: {errors} errors, first: {first}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
