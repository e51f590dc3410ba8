// Subgraphs of another team, and the relay in front of our server.
import { request } from "node:http";
import { text } from "node:stream/consumers";
import { buildSubgraphSchema } from "@apollo/subgraph";
import { parse } from "graphql";
import { createHandler } from "graphql-http/lib/use/http";
import { listen } from "./headers.js";

// Pages that show a retriever, and notes on keys. Some root fields and types have the same names as ours.
export const pagesSDL = `
  extend schema @link(url: "https://specs.apollo.dev/federation/v2.3", import: ["@key", "@shareable"])
  type Query {
    pages(retrievers: [ID!]!): PageList!
    noted(keys: [ID!]!): [ApiKey]!
    published(namespaces: [ID!]!): [Namespace]!
    node(id: ID!): Page
    nodes(ids: [ID!]!): [Page]!
    viewer: Reader!
  }
  type Reader { id: ID! }
  type PageList { nodes: [Page!]! pageInfo: PageInfo! }
  type Page @key(fields: "id") { id: ID! retriever: Retriever }
  type PageInfo @shareable { hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String endCursor: String }
  type Retriever @key(fields: "id", resolvable: false) { id: ID! }
  type Namespace @key(fields: "id", resolvable: false) { id: ID! }
  type ApiKey @key(fields: "id") { id: ID! note: String! }
`;

// The same for gateways that support only federation 1, in which one subgraph owns a type and others extend it.
export const pagesSDL1 = pagesSDL
  .replace(/extend schema.*/, "")
  .replace("type Query", "extend type Query")
  .replace(/type (Retriever|Namespace|ApiKey) @key\(fields: "id".*?\) { id: ID!/g, 'extend type $1 @key(fields: "id") { id: ID! @external')
  .replace(" @shareable", "");

// A catalog that extends our entities.
export const catalogSDL = `
  extend schema @link(url: "https://specs.apollo.dev/federation/v2.3", import: ["@key", "@shareable"])
  scalar DateTime
  type Query { featured: [Retriever!]! }
  ${["Retriever", "Namespace", "ApiKey"].map((name) => `
    type ${name} @key(fields: "id") {
      id: ID!
      name: String! @shareable
      description: String${name === "ApiKey" ? "!" : ""} @shareable
      createdAt: DateTime @shareable
      ${name === "ApiKey" ? "" : "updatedAt: DateTime @shareable"}
    }`).join("")}
`;

const byID = (ids) => ids.map((id) => ({ id }));

export function pages(sdl = pagesSDL) {
  const schema = buildSubgraphSchema({
    typeDefs: parse(sdl),
    resolvers: {
      Query: {
        pages: (_, { retrievers }) => ({
          nodes: retrievers.map((id) => ({ id: `page_${id}`, retriever: { id } })),
          pageInfo: { hasNextPage: false, hasPreviousPage: false },
        }),
        noted: (_, { keys }) => byID(keys),
        published: (_, { namespaces }) => byID(namespaces),
        node: (_, { id }) => ({ id }),
        nodes: (_, { ids }) => byID(ids),
        viewer: () => ({ id: "somebody" }),
      },
      ApiKey: { __resolveReference: ({ id }) => ({ id }), note: ({ id }) => `about ${id}` },
    },
  });
  // The SDL is returned unchanged, as most subgraphs do. Apollo's package adds definitions, which Mercurius mistakes for our types.
  schema.getQueryType().getFields()._service.resolve = () => ({ sdl });
  return listen(createHandler({ schema }));
}

// relay forwards requests to our server and records them. Each refusal answers one request instead.
export async function relay(target) {
  const asked = [];
  const refusals = [];
  const listener = await listen(async (question, response) => {
    const { method, headers } = question;
    const body = await text(question);
    asked.push({ headers, body: JSON.parse(body) });
    const refusal = refusals.shift();
    if (refusal) {
      response.writeHead(refusal.status, refusal.headers).end(refusal.body);
      return;
    }
    request(target, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    }).end(body);
  });
  return { ...listener, asked, refuse: (answer) => refusals.push(answer) };
}
