// SPDX-License-Identifier: Apache-2.0

// What people approved: that the records about a request bind exactly the document that was shown, that the answers
// are those that were given, in their order, and that each signature is of a key that was registered to that person then.

import { Refused, canonical, digest, string, text } from "./bytes.mjs";
import { sha256 } from "./sha256.mjs";
import { keyID, verifySignature } from "./signatures.mjs";

const VERBS = { approved: "approve", "approved.more": "approve", "approved.weak": "approve", denied: "deny", revoked: "revoke" };
const maxEvidence = 8192, maxAmong = 32;

const parse = (b, what) => {
  try { return JSON.parse(string(b, what)); } catch { throw new Refused(`${what} cannot be read`); }
};
const sum = (v) => sha256(text.encode(canonical(v)));
const plain = (s) => (typeof s === "string" ? s : "");

/** Approvals takes the leaves and the disclosed parts of a log; problems says what does not hold. */
export class Approvals {
  requests = 0; // whose document could be opened, and is the one that is bound
  answers = 0; // that could be opened
  signed = 0; // of them, with a signature that holds
  closed = 0; // records about requests whose content is sealed, erased or left out
  #keys = new Map();
  #gone = new Map();
  #asks = new Map();
  #order = new Map();
  #waiting = null;

  /** leaf takes a record, before any of its parts. */
  leaf(index, l) {
    const codes = l.codes ?? [];
    if (l.kind === "key" && codes.includes("signer.removed")) this.#gone.set(l.subject, [...(this.#gone.get(l.subject) ?? []), index]);
    if (l.kind !== "approval" || !l.grant || !l.parts?.length) return;
    let ask = this.#asks.get(l.grant);
    if (!ask) this.#asks.set(l.grant, (ask = { digest: l.binding ?? "", answers: [], known: 0, chained: false }));
    if (codes.some((c) => Object.hasOwn(VERBS, c))) this.#order.set(index, ask.known++);
    if (l.parts.some((p) => p.name === "detail")) this.closed++;
  }

  /** part takes an opened part of a record and resolves to what does not hold, or "". */
  async part(index, l, name, data) {
    if (this.#waiting?.index !== index) this.#waiting = { index };
    if (name !== "shown" && name !== "detail") return "";
    this.#waiting[name] = data.slice();
    const code = l.codes?.[0] ?? "";
    try {
      if (l.kind === "key" && code === "signer.added" && name === "detail") this.#key(index, l, data);
      else if (l.kind === "approval" && l.grant && code === "opened") this.#opened(l);
      else if (l.kind === "approval" && l.grant && name === "detail") await this.#answer(index, l, code, data);
    } catch (e) {
      if (!(e instanceof Refused)) throw e;
      return e.message;
    }
    return "";
  }

  #key(index, l, data) {
    const s = parse(data, "the registered key");
    if (plain(s.id) === "" || s.id !== l.subject || typeof s.key !== "object" || s.key === null || keyID(s.key) !== s.id) throw new Refused("the registered key is not the one that the record names");
    this.#keys.set(s.id, [...(this.#keys.get(s.id) ?? []), { from: index, person: plain(s.person), key: s.key }]);
  }

  #opened(l) {
    const w = this.#waiting;
    if (!w.shown || !w.detail) return;
    const terms = parse(w.detail, "the request");
    terms.shown = parse(w.shown, "the document");
    if (digest(sum(terms)) !== l.binding) throw new Refused("the document that was shown is not the one that the request binds");
    this.closed--;
    this.requests++;
    this.#asks.get(l.grant).chained = true;
  }

  async #answer(index, l, code, data) {
    this.closed--;
    if (code === "approved.own") return; // nothing was answered
    const ask = this.#asks.get(l.grant), g = parse(data, "the answer"), verb = Object.hasOwn(VERBS, code) ? VERBS[code] : "";
    if (!verb) throw new Refused("the answer cannot be read");
    const challenge = this.#challenge(l, g, verb);
    this.answers++;
    ask.answers.push(g);
    if (l.binding !== ask.digest) throw new Refused("the answer is to another document than the one that was asked about");
    ask.chained &&= this.#order.get(index) === ask.answers.length - 1;
    if (ask.chained && digest(sum({ digest: l.binding, answers: ask.answers })) !== l.subject) {
      ask.chained = false;
      throw new Refused("an answer before this one is missing or is another one");
    }
    if (g.channel !== l.channel) throw new Refused("the answer was given through another channel than the record says");
    if (!g.evidence) {
      if (l.channel === "passkey") throw new Refused("an approval by passkey has no signature");
      return;
    }
    await this.#signature(index, g, challenge).catch((e) => { throw e instanceof Refused ? new Refused(`the signature does not hold: ${e.message}`) : e; });
    this.signed++;
  }

  // What is signed for an answer: the digest of what was shown, or of all requests that got this answer together.
  #challenge(l, g, verb) {
    const comment = plain(g.comment), edited = plain(g.edited), among = g.among ?? [];
    if (!among.length) return sum({ format: "approval.sign.v1", id: l.grant, digest: l.binding ?? "", verb, comment, edited });
    if (!among.includes(l.binding) || among.length > maxAmong || edited || among.some((d, i) => i > 0 && among[i - 1] > d)) {
      throw new Refused("the answer to several requests is not one to this request");
    }
    return sum({ format: "approval.sign.all.v1", among, verb, comment });
  }

  async #signature(index, g, challenge) {
    if (g.evidence.length > maxEvidence) throw new Refused("it is too long");
    const e = parse(text.encode(g.evidence), "the signature"), known = (this.#keys.get(e.signer) ?? []).findLast((k) => k.from < index);
    if (!known || (this.#gone.get(e.signer) ?? []).some((at) => known.from < at && at < index)) throw new Refused("the key was not registered then");
    if (known.person.toLowerCase() !== plain(g.approver).toLowerCase()) throw new Refused("the key is of somebody else");
    if (g.channel === "passkey" && known.key.kind !== "passkey") throw new Refused("the key is no passkey");
    await verifySignature(known.key, challenge, e);
  }
}
