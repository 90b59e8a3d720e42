// SPDX-License-Identifier: Apache-2.0

// Passkeys, as docs/api/operator.yaml describes them: the challenge stands for exactly what was shown, the verb, the
// comment and the edited arguments.

import * as api from "./api";

export interface ToSign {
  id: string;
  challenge: string;
  rp_id: string;
  passkeys: string[];
  person: string;
  algorithms?: number[];
}

function bytes(base64url: string): Uint8Array<ArrayBuffer> {
  const raw = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(raw, (c) => c.charCodeAt(0));
}

function reachable(rp: string): void {
  if (location.hostname !== rp && !location.hostname.endsWith(`.${rp}`)) {
    throw new Error(`Passkeys are made for ${rp}. Open the console at ${location.protocol}//${rp}${location.port ? `:${location.port}` : ""}/console/.`);
  }
}

const keys = (ids: string[]): PublicKeyCredentialDescriptor[] => ids.map((id) => ({ type: "public-key", id: bytes(id) }));

async function made(c: Promise<Credential | null>): Promise<unknown> {
  const got = await c.catch((e: unknown) => {
    throw new Error(e instanceof DOMException && e.name === "NotAllowedError" ? "The passkey was not used." : `The passkey cannot be used: ${e instanceof Error ? e.message : ""}`);
  });
  if (!(got instanceof PublicKeyCredential)) throw new Error("The browser gave no passkey.");
  return got.toJSON();
}

/** sign has the person's passkey sign a challenge. */
export function sign(t: ToSign): Promise<unknown> {
  reachable(t.rp_id);
  return made(navigator.credentials.get({ publicKey: { challenge: bytes(t.challenge), rpId: t.rp_id, allowCredentials: keys(t.passkeys), userVerification: "required", timeout: 120_000 } }));
}

/** add makes a passkey for the person; an earlier one of his vouches for it. */
export async function add(name: string): Promise<void> {
  const t = await api.post<ToSign>("/v1/signers/challenge");
  reachable(t.rp_id);
  const id = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(t.person)));
  const passkey = await made(
    navigator.credentials.create({
      publicKey: {
        challenge: bytes(t.challenge),
        rp: { id: t.rp_id, name: "Sallyport" },
        user: { id, name: t.person, displayName: t.person },
        pubKeyCredParams: (t.algorithms ?? [-7]).map((alg) => ({ type: "public-key", alg })),
        excludeCredentials: keys(t.passkeys),
        authenticatorSelection: { userVerification: "required", residentKey: "preferred" },
        attestation: "none",
        timeout: 120_000,
      },
    }),
  );
  const vouch = t.passkeys.length ? await sign(t) : null;
  await api.post("/v1/signers", { challenge: t.id, name, passkey, ...(vouch ? { vouch } : {}) });
}
