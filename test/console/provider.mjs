// SPDX-License-Identifier: Apache-2.0

// A certified OpenID provider of other people (oidc-provider), on loopback, with a login page of its own.

import { createServer } from "node:http";
import Provider from "oidc-provider";

/** provider starts one at port for a client that comes back to redirect. people maps a name to groups, and may change. */
export async function provider(port, redirect, people) {
  const issuer = `http://localhost:${port}`;
  const op = new Provider(issuer, {
    clients: [{ client_id: "sallyport", client_secret: "a secret of the test", redirect_uris: [redirect], grant_types: ["authorization_code", "refresh_token"], response_types: ["code"], application_type: "web" }],
    acrValues: ["pwd", "phr"],
    claims: { acr: null, amr: null, auth_time: null, openid: ["sub", "groups", "email", "email_verified"] },
    conformIdTokenClaims: false,
    features: { devInteractions: { enabled: false }, claimsParameter: { enabled: true } },
    issueRefreshToken: async () => true,
    cookies: { keys: ["of the test"] },
    ttl: { AccessToken: 600, IdToken: 600, RefreshToken: 3600, Session: 3600, Grant: 3600, Interaction: 600 },
    findAccount: async (_, id) => (people[id] ? { accountId: id, claims: async () => ({ sub: id, email: `${id}@example.com`, email_verified: true, groups: people[id] }) } : undefined),
    interactions: { url: (_, i) => `/login/${i.uid}` },
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope("openid offline_access");
      await grant.save();
      return grant;
    },
  });
  const complaints = [];
  op.on("server_error", (_, e) => complaints.push(String(e)));
  const answer = op.callback();
  const server = createServer(async (req, res) => {
    const at = new URL(req.url, issuer);
    if (at.pathname === "/favicon.ico") return res.writeHead(204).end();
    if (!at.pathname.startsWith("/login/")) return answer(req, res);
    const who = at.searchParams.get("who");
    if (who) {
      const { params } = await op.interactionDetails(req, res);
      const [acr] = params.acr_values?.split(" ") ?? ["pwd"];
      return op.interactionFinished(req, res, { login: { accountId: who, acr, amr: acr === "pwd" ? ["pwd"] : ["hwk", "user"] } });
    }
    res.setHeader("Content-Type", "text/html");
    res.end(`<!doctype html><title>Provider</title><h1>Who are you?</h1>${Object.keys(people).map((p) => `<p><a href="?who=${p}">${p}</a></p>`).join("")}`);
  });
  await new Promise((done) => server.listen(port, "localhost", done));
  return {
    issuer,
    complaints,
    stop: () =>
      new Promise((done) => {
        server.close(done);
        server.closeAllConnections();
      }),
  };
}
