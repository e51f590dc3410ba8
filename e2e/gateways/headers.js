// The headers that every gateway forwards, and a listener for gateways without one.
import { once } from "node:events";
import { createServer } from "node:http";

// forwarded returns the headers for our server: the caller's key, the namespace and the client's address. It ignores the client's own
// X-Forwarded-For, because a client can send any address.
export function forwarded(header, address) {
  const headers = { authorization: header("authorization"), "x-namespace": header("x-namespace"), "x-forwarded-for": address };
  return Object.fromEntries(Object.entries(headers).filter(([, value]) => value));
}

// listen serves on a free port of the loopback address.
export async function listen(handler) {
  const server = createServer(handler).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}/graphql`,
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
