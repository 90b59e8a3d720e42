#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Verify a Sallyport log without Sallyport: an exported bundle, or a folder of published tiles.

Usage: verify.py BUNDLE.tar|TILES [--key VKEY] [--witness VKEY]... [--quorum K]

Checks the log's signature, re-derives the Merkle tree from the leaves, and checks each leaf's canonical form,
the chains of the sessions, the uniqueness of records, tiles, disclosed parts, gaps between epochs and, if
asked, cosignatures. Exit code 0: verified; 5: it does not verify; 2: nothing could be said. Python 3.8, standard library only.
"""
import argparse, base64, hashlib, hmac, json, os, re, struct, sys

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D, I = -121665 * pow(121666, P - 2, P) % P, pow(2, (P - 1) // 4, P)
def sha256(*b): return hashlib.sha256(b"".join(b)).digest()

# Ed25519, RFC 8032, points as (X, Y, Z, T).
def point(b):
    y, sign = int.from_bytes(b, "little") & ((1 << 255) - 1), b[31] >> 7
    if y >= P: return None
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if (v * x * x - u) % P: x = x * I % P
    if (v * x * x - u) % P or (x == 0 and sign): return None
    return (P - x if x & 1 != sign else x, y, 1, (P - x if x & 1 != sign else x) * y % P)
def plus(a, b):
    s, t = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    c, d = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = t - s, d - c, d + c, t + s
    return (e * f % P, g * h % P, f * g % P, e * h % P)
def times(n, a):
    r = (0, 1, 1, 0)
    while n: r, a, n = plus(r, a) if n & 1 else r, plus(a, a), n >> 1
    return r
BASE = point(bytes.fromhex("58" + "66" * 31))
def ed25519(key, message, sig):
    a, s = point(key), int.from_bytes(sig[32:], "little")
    if a is None or len(sig) != 64 or s >= L: return False
    k = int.from_bytes(hashlib.sha512(sig[:32] + key + message).digest(), "little") % L
    x, y, z, _ = plus(times(s, BASE), times(k, (P - a[0], a[1], 1, P - a[3])))
    z = pow(z, P - 2, P)
    return (y * z % P | (x * z % P & 1) << 255).to_bytes(32, "little") == sig[:32]
# Signed notes.
def vkey(text, alg):
    name, number, key = text.strip().split("+", 2)
    key = base64.b64decode(key, validate=True)
    if len(key) != 33 or key[0] != alg or sha256(name.encode() + b"\n" + key)[:4].hex() != number: raise ValueError("not a public key")
    return name, key[1:], bytes.fromhex(number)
def signatures(note):
    """The text of a note and its signatures as (name, key hash, signature)."""
    text, sep, tail = note.rpartition(b"\n\n")
    if not sep or not tail.endswith(b"\n"): raise ValueError("not a signed note")
    out = []
    for line in tail[:-1].decode().split("\n"):
        m = re.fullmatch("— ([^\\s+]+) ([A-Za-z0-9+/=]+)", line)
        sig = base64.b64decode(m[2], validate=True) if m else b""
        if len(sig) < 5: raise ValueError("a malformed signature")
        out.append((m[1], sig[:4], sig[4:]))
    return text + b"\n", out
def checkpoint(note, log):
    text, sigs = signatures(note)
    lines = text.decode().split("\n")
    if len(lines) < 4 or b"\n\n" in text or not re.fullmatch("0|[1-9][0-9]*", lines[1]): raise ValueError("not a checkpoint")
    root = base64.b64decode(lines[2], validate=True)
    good = [s for n, h, s in sigs if (n, h) == (log[0], log[2])]
    if lines[0] != log[0] or len(root) != 32 or not good or not ed25519(log[1], text, good[0]): raise ValueError("the log's signature does not verify")
    return int(lines[1]), root
# Leaves.
S, N, B, T = "text", "number", "true", "texts"
LEAF = dict(_v=N, action=S, actor=S, agent=S, assurance=N, binding=S, bundle=dict(digest=S, expires_ms=N, name=S, sequence=N), call=S, channel=S,
    codes=T, count=N, door=S, durability=S, effect=S, enforced=B, engines=[dict(name=S, version=S)], epoch=N, grade=S, grant=S, kind=S, log_ms=N,
    model=N, observed=S, parts=[dict(commit=S, kid=S, name=S, sealed=S)], phase=S, prev=S, round=N, rules=T, separation=S, seq=N, server=S,
    session=S, status=S, subject=S, tenant=S, time_ms=N, tool=S, user=S, verdict=S)
KINDS = set("session context decision approval intent round outcome release late unknown policy tool attestation alert kill key erasure access anchor".split())
def plain(s, empty=False): return isinstance(s, str) and (empty or s != "") and re.fullmatch(r"[ !#-\[\]-~]*", s) is not None
def shaped(v, shape):
    if shape in (S, N): return plain(v) if shape is S else type(v) is int and v != 0 and abs(v) < 2**53
    if shape is B: return v is True
    if shape is T: return type(v) is list and v != [] and all(plain(s, True) for s in v)
    if isinstance(shape, list): return type(v) is list and v != [] and all(shaped(e, shape[0]) for e in v)
    return type(v) is dict and v != {} and all(k in shape and shaped(e, shape[k]) for k, e in v.items())
def decode(raw):
    leaf = json.loads(raw.decode("ascii"))
    if json.dumps(leaf, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() != raw or not shaped(leaf, LEAF): raise ValueError("a leaf is not canonical")
    if leaf.get("_v") != 1 or leaf.get("kind") not in KINDS: raise ValueError("a leaf of an unknown format or kind")
    return leaf
class Log:
    """Re-derives a log leaf by leaf."""
    def __init__(self): self.problems, self.size, self.edge, self.levels, self.ends, self.seen, self.refs, self.epochs = [], 0, [], [[]], {}, set(), {}, 1
    def problem(self, what): self.problems.append("entry %d: %s" % (self.size, what))
    def root(self):
        if not self.edge: return sha256()
        h = self.edge[-1]
        for left in reversed(self.edge[:-1]): h = sha256(b"\1", left, h)
        return h
    def add(self, raw):
        h, before = sha256(b"\0", raw), self.root() if b"epoch.opened" in raw else b""
        try:
            leaf = decode(raw)
            self.chain(leaf, h)
            if leaf["kind"] == "key" and "epoch.opened" in leaf.get("codes", []): self.epoch(leaf, before)
            self.refs[self.size] = {p.get("name"): p.get("commit") for p in leaf.get("parts", [])}
        except (ValueError, RecursionError) as e: self.problem(str(e))
        self.levels[0].append(h)
        n = self.size
        while n & 1: h, n = sha256(b"\1", self.edge.pop(), h), n >> 1
        self.edge.append(h)
        self.size += 1
    def chain(self, leaf, h):
        session, text = leaf.get("session", ""), base64.urlsafe_b64encode(h).rstrip(b"=").decode()
        seq, prev, ms = self.ends.get(session, (0, "", -2**53))
        if leaf.get("seq", 0) != seq + 1 or leaf.get("prev", "") != prev or leaf.get("log_ms", 0) < ms: self.problem("it does not continue session %r" % session)
        self.ends[session] = (leaf.get("seq", 0), text, leaf.get("log_ms", 0))
        key = (leaf.get("action", ""), leaf.get("round", 0), leaf["kind"])
        if key[0] and key[2] != "access":
            if key in self.seen: self.problem("a second %s of action %s" % (key[2], key[0]))
            self.seen.add(key)
    def epoch(self, leaf, before):
        self.epochs += 1
        want = ["epoch.opened", "restored/%d/sha256:%s" % (self.size, before.hex())]
        m = re.fullmatch("known/([0-9]+)/sha256:[0-9a-f]{64}", leaf["codes"][2]) if len(leaf["codes"]) == 3 else None
        if leaf["codes"][:2] != want or not m or int(m[1]) < self.size or int(m[1]) == self.size and leaf["codes"][2][6:] != want[1][9:] or leaf.get("epoch") != self.epochs: return self.problem("it opens no epoch")
        vkey(leaf.get("subject", ""), 1)
        print("GAP: entries %d to %d were recorded and are lost" % (self.size, int(m[1]) - 1) if int(m[1]) > self.size else "KEY: another key from entry %d on" % self.size)
    def bundle(self, data, width):
        leaves, at, self.refs = [], 0, {}
        while at < len(data):
            n = int.from_bytes(data[at:at + 2], "big")
            if at + 2 + n > len(data): break
            leaves.append(data[at + 2:at + 2 + n]); at += 2 + n
        if at != len(data) or len(leaves) != width: raise ValueError("entry bundle at %d: %d leaves of %d" % (self.size, len(leaves), width))
        for leaf in leaves: self.add(leaf)
    def part(self, name, data):
        _, number, part = (name.split("/", 2) + ["", ""])[:3]
        want = self.refs.get(int(number), {}).get(part) if number.isdecimal() else None
        got = base64.urlsafe_b64encode(hmac.new(data[:32], data[32:], hashlib.sha256).digest()).rstrip(b"=").decode()
        if want is None or len(data) < 32 or not hmac.compare_digest(want, got): self.problem("part %r does not match a commitment" % name)
def path(level, n, width):
    s = "%03d" % (n % 1000)
    while n >= 1000: n //= 1000; s = "x%03d/" % (n % 1000) + s
    return "tile/%s/%s%s" % (level, s, "" if width == 256 else ".p/%d" % width)
def members(f):
    """The regular files of a tar, each with its header's checksum checked."""
    while True:
        h = f.read(512)
        if h == bytes(512) and f.read(512) in (bytes(512), b""): return
        if len(h) != 512 or sum(h[:148]) + 256 + sum(h[156:]) != int(h[148:156].strip(b"\0 ") or b"0", 8) or h[156:157] not in b"0\0" or h[257:263] != b"ustar\0":
            raise ValueError("a damaged header of the bundle")
        n = int(h[124:136].strip(b"\0 ") or b"0", 8)
        data = f.read(n)
        if len(data) != n or len(f.read(-n % 512)) != -n % 512: raise ValueError("the bundle ends early")
        yield h[:100].rstrip(b"\0").decode(), data
