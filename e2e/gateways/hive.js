// Hive's composition and Hive Gateway, which also needs @graphql-mesh/transport-http: it imports that on the first request.
import { createGatewayRuntime } from "@graphql-hive/gateway-runtime";
import { composeServices } from "@theguild/federation-composition";
import { parse } from "graphql";
import { forwarded, listen } from "./headers.js";

export function compose(subgraphs) {
  const { supergraphSdl, errors } = composeServices(subgraphs.map(({ name, url, sdl }) => ({ name, url, typeDefs: parse(sdl) })));
  if (errors) throw new AggregateError(errors, errors.map((e) => e.message).join("\n"));
  return supergraphSdl;
}

const ofClient = ({ request, req }) => forwarded((name) => request.headers.get(name), req.socket.remoteAddress);

// serve runs the gateway with a composed supergraph.
export async function serve(supergraph, options = {
  propagateHeaders: {
    fromClientToSubgraphs: ({ context }) => ofClient(context),
    fromSubgraphsToClient: ({ response }) => ({ "retry-after": response.headers.get("retry-after") }),
  },
}) {
  const gateway = createGatewayRuntime({ supergraph, logging: false, landingPage: false, graphiql: false, ...options });
  const { url, stop } = await listen(gateway);
  return {
    url,
    async stop() {
      await stop();
      await gateway[Symbol.asyncDispose]();
    },
  };
}

export const start = (subgraphs) => serve(compose(subgraphs));

// startPatient runs a gateway that retries after Retry-After. It retries only queries, because without this function it would repeat mutations,
// and only on 503, because on 429 its clients would wait for up to a minute. A plugin sets the headers, because a retry lacks those of
// propagateHeaders.
export const startPatient = (subgraphs) => serve(compose(subgraphs), {
  upstreamRetry: ({ executionRequest }) =>
    executionRequest.operationType === "query" ? { maxRetries: 1, shouldRetry: ({ response }) => response?.status === 503 } : undefined,
  plugins: () => [{
    onFetch({ executionRequest, options }) {
      if (executionRequest) options.headers = { ...options.headers, ...ofClient(executionRequest.context) };
    },
  }],
});
