import { ApolloClient, HttpLink, InMemoryCache } from "@apollo/client";

export interface Connection {
  key: string;
  namespace: string;
}

// A client, and with it a cache, for each connection: nothing of one key or namespace is ever shown under another.
export function connect({ key, namespace }: Connection): ApolloClient {
  return new ApolloClient({
    link: new HttpLink({ uri: "/graphql", headers: { Authorization: `Bearer ${key}`, "X-Namespace": namespace } }),
    cache: new InMemoryCache(),
  });
}
