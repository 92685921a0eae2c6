"""Verify a JSON Lines export of a guardrail log with the standard library alone, from
docs/record-format.md.

    python verify_standalone.py EXPORT [--head FILE] [--key HEX]

Says what section 10 says. The standard library can't check Ed25519: signatures are checked where
the package cryptography is installed; elsewhere every certificate counts as good and every head as
signed, and the output says so. Without a head from elsewhere an intact chain says nothing about a
missing tail.

Exit 0: the chain is intact (and its first records are those that the head is of). 1: it is not; the
first bad line is named. 3: the file can't be read or is torn, or the head is malformed or signed by
no key of the log.
"""

import base64
import hashlib
import json
import re
import sys

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    Ed25519PublicKey = None

MAX_LINE, MAX_DEPTH, MAX_NOTE, MAX_SIGNATURES = 65_535, 512, 65_536, 100
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
HASH = re.compile(r"[0-9a-f]{64}")


def leaf(line):
    return hashlib.sha256(b"\x00" + line).digest()


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def add(tree, digest):
    """Add a leaf to a list of (size, root) of perfect subtrees, the largest first."""
    size = 1
    while tree and tree[-1][0] == size:
        digest = node(tree.pop()[1], digest)
        size *= 2
    tree.append((size, digest))


def root(tree):
    found = tree[-1][1]
    for _, left in reversed(tree[:-1]):
        found = node(left, found)
    return found


