"""Verify a JSON Lines export of a guardrail log with the standard library alone, from docs/record-format.md.

    python verify_standalone.py EXPORT [--head SIZE:LEAF]

Exit 0: the chain is intact (and, with --head, its first SIZE lines end in LEAF). 1: it is not; the first bad line is named.
3: the file can't be read or is empty. Without a head from elsewhere an intact chain says nothing about a missing tail.
"""

import hashlib
import json
import sys

MAX_LINE = 65_535


def leaf(line):
    return hashlib.sha256(b"\x00" + line).hexdigest()


def no_duplicates(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def check(lines):
    """Yield (number, leaf, problem or None, record or None) for each line; stop after the first problem."""
    previous, origin, calls = "0" * 64, None, {}
    for number, line in enumerate(lines):
        digest = leaf(line)
        problem, record = None, None
        try:
            record = json.loads(line.decode("utf-8"), object_pairs_hook=no_duplicates)
        except ValueError:
            problem = "not a JSON object"
        if problem is None and not isinstance(record, dict):
            problem, record = "not a JSON object", None
        if record is not None:
            kind = record.get("type")
            if len(line) > MAX_LINE:
                problem = "longer than 65535 bytes"
            elif record.get("v") != 1:
                problem = "v is not 1"
            elif type(record.get("seq")) is not int or record["seq"] != number:
                problem = f"seq is not {number}"
            elif record.get("prev") != previous:
                problem = "prev is not the leaf of the line before"
            elif (kind == "genesis") != (number == 0):
                problem = "genesis is line 0 and only line 0"
            elif number and record.get("log") != origin:
                problem = "log differs from line 0"
            elif kind in ("call.decision", "call.outcome"):
                key = (kind, record.get("call"))
                if key in calls:
                    problem = f"a second {kind} for one call (the first is {calls[key]})"
                calls[key] = number
            origin = record.get("log") if number == 0 else origin
        yield number, digest, problem, record
        if problem:
            return
        previous = digest


def main(arguments):
    head = None
    if "--head" in arguments:
        at = arguments.index("--head")
        head, arguments = arguments[at + 1], arguments[:at] + arguments[at + 2 :]
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    size, last, seen = 0, None, None
    wanted = int(head.split(":")[0]) if head else None
    try:
        with open(arguments[0], "rb") as export:
            lines = (line[:-1] if line.endswith(b"\n") else line for line in export)
            for number, digest, problem, _record in check(lines):
                if problem:
                    print(f"BROKEN at {number}: {problem}")
                    return 1
                size, last = number + 1, digest
                if size == wanted:
                    seen = digest
    except OSError as error:
        print(f"can't read: {error.strerror}", file=sys.stderr)
        return 3
    if size == 0:
        print("empty", file=sys.stderr)
        return 3
    if head:
        if seen != head.split(":")[1]:
            print(f"BROKEN: the head covers {wanted} lines and is not the head of this log")
            return 1
        print(f"intact: {size} lines, the first {wanted} covered by the given head")
    else:
        print(
            f"chain intact: {size} lines, last leaf {last}; NOT ANCHORED: no head from elsewhere was given"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
