// A small app with Apollo Client and the types that GraphQL Code Generator makes from the schema. clients.test.js compiles it, which checks the
// types, and runs it against the server.
import { ApolloClient, type ApolloLink, InMemoryCache } from "@apollo/client";
import { relayStylePagination } from "@apollo/client/utilities";
import { filter, firstValueFrom } from "rxjs";
import {
  type ApiKeyStatus, CallerDocument, CreateDocument, type CreateApiKeyInput, type CreateMutation, FindDocument, type FindQuery,
  type KeyFragment, KeysDocument, type KeysQuery, type KeysQueryVariables, RevokeDocument, RotateDocument, TrailDocument,
  type TrailQuery, UpdateDocument, type UpdateApiKeyInput,
} from "./gql/graphql.js";
import possible from "./gql/possible-types.js";

export { CallerDocument, CreateDocument, FindDocument, KeysDocument, RevokeDocument, RotateDocument, TrailDocument, UpdateDocument };

// connect returns a client whose cache merges the pages of a list, and knows the types of Node.
export function connect(link: ApolloLink): ApolloClient {
  return new ApolloClient({
    link,
    cache: new InMemoryCache({
      possibleTypes: possible.possibleTypes,
      typePolicies: { Retriever: { fields: { apiKeys: relayStylePagination(["includeRevoked", "filter", "orderBy"]) } } },
    }),
  });
}

// everyKey reads a retriever's keys page by page, and returns them as the cache merged them.
export async function everyKey(client: ApolloClient, variables: KeysQueryVariables): Promise<KeyFragment[]> {
  const query = client.watchQuery({ query: KeysDocument, variables });
  const first = await firstValueFrom(query.pipe(filter(({ dataState }) => dataState === "complete")));
  for (let page = first.data?.retriever?.apiKeys?.pageInfo; page?.hasNextPage; ) {
    const { data } = await query.fetchMore({ variables: { after: page.endCursor } });
    page = data?.retriever?.apiKeys.pageInfo;
  }
  const all = client.readQuery({ query: KeysDocument, variables });
  return all?.retriever?.apiKeys.edges.map((edge) => edge.node) ?? [];
}

const labels: Record<ApiKeyStatus, string> = { ACTIVE: "works", REVOKED: "is revoked", EXPIRED: "is expired" };

// line describes a key in one line. The compiler checks that every status has a label.
export function line(key: KeyFragment): string {
  const used = key.lastUsedAt === null ? "never used" : `used ${key.lastUsedAt.slice(0, 10)}`;
  return `${key.name} ${labels[key.status]}, ${used}`;
}

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type All<T extends true[]> = T;
type Retriever = NonNullable<KeysQuery["retriever"]>;

// The schema's promises as types. If nullability, an enum or a required input changes, this does not compile.
export type Promises = All<[
  Same<KeyFragment["id"], string>,
  Same<KeyFragment["status"], "ACTIVE" | "REVOKED" | "EXPIRED">,
  Same<KeyFragment["keyType"], "STANDARD" | "MARKETPLACE_SUBSCRIPTION" | "RETRIEVER" | "USER_SCOPED" | "SESSION" | "UNKNOWN">,
  Same<KeyFragment["permissions"], Array<"READ" | "WRITE" | "DELETE" | "ADMIN" | "UNKNOWN">>,
  Same<KeyFragment["createdAt"], string | null>,
  Same<KeyFragment["allowedOrigins"], string[] | null>,
  Same<KeyFragment["rateLimitOverride"], number | null>,
  Same<KeysQuery["retriever"], Retriever | null>,
  Same<Retriever["apiKeys"]["total"], number>,
  Same<Retriever["apiKeys"]["pageInfo"]["endCursor"], string | null>,
  Same<NonNullable<TrailQuery["retriever"]>["auditEvents"] extends infer T ? null extends T ? true : false : never, true>,
  Same<NonNullable<FindQuery["node"]>["__typename"], "ApiKey" | "Namespace" | "Organization" | "Retriever">,
  Same<NonNullable<CreateMutation["createApiKey"]>["key"], string>,
  Same<CreateApiKeyInput["name"], string>,
  Same<UpdateApiKeyInput["name"], string | null | undefined>,
  Same<UpdateApiKeyInput["expiresAt"], string | null | undefined>,
]>;
