import { ApolloClient, HttpLink, InMemoryCache } from "@apollo/client";

export interface Connection {
  key: string;
  namespace: string;
}

// Every connection has its own client and cache, so that data of one key or namespace is never shown under another.
export function connect({ key, namespace }: Connection): ApolloClient {
  return new ApolloClient({
    link: new HttpLink({ uri: "/graphql", headers: { Authorization: `Bearer ${key}`, "X-Namespace": namespace } }),
    cache: new InMemoryCache(),
  });
}
