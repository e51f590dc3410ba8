import { ApolloProvider } from "@apollo/client/react";
import type { ApolloClient } from "@apollo/client";
import { type FormEvent, useState } from "react";
import { connect } from "./client";
import { graphql } from "./gql";
import type { ViewerQuery } from "./gql/graphql";
import { Keys } from "./Keys";
import { Problem } from "./Problem";

const Viewer = graphql(`
  query Viewer {
    viewer {
      keyId
      permissions
      namespace {
        id
        name
      }
    }
    retrievers(first: 1000) {
      results {
        id
        name
      }
    }
  }
`);

interface Session {
  client: ApolloClient;
  viewer: ViewerQuery;
}

export function App() {
  const [session, setSession] = useState<Session>();
  if (!session) return <Connect onConnected={setSession} />;

  const { client, viewer: { viewer, retrievers } } = session;
  return (
    <ApolloProvider client={client}>
      <header>
        <h1>API keys</h1>
        <p>{viewer?.namespace?.name} <span className="quiet">as {viewer?.keyId}</span></p>
        <button type="button" onClick={() => setSession(undefined)}>Disconnect</button>
      </header>
      <main>
        {retrievers?.results.length
          ? <Keys retrievers={retrievers.results} />
          : <p className="empty">This namespace has no retrievers that your key can see.</p>}
      </main>
    </ApolloProvider>
  );
}

function Connect({ onConnected }: { onConnected: (session: Session) => void }) {
  const [error, setError] = useState<Error>();
  const [busy, setBusy] = useState(false);

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const client = connect({ key: String(form.get("key")).trim(), namespace: String(form.get("namespace")).trim() });
    setBusy(true);
    setError(undefined);
    try {
      const { data } = await client.query({ query: Viewer });
      if (data) onConnected({ client, viewer: data });
    } catch (cause) {
      setError(cause as Error);
    } finally {
      setBusy(false);
    }
  }

  return (
    <main className="connect">
      <h1>API keys</h1>
      <form onSubmit={submit}>
        {/* Users type in the key, and it stays in memory. Never build a key in: everyone who can load the bundle can read it. */}
        <label>API key<input name="key" type="password" autoComplete="off" required autoFocus /></label>
        <label>Namespace<input name="namespace" autoComplete="off" required /></label>
        <p className="quiet">The key is forgotten when you leave or reload this page.</p>
        <Problem error={error} />
        <button className="main" disabled={busy}>{busy ? "Connecting…" : "Connect"}</button>
      </form>
    </main>
  );
}
