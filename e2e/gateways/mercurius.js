// Mercurius. Its gateway composes the subgraphs' `_service { sdl }` when it starts.
import mercuriusGateway from "@mercuriusjs/gateway";
import fastify from "fastify";
import { forwarded } from "./headers.js";

export async function start(subgraphs) {
  const app = fastify();
  await app.register(mercuriusGateway, {
    gateway: {
      errorHandler(error) { throw error; }, // otherwise it starts without a subgraph that does not answer
      services: subgraphs.map(({ name, url, authorization }) => ({
        name, url,
        initHeaders: { authorization },
        rewriteHeaders: (headers, context) => (context ? forwarded((header) => headers[header], context.reply.request.ip) : {}),
      })),
    },
  });
  const url = await app.listen({ host: "127.0.0.1", port: 0 });
  return { url: `${url}/graphql`, stop: () => app.close() };
}
