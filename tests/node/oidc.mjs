// The OpenID Connect provider oidc-provider, on a free port of this machine. It prints its issuer,
// and then obeys the lines that it reads: "rotate" signs with a new key and still publishes the old
// ones, "retire" stops publishing those. It answers each line once that is done; the package prints
// lines of its own as well.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { asked, load } from "./load.mjs";

// The package is an ES module, which not every version of Node can require.
const { Provider } = await import(pathToFileURL(load.resolve("oidc-provider")));

let keys = [];
let serve = null;
const server = createServer((request, response) => serve(request, response));

function addKey() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const kid = `key-${keys.length + 1}-${Date.now()}`;
  keys.unshift({ ...privateKey.export({ format: "jwk" }), kid, alg: "RS256", use: "sig" });
}

function start(issuer) {
  const provider = new Provider(issuer, {
    jwks: { keys },
    cookies: { keys: ["the provider of a test"] },
    clients: [
      {
        client_id: "web",
        client_secret: "web-secret",
        redirect_uris: ["http://127.0.0.1/callback"],
        grant_types: ["authorization_code"],
        response_types: ["code"],
      },
      {
        client_id: "nightly-job",
        client_secret: "job-secret",
        redirect_uris: [],
        grant_types: ["client_credentials"],
        response_types: [],
      },
    ],
    features: {
      clientCredentials: { enabled: true },
      // The provider's own pages for login and consent.
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, audience) => ({
          scope: "orders",
          audience,
          accessTokenFormat: "jwt",
          accessTokenTTL: 300,
          jwt: { sign: { alg: "RS256" } },
        }),
      },
    },
  });
  serve = provider.callback();
}

addKey();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  start(issuer);
  console.log(`told: ${issuer}`);
  createInterface({ input: process.stdin })
    .on("line", (line) => {
      if (line === "rotate") addKey();
      if (line === "retire") keys = keys.slice(0, 1);
      start(issuer);
      console.log(`told: ${line}`);
    })
    .on("close", () => process.exit());
});