def once(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def refuse(word):
    raise ValueError(f"{word} is no number")


def depth(value):
    deepest, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        deepest += 1
        level = [
            part for item in level for part in (item.values() if isinstance(item, dict) else item)
        ]
    return deepest


def read(line):
    """Return the record that a line is, or None (section 2)."""
    if len(line) > MAX_LINE or b"\r" in line:
        return None
    try:
        record = json.loads(line.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)
        json.dumps(record, ensure_ascii=False).encode("utf-8")  # lone surrogates
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and depth(record) <= MAX_DEPTH else None


def is_integer(value):
    return type(value) is int and abs(value) < 1 << 63


def is_hash(value):
    return isinstance(value, str) and HASH.fullmatch(value) is not None


def is_name(value):
    return (
        isinstance(value, str)
        and value != ""
        and not any(char.isspace() or char < " " or char == "+" for char in value)
    )


def is_key(value):
    return (
        isinstance(value, dict) and value.get("type") == "ed25519" and is_hash(value.get("public"))
    )


def plain_base64(text):
    """Return the bytes of canonical base64, or None."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return raw if base64.b64encode(raw).decode() == text else None


def is_signed(public, signature, text):
    """Say whether a signature of 64 bytes is good; it counts as good where that can't be
    checked.
    """
    if Ed25519PublicKey is None:
        return True
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, text.encode())
    except InvalidSignature:
        return False
    return True


class Chain:
    """What is known behind some lines of a log."""

    def __init__(self):
        self.next, self.previous, self.tree = 0, "0" * 64, []
        self.log = self.key = None
        self.before, self.calls = 0, {}
        self.certified, self.ended = {}, {}
        self.owners, self.config, self.changed = {}, None, True

    def follow(self, lines, wanted=None):
        """Take lines until one is bad; return what is wrong with it, or None, and the root of the
        *wanted* first.
        """
        found = None
        for at, line in enumerate(lines):
            record = read(line)
            if at == 1 and record and is_integer(record.get("seq")) and record["seq"] > 1:
                if not self.skip(lines, record["seq"]):
                    return "records are missing", found
                found = root(self.tree) if self.next == wanted else found
            problem = "not a JSON object" if record is None else self.problem(record)
            if problem:
                return problem, found
            digest = leaf(line)
            add(self.tree, digest)
            self.next, self.previous = self.next + 1, digest.hex()
            found = root(self.tree) if self.next == wanted else found
        return None, found

    def skip(self, lines, before):
        """Go on behind records that were pruned, where a record proves it (section 9.3)."""
        proof = None
        for line in lines:
            record = read(line)
            if record is None or record.get("type") != "admin.pruned":
                continue
            detail, seq = record.get("detail"), record.get("seq")
            if not isinstance(detail, dict) or not is_integer(detail.get("before")):
                continue
            if detail["before"] == before and is_integer(seq) and seq >= before:
                proof = detail
        if proof is None or proof.get("genesis") != self.previous or not is_hash(proof.get("leaf")):
            return False
        edge, sizes = (
            proof.get("edge"),
            [1 << bit for bit in range(63, -1, -1) if before >> bit & 1],
        )
        if not isinstance(edge, list) or len(edge) != len(sizes) or not all(map(is_hash, edge)):
            return False
        self.tree = [(size, bytes.fromhex(part)) for size, part in zip(sizes, edge, strict=True)]
        self.before = self.next = before
        self.previous = proof["leaf"]
        return True

    def problem(self, record):
        """Return what is wrong with the record as the next one, or None."""
        kind, log, ts = record.get("type"), record.get("log"), record.get("ts")
        if not is_integer(record.get("v")) or record["v"] != 1:
            return "v is not 1"
        if not is_integer(record.get("seq")) or record["seq"] != self.next:
            return f"seq is not {self.next}"
        if record.get("prev") != self.previous:
            return "prev is not the leaf of the line before"
        if not isinstance(ts, str) or not TIME.fullmatch(ts):
            return "ts is no time"
        if not isinstance(kind, str) or (kind == "genesis") != (self.next == 0):
            return "genesis is line 0 and only line 0"
        if self.next == 0:
            self.log, self.key = log, record.get("key")
            known = record.get("profile") == "sha256-json-lines/1" and is_key(self.key)
            return None if known and is_name(log) else "line 0 names no log, key or profile"
        if log != self.log:
            return "log differs from line 0"
        if kind in ("call.decision", "call.outcome", "call.rejected"):
            wrong = self.call(record) if kind != "call.rejected" else None
            return wrong or (self.owner(record) if kind != "call.outcome" else None)
        if kind in ("admin.start", "admin.config_changed"):
            return self.settings(kind, record.get("detail"))
        return self.rotation(record.get("detail")) if kind == "admin.key_rotated" else None

    def call(self, record):
        call, opened = record.get("call"), None
        if not isinstance(call, str):
            return "no call is named"
        if record["type"] == "call.decision":
            decision = record.get("decision")
            effect = decision.get("effect") if isinstance(decision, dict) else None
            if not isinstance(effect, str) or call in self.calls:
                return (
                    f"a second decision, or none, of one call (the first is {self.calls.get(call)})"
                )
            if effect == "allow":
                self.calls[call] = self.next
            return None
        opened, decided = self.calls.pop(call, None), record.get("decision_seq")
        gone = opened is None and is_integer(decided) and 1 <= decided < self.before
        if not is_integer(decided) or (decided != opened and not gone):
            return "the call of this outcome is not open"
        return None

    def owner(self, record):
        """Keep whose a session is by its first record, and compare the others."""
        decision, principal, agent = (
            each if isinstance(each, dict) else {}
            for each in map(record.get, ("decision", "principal", "agent"))
        )
        if (decision.get("cause"), decision.get("detail")) == ("identity", "session"):
            return None
        issuer = "" if principal.get("issuer") is None else principal["issuer"]
        here = (record.get("tenant"), principal.get("id"), issuer, agent.get("id"))
        session = record.get("session")
        if not all(isinstance(each, str) for each in (session, *here)):
            return None
        for one, other in zip(here, self.owners.setdefault(session, here), strict=True):
            if one != other and one.startswith("gr1:") == other.startswith("gr1:"):
                return "the session is that of another owner"
        return None

    def settings(self, kind, detail):
        """Compare the settings of a start with those of the one before it."""
        if kind == "admin.config_changed":
            self.changed = True
            return None
        config = detail.get("config") if isinstance(detail, dict) else None
        config = config if isinstance(config, str) else ""
        good = self.changed or config == self.config
        self.config, self.changed = config, False
        return None if good else "other settings than at the start before, and no record of that"

    def rotation(self, detail):
        """Keep which keys a record certifies and ends (section 9.2)."""
        if not isinstance(detail, dict) or not isinstance(detail.get("ended"), list):
            return "the key rotation has no detail"
        for each in detail["ended"]:
            if not isinstance(each, dict) or not isinstance(each.get("public"), str):
                return "an ended key without name"
            self.ended.setdefault(each["public"], self.next)
        key, first, text = detail.get("key"), detail.get("first"), detail.get("certificate")
        if key is None:
            return None if first is None and text is None else "a certificate without key"
        if not is_key(key) or not is_integer(first) or not 0 <= first <= self.next:
            return "the key rotation is malformed"
        raw = plain_base64(text) if isinstance(text, str) else None
        statement = f"guardrail/epoch/1\n{self.log}\n{key['public']}\n{first}\n"
        if not raw or len(raw) != 64 or not is_signed(self.key["public"], raw, statement):
            return "a certificate that is not good"
        self.certified.setdefault(key["public"], self.next)
        return None

    def counts(self, head):
        """Say whether a signature of the head counts (section 9.1)."""
        keys = [self.key["public"]]
        for public, at in self.certified.items():
            if at < head.size <= self.ended.get(public, head.size) + 1:
                keys.append(public)
        for public in keys:
            about = self.log.encode() + b"\n\x01" + bytes.fromhex(public)
            key_id = hashlib.sha256(about).digest()[:4]
            for name, raw in head.signatures:
                known = name == self.log and raw[:4] == key_id and len(raw) == 68
                if known and is_signed(public, raw[4:], head.text):
                    return True
        return Ed25519PublicKey is None


class Head:
    """A signed note over a head."""

    def __init__(self, text, signatures):
        lines = text.split("\n")
        self.text, self.signatures = text + "\n", signatures
        self.log, self.size, self.root = lines[0], int(lines[1]), plain_base64(lines[2])


def read_head(raw):
    """Return the head that a signed note is over, or None where it is malformed (section 9)."""
    try:
        text, empty, signatures = raw.decode("utf-8").rpartition("\n\n")
    except ValueError:
        return None
    if (
        len(raw) > MAX_NOTE
        or not empty
        or any(char < " " and char != "\n" for char in text + signatures)
    ):
        return None
    lines, signed = text.split("\n"), signatures.split("\n")
    if (
        len(lines) < 3
        or "" in lines
        or len(signed) < 2
        or signed.pop()
        or len(signed) > MAX_SIGNATURES
    ):
        return None
    found = []
    for line in signed:
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\N{EM DASH}" or not is_name(parts[1]):
            return None
        found.append((parts[1], plain_base64(parts[2]) or b""))
        if len(found[-1][1]) < 5:
            return None
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1]) or int(lines[1]) >= 1 << 63:
        return None
    top = plain_base64(lines[2])
    return Head(text, found) if top and len(top) == 32 else None


def judge(export, note=None, key=None):
    """Return (verdict, first bad record or None, last covered record or None, words)."""
    head = read_head(note) if note is not None else None
    size = head.size if head else 0
    if not export.endswith(b"\n"):
        return "torn", None, None, "the last line has no end"
    chain = Chain()
    problem, top = chain.follow(export[:-1].split(b"\n"), size)
    bad = chain.next if problem else None
    doubt = None
    if note is not None and head is None:
        doubt = "head_malformed"
    elif chain.next and ((key and key != chain.key["public"]) or (head and head.log != chain.log)):
        doubt = "replaced"
    elif size > chain.next:
        doubt = "truncated"
    elif 0 < size < chain.before:
        doubt = "not_anchored"
    elif size and top != head.root:
        doubt = "forked"
    elif size and not chain.counts(head):
        doubt = "key_unknown"
    covered = size - 1 if size and doubt is None else None
    if doubt == "replaced":
        return doubt, None, None, "another log"
    if problem and doubt != "head_malformed":
        return "tampered", bad, covered, problem
    verdict = doubt or ("not_anchored" if covered is None else "anchored")
    return verdict, bad, covered, f"{chain.next} records, last leaf {chain.previous}"


def main(arguments):
    options = {"--head": None, "--key": None}
    while len(arguments) > 2 and arguments[-2] in options:
        *arguments, name, value = arguments
        options[name] = value
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with open(arguments[0], "rb") as file:
            export = file.read()
        note = None
        if options["--head"] is not None:
            with open(options["--head"], "rb") as file:
                note = file.read()
    except OSError as error:
        print(f"can't read: {error.strerror}", file=sys.stderr)
        return 3
    verdict, bad, covered, words = judge(export, note, options["--key"])
    if bad is not None:
        print(f"BROKEN at {bad}: {words}")
    elif verdict == "anchored":
        doubt = ". SIGNATURES NOT CHECKED" if Ed25519PublicKey is None else ""
        print(f"chain intact: {words}; records 0 to {covered} are those of the given head{doubt}")
    elif verdict == "not_anchored":
        print(f"chain intact: {words}; NOT ANCHORED: no head from elsewhere covers it")
    else:
        print(f"{verdict.upper()}: {words}")
    return {"anchored": 0, "not_anchored": 0, "torn": 3, "head_malformed": 3, "key_unknown": 3}.get(
        verdict, 1
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
