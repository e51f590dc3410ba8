// Apollo's composition and Apollo Gateway.
import { composeServices } from "@apollo/composition";
import { ApolloGateway, RemoteGraphQLDataSource } from "@apollo/gateway";
import { ApolloServer } from "@apollo/server";
import { startStandaloneServer } from "@apollo/server/standalone";
import { parse } from "graphql";
import { forwarded } from "./headers.js";

process.env.APOLLO_TELEMETRY_DISABLED = "true"; // otherwise the gateway sends usage data and queries the metadata servers of clouds

export function compose(subgraphs) {
  const { supergraphSdl, errors } = composeServices(subgraphs.map(({ name, url, sdl }) => ({ name, url, typeDefs: parse(sdl) })));
  if (errors) throw new AggregateError(errors, errors.join("\n"));
  return supergraphSdl;
}

export async function start(subgraphs) {
  const server = new ApolloServer({
    gateway: new ApolloGateway({
      supergraphSdl: compose(subgraphs),
      buildService: ({ url }) => new RemoteGraphQLDataSource({
        url,
        willSendRequest({ request, context }) {
          for (const [name, value] of Object.entries(context)) request.http.headers.set(name, value);
        },
        // The gateway has codes for 401 and 403 and reports every other status as INTERNAL_SERVER_ERROR, together with our response.
        didEncounterError(error, _, response) {
          const code = error.extensions?.response?.body?.errors?.[0]?.extensions?.code;
          if (code) error.extensions.code = code;
          const wait = response?.headers.get("retry-after");
          if (wait) error.extensions.retryAfter = Number(wait);
          throw error;
        },
      }),
    }),
    includeStacktraceInErrorResponses: false,
    stopOnTerminationSignals: false,
  });
  const { url } = await startStandaloneServer(server, {
    listen: { host: "127.0.0.1", port: 0 },
    context: async ({ req }) => forwarded((name) => req.headers[name], req.socket.remoteAddress),
  });
  return { url, stop: () => server.stop() };
}