def read(dir, name):
    with open(os.path.join(dir, name), "rb") as f: return f.read()
def main():
    a = argparse.ArgumentParser()
    a.add_argument("source"); a.add_argument("--key"); a.add_argument("--witness", action="append", default=[]); a.add_argument("--quorum", type=int, default=0)
    a = a.parse_args()
    log, cosigned, key = Log(), b"", vkey(a.key, 1) if a.key else None
    if os.path.isdir(a.source):
        if not key: sys.exit("verify.py: --key is needed for tiles")
        cosigned = read(a.source, "checkpoint")
        size, root = checkpoint(cosigned, key)
        for n in range((size + 255) // 256): log.bundle(read(a.source, path("entries", n, min(256, size - n * 256))), min(256, size - n * 256))
        level, hashes = 0, log.levels[0]
        while hashes:
            up = []
            for n in range((len(hashes) + 255) // 256):
                tile = hashes[n * 256:n * 256 + 256]
                if read(a.source, path(level, n, len(tile))) != b"".join(tile): log.problems.append("tile %d/%d differs from the leaves" % (level, n))
                if len(tile) == 256:
                    while len(tile) > 1: tile = [sha256(b"\1", tile[i], tile[i + 1]) for i in range(0, len(tile), 2)]
                    up += tile
            level, hashes = level + 1, up
    else:
        with open(a.source, "rb") as f:
            files = members(f)
            head = [next(files, ("", b"")) for _ in range(3)]
            if [n for n, _ in head] != ["format", "vkey", "checkpoint"] or head[0][1] != b"sallyport bundle 1\n": raise ValueError("not a bundle")
            key = key or vkey(head[1][1].decode(), 1)
            size, root = checkpoint(head[2][1], key)
            for i, (name, data) in enumerate(files):
                width = min(256, size - log.size)
                if i == 0 and name == "witnessed": checkpoint(data, key); cosigned = data
                elif name.startswith("part/"): log.part(name, data)
                elif width > 0 and name == path("entries", log.size // 256, width): log.bundle(data, width)
                else: raise ValueError("member %r out of place" % name)
    if (log.size, log.root()) != (size, root): log.problems.append("the checkpoint has %d leaves and another root than the %d that are here" % (size, log.size))
    if a.witness:
        text, sigs = signatures(cosigned) if cosigned else (b"", [])
        by = {w[1] for w in (vkey(w, 4) for w in a.witness) for n, h, s in sigs if (n, h) == (w[0], w[2]) and len(s) == 72 and
              ed25519(w[1], b"cosignature/v1\ntime %d\n" % struct.unpack(">Q", s[:8]) + text, s[8:])}
        if len(by) < (a.quorum or len(a.witness)): log.problems.append("%d witnesses cosigned, not %d" % (len(by), a.quorum or len(a.witness)))
    for p in log.problems[:50]: print("problem: " + p)
    print("%s  %s  %d entries, root sha256:%s" % ("FAILED" if log.problems else "VERIFIED", key[0], log.size, log.root().hex()))
    sys.exit(5 if log.problems else 0)
if __name__ == "__main__":
    try: main()
    except (ValueError, OSError) as e: print("FAILED  %s" % e); sys.exit(5)
