// The headers that every gateway forwards, and a listener for gateways that bring none of their own.
import { once } from "node:events";
import { createServer } from "node:http";

// forwarded is the headers for our server: who asks, where, and from which address. It takes no X-Forwarded-For from the
// client, who could name any address there.
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
